package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"extauthz/authz"
)

// Validator is a validator that also reports which layer a look-up of roles used.
type Validator interface {
	authz.Validator
	// RoleScopesFrom is RoleScopes, and also returns the farthest layer that was used.
	RoleScopesFrom(ctx context.Context, rec *authz.Record, need authz.Need) (authz.Scopes, authz.Layer, error)
}

// Lookups wraps v so that each look-up that leaves the process gets a span below the
// check's span. If a check is not traced, it only calls v.
func Lookups(v Validator, tracer trace.Tracer) authz.Validator {
	return lookups{v, tracer}
}

type lookups struct {
	Validator
	tracer trace.Tracer
}

func (l lookups) Lookup(ctx context.Context, prefix string, into *authz.Scratch) (authz.Entry, error) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return l.Validator.Lookup(ctx, prefix, into)
	}
	start := time.Now()
	entry, err := l.Validator.Lookup(ctx, prefix, into)
	if !errors.Is(err, authz.ErrThrottled) {
		l.span(ctx, "look up key", start, entry.Layer, err)
	}
	return entry, err
}

func (l lookups) RoleScopes(ctx context.Context, rec *authz.Record, need authz.Need) (authz.Scopes, error) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return l.Validator.RoleScopes(ctx, rec, need)
	}
	start := time.Now()
	scopes, layer, err := l.RoleScopesFrom(ctx, rec, need)
	l.span(ctx, "look up roles", start, layer, err)
	return scopes, err
}

// span makes the span afterwards, when it is known whether a store was queried.
func (l lookups) span(ctx context.Context, what string, start time.Time, layer authz.Layer, err error) {
	if err == nil && layer != authz.LayerRedis && layer != authz.LayerDatabase {
		return
	}
	_, span := l.tracer.Start(ctx, what, trace.WithTimestamp(start))
	if err != nil {
		span.SetStatus(codes.Error, "no store answered")
	} else {
		span.SetAttributes(attribute.String("extauthz.cache.layer", layer.String()))
	}
	span.End()
}

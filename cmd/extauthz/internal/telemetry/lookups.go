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

// Lookups is a validator whose look-ups that leave the process are spans below
// the check's. Where the check is not traced it only asks v.
func Lookups(v authz.Validator, tracer trace.Tracer) authz.Validator {
	return lookups{v, tracer}
}

type lookups struct {
	authz.Validator
	tracer trace.Tracer
}

func (l lookups) Lookup(ctx context.Context, prefix string, into *authz.Scratch) (authz.Entry, error) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return l.Validator.Lookup(ctx, prefix, into)
	}
	start := time.Now()
	entry, err := l.Validator.Lookup(ctx, prefix, into)
	// Only now it is known whether a store was asked.
	if errors.Is(err, authz.ErrThrottled) || err == nil && entry.Layer != authz.LayerRedis && entry.Layer != authz.LayerDatabase {
		return entry, err
	}
	_, span := l.tracer.Start(ctx, "look up key", trace.WithTimestamp(start))
	if err != nil {
		span.SetStatus(codes.Error, "no store answered")
	} else {
		span.SetAttributes(attribute.String("extauthz.cache.layer", entry.Layer.String()))
	}
	span.End()
	return entry, err
}

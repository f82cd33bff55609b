package server

import (
	"fmt"
	"sync/atomic"
	"time"

	"extauthz/authz"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/envoy"
)

// policy is what a reload replaces: the authorizer, and how its decisions are answered.
type policy struct {
	authorizer *authz.Authorizer
	encoder    envoy.EncoderConfig
}

// policies holds the current policy, and makes new ones over the same store.
type policies struct {
	format    *authz.KeyFormat // new keys have it too, so a change needs a restart
	validator authz.Validator
	usage     authz.UsageRecorder
	limiter   *authz.Limiter // shared by all policies, so that a reload forgets no count
	// unpeppered receives the prefixes of keys that keys.require_pepper refuses.
	unpeppered func(prefix string)
	now        func() time.Time
	current    atomic.Pointer[policy]
}

func (p *policies) authorizer() *authz.Authorizer { return p.current.Load().authorizer }

// build makes a policy from a configuration. It does not change the current one.
func (p *policies) build(c *config.Config) (*policy, error) {
	peppers, err := c.Peppers()
	if err != nil {
		return nil, err
	}
	routes, err := c.RouteTable()
	if err != nil {
		return nil, err
	}
	mapping, err := c.DefaultMap()
	if err != nil {
		return nil, err
	}
	var limiter *authz.Limiter
	if c.Limits.Mode == config.LimitsService {
		limiter = p.limiter
	}
	a, err := authz.New(authz.Config{
		Format: p.format, Peppers: peppers, Sources: c.CredentialSources(),
		Routes: routes, DefaultRoute: authz.DefaultRoute(c.DefaultRoute), DefaultMap: mapping,
		UseContextExtensions: c.ContextExtensions, Paths: c.PathPolicy(),
		AllowPreflights: c.CORS.AllowPreflights, RouteMetadata: c.GatewayRoutes(), ShadowUntil: c.Shadow.Until.Time,
		ClientAddress:  authz.ClientAddress{TrustedHops: c.ClientAddress.TrustedHops, Header: c.ClientAddress.Header},
		IdentityPrefix: c.Identity.HeaderPrefix, ForwardCredential: c.Identity.ForwardCredential,
		Validator: p.validator, Limiter: limiter, Usage: p.usage, Unpeppered: p.unpeppered, Now: p.now,
	})
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	overrides := map[string]envoy.Override{}
	for code, o := range c.Denials.Overrides {
		overrides[code] = envoy.Override{Status: o.Status, Title: o.Title, Detail: o.Detail, Headers: o.Headers}
	}
	return &policy{authorizer: a, encoder: envoy.EncoderConfig{
		HeaderPrefix: c.Identity.HeaderPrefix, MetadataHeaders: c.Identity.MetadataHeaders, KeepOverrides: c.Headers.KeepOverrides,
		ForwardCredential: c.Identity.ForwardCredential, Realm: c.Denials.WWWAuthenticateRealm, Sources: c.CredentialSources(),
		ProblemTypeBase: c.Denials.ProblemTypeBase, RequestID: c.Denials.RequestID, DebugHeaders: c.DebugHeaders,
		RateMetadata: c.Limits.Mode == config.LimitsEnvoy,
		Overrides:    overrides, OnError: envoy.OnError(c.OnError), SampleAllowed: c.Log.SampleAllowed,
	}}, nil
}

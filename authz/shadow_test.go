package authz

import (
	"net/netip"
	"testing"
	"time"
)

// TestATrialSoftensPolicyAndNeverABadCredential: every reason, under each kind
// of trial, on and over.
func TestATrialSoftensPolicyAndNeverABadCredential(t *testing.T) {
	elsewhere := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for reason, c := range map[Reason]struct {
		edit func(*Config, *Record, *keys)
		req  func(key string) *Request
		soft [3]bool // by a trial of the route, of everything, of the key
	}{
		ReasonScope:     {func(_ *Config, r *Record, _ *keys) { r.Scopes = nil }, nil, [3]bool{true, true, true}},
		ReasonNetwork:   {func(_ *Config, r *Record, _ *keys) { r.AllowedCIDRs = elsewhere }, nil, [3]bool{true, true, true}},
		ReasonRoute:     {nil, func(k string) *Request { return get("/other/x", Header{Name: "x-api-key", Value: k}) }, [3]bool{false, true, true}},
		ReasonMissing:   {nil, func(string) *Request { return get("/orders") }, [3]bool{true, true, false}},
		ReasonMalformed: {nil, func(string) *Request { return get("/orders", Header{Name: "x-api-key", Value: "x"}) }, [3]bool{}},
		ReasonUnknown:   {nil, func(string) *Request { return get("/orders", Header{Name: "x-api-key", Value: freshKey(t)}) }, [3]bool{}},
		ReasonAmbiguous: {nil, func(k string) *Request {
			return get("/orders?api_key="+k, Header{Name: "x-api-key", Value: k})
		}, [3]bool{}},
		ReasonDisabled:  {func(_ *Config, r *Record, _ *keys) { r.Active = false }, nil, [3]bool{}},
		ReasonRevoked:   {func(_ *Config, r *Record, _ *keys) { r.Active, r.RevokedAt = false, testNow }, nil, [3]bool{}},
		ReasonExpired:   {func(_ *Config, r *Record, _ *keys) { r.ExpiresAt = testNow }, nil, [3]bool{}},
		ReasonPath:      {nil, func(k string) *Request { return get("/orders//x", Header{Name: "x-api-key", Value: k}) }, [3]bool{}},
		ReasonThrottled: {func(_ *Config, _ *Record, k *keys) { k.err = ErrThrottled }, nil, [3]bool{}},
	} {
		for kind := range 3 {
			for _, over := range []bool{false, true} {
				until := testNow.Add(time.Hour)
				if over {
					until = testNow
				}
				a, key := authorizer(t, func(cfg *Config, r *Record, k *keys) {
					cfg.DefaultRoute = DefaultRouteDeny
					rule := RouteConfig{Match: "/orders", Resource: "orders"}
					switch kind {
					case 0:
						rule.Shadow, rule.Until = true, until
					case 1:
						cfg.ShadowUntil = until
					case 2:
						r.ShadowUntil = until
					}
					cfg.Routes = table(t, rule)
					if c.edit != nil {
						c.edit(cfg, r, k)
					}
				})
				req := get("/orders", Header{Name: "x-api-key", Value: key})
				if c.req != nil {
					req = c.req(key)
				}
				d, err := a.Check(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				soft := c.soft[kind] && !over
				switch {
				case !soft && (d.Allowed || d.Reason != reason || d.Shadow != ReasonUnspecified):
					t.Errorf("%s, trial %d, over %v: got %+v, want a denial", reason, kind, over, d)
				case soft && (!d.Allowed || d.Shadow != reason):
					t.Errorf("%s, trial %d: got %+v, want it let through and told", reason, kind, d)
				case soft && (d.Record == nil) != (reason == ReasonMissing):
					t.Errorf("%s, trial %d: identity of %+v", reason, kind, d.Record)
				}
			}
		}
	}
}

// TestATrialOfOneReasonHidesNoOther: what is softened goes on to be judged.
func TestATrialOfOneReasonHidesNoOther(t *testing.T) {
	a, key := authorizer(t, func(c *Config, r *Record, _ *keys) {
		c.Routes = table(t, RouteConfig{Match: "/orders", Resource: "orders", Shadow: true, Until: testNow.Add(time.Hour)})
		c.DefaultRoute = DefaultRouteDeny
		r.Scopes, r.AllowedCIDRs = nil, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	d, err := a.Check(t.Context(), get("/orders", Header{Name: "x-api-key", Value: key}))
	if err != nil || !d.Allowed || d.Shadow != ReasonNetwork {
		t.Errorf("got %+v, %v; want the first of two reasons told", d, err)
	}
	d, err = a.Check(t.Context(), get("/other", Header{Name: "x-api-key", Value: key}))
	if err != nil || d.Allowed || d.Reason != ReasonNetwork {
		t.Errorf("got %+v, %v: another route's trial was used", d, err)
	}
}

func TestRouteMetadataNeverRelaxesWhatThePlatformSays(t *testing.T) {
	orders := GatewayRoute{Kind: "HTTPRoute", Namespace: "shop", Name: "r", Resource: "orders"}
	open := orders
	open.Resource, open.Anonymous = "", true
	reserved := orders
	reserved.Resource = "extauthz/keys"
	other := orders
	other.Namespace = "evil"
	openElsewhere := open
	openElsewhere.Namespace = "evil"
	allow := RouteMetadata{Enabled: true, AllowAnonymous: true, Namespaces: []string{"shop"}}
	for name, c := range map[string]struct {
		metadata RouteMetadata
		route    GatewayRoute
		rule     string
		key      bool
		want     Reason
	}{
		"names resource":                  {RouteMetadata{Enabled: true}, orders, "", true, ReasonGranted},
		"is off":                          {RouteMetadata{}, orders, "", true, ReasonScope},
		"comes after a rule":              {RouteMetadata{Enabled: true}, orders, "strict", true, ReasonScope},
		"of a namespace that counts":      {allow, orders, "", true, ReasonGranted},
		"of one that does not":            {allow, other, "", true, ReasonScope},
		"names the reserved resource":     {RouteMetadata{Enabled: true}, reserved, "", true, ReasonRoute},
		"anonymous, allowed and named":    {allow, open, "", false, ReasonAnonymous},
		"anonymous, no namespace named":   {RouteMetadata{Enabled: true, AllowAnonymous: true}, open, "", false, ReasonMissing},
		"anonymous, not allowed":          {RouteMetadata{Enabled: true, Namespaces: []string{"shop"}}, open, "", false, ReasonMissing},
		"anonymous, of another namespace": {allow, openElsewhere, "", false, ReasonMissing},
		"anonymous, after a rule":         {allow, open, "strict", false, ReasonMissing},
		"named by the platform": {RouteMetadata{Enabled: true, Namespaces: []string{"x"}, Routes: map[string]NamedRoute{"HTTPRoute/shop/r": {Resource: "orders", Action: "read"}}},
			GatewayRoute{Kind: "HTTPRoute", Namespace: "shop", Name: "r"}, "", true, ReasonGranted},
		"opened by the platform": {RouteMetadata{Enabled: true, Routes: map[string]NamedRoute{"HTTPRoute/shop/r": {Anonymous: true}}}, orders, "", false, ReasonAnonymous},
	} {
		a, key := authorizer(t, func(cfg *Config, _ *Record, _ *keys) {
			cfg.RouteMetadata = c.metadata
			if c.rule != "" {
				cfg.Routes = table(t, RouteConfig{Match: "/{all...}", Resource: c.rule})
			}
		})
		req := get("/other/thing")
		if c.key {
			req = get("/other/thing", Header{Name: "x-api-key", Value: key})
		}
		req.Route = c.route
		if d, err := a.Check(t.Context(), req); err != nil || d.Reason != c.want {
			t.Errorf("%s: got %s, %v; want %s", name, d.Reason, err, c.want)
		}
	}
}

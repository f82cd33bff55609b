package authz

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestShadow_SoftensPolicyAndNeverABadCredential: for every reason, under each kind of
// shadow mode, while it runs and after its end.
func TestShadow_SoftensPolicyAndNeverABadCredential(t *testing.T) {
	elsewhere := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for reason, c := range map[Reason]struct {
		edit func(*Config, *Record, *keys)
		req  func(key string) *Request
		soft [3]bool // whether the shadow mode of the route, of all requests, of the key softens it
	}{
		ReasonScope:     {func(_ *Config, r *Record, _ *keys) { r.Scopes = nil }, nil, [3]bool{true, true, true}},
		ReasonNetwork:   {func(_ *Config, r *Record, _ *keys) { r.AllowedCIDRs = elsewhere }, nil, [3]bool{true, true, true}},
		ReasonProject:   {func(c *Config, r *Record, _ *keys) { r.Project = "other"; ofAcme(t, c) }, nil, [3]bool{true, true, false}},
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
						r.ShadowUntil, r.ShadowEnd, r.ShadowScopes = until, testNow.Add(time.Hour), scopes(t, "*:*")
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
					t.Errorf("%s, shadow mode %d, over %v: got %+v, want a denial", reason, kind, over, d)
				case soft && (!d.Allowed || d.Shadow != reason):
					t.Errorf("%s, shadow mode %d: got %+v, want it let through and reported", reason, kind, d)
				case soft && (d.Record == nil) != (reason == ReasonMissing):
					t.Errorf("%s, shadow mode %d: identity of %+v", reason, kind, d.Record)
				}
			}
		}
	}
}

// ofAcme makes the rules of c require keys of the project acme.
func ofAcme(t *testing.T, c *Config) {
	t.Helper()
	var rules []RouteConfig
	for _, r := range c.Routes.Rules() {
		rules = append(rules, RouteConfig{Match: r.Pattern, Resource: r.Resource, Project: "acme", Shadow: r.Shadow, Until: r.Until})
	}
	c.Routes = table(t, rules...)
}

// TestShadow_OfAKeyStaysWithinWhatItsSetterMayGrant: for each target, with grants that
// cover it and with each kind of grants that do not.
func TestShadow_OfAKeyStaysWithinWhatItsSetterMayGrant(t *testing.T) {
	elsewhere := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	need := func(resource, action string) Need { return Need{Resource: resource, Action: action} }
	rules := []RouteConfig{
		{Match: "/payments/{id}", Resource: "payments/{id}"},
		{Match: "/refunds", Resource: "refunds", Action: "approve"},
		{Match: "/both", AnyOf: [][]Need{{need("orders", "read"), need("stock", "read")}}},
		{Match: "/either", AnyOf: [][]Need{{need("secret", "read")}, {need("stock", "read"), need("stock", "count")}}},
		{Match: "/any-key", AnyOf: [][]Need{{}}},
		{Match: "/none", AnyOf: [][]Need{}},
	}
	for name, c := range map[string]struct {
		within   string // what the administrator who set shadow mode may grant
		method   string
		path     string
		network  bool // the key is limited to another network
		own      string
		soft     bool
		requires string // the requirement that is reported, if it is not the rule's own
	}{
		"scope, covered":                             {within: "payments:*", method: "DELETE", path: "/payments/1", soft: true},
		"scope, covered below":                       {within: "payments/1:delete", method: "DELETE", path: "/payments/1", soft: true},
		"scope, of another id":                       {within: "payments/2:delete", method: "DELETE", path: "/payments/1"},
		"scope, of another action":                   {within: "payments:read", method: "DELETE", path: "/payments/1"},
		"scope, of another resource":                 {within: "orders:*", method: "DELETE", path: "/payments/1"},
		"scope, a wildcard of another depth":         {within: "payments/*/items:*", method: "DELETE", path: "/payments/1"},
		"scope, any resource and another action":     {within: "*:read", method: "DELETE", path: "/payments/1"},
		"scope, nothing":                             {within: "", method: "DELETE", path: "/payments/1"},
		"action named by the rule":                   {within: "refunds:approve", method: "GET", path: "/refunds", soft: true},
		"action by the method, which does not count": {within: "refunds:read", method: "GET", path: "/refunds"},
		"default mapping, covered":                   {within: "things:read", method: "GET", path: "/things/1", soft: true},
		"default mapping, not covered":               {within: "things/1:read", method: "GET", path: "/things/1"},
		"reserved resource":                          {within: "*:* extauthz:*", method: "GET", path: "/extauthz"},
		"below the reserved resource":                {within: "*:* extauthz:*", method: "GET", path: "/extauthz/keys"},
		"all needs of an alternative":                {within: "orders:read stock:read", method: "GET", path: "/both", soft: true},
		"one need of two":                            {within: "orders:read", method: "GET", path: "/both"},
		"one need, and the key holds the other":      {within: "orders:read", method: "GET", path: "/both", own: "stock:read"},
		"the second alternative":                     {within: "stock:*", method: "GET", path: "/either", soft: true, requires: "stock:read"},
		"the second, half held":                      {within: "stock:*", method: "GET", path: "/either", own: "stock:read", soft: true, requires: "stock:count"},
		"part of the second alternative":             {within: "stock:read", method: "GET", path: "/either"},
		"rule for no key":                            {within: "orders:* secret:*", method: "GET", path: "/none"},
		"rule for no key, everything":                {within: "*:*", method: "GET", path: "/none", soft: true},
		"no rule":                                    {within: "orders:*", method: "BREW", path: "/orders"},
		"no rule, every action":                      {within: "orders:* *:read", method: "BREW", path: "/orders"},
		"no rule, everything":                        {within: "*:*", method: "BREW", path: "/orders", soft: true},
		"network, covered":                           {within: "orders:read", method: "GET", path: "/orders", own: "orders:read", network: true, soft: true},
		"network, not covered":                       {within: "payments:*", method: "GET", path: "/orders", own: "orders:read", network: true},
		"network, an alternative not covered":        {within: "stock:*", method: "GET", path: "/either", own: "secret:read", network: true},
		"network, all alternatives covered":          {within: "stock:* secret:*", method: "GET", path: "/either", own: "secret:read", network: true, soft: true},
		"network, any valid key":                     {within: "orders:*", method: "GET", path: "/any-key", network: true, soft: true},
		"network, any valid key, nothing":            {within: "", method: "GET", path: "/any-key", network: true},
		"network, no rule":                           {within: "orders:*", method: "BREW", path: "/orders", network: true},
		"network, reserved":                          {within: "*:* extauthz:*", method: "GET", path: "/extauthz", network: true},
	} {
		t.Run(name, func(t *testing.T) {
			a, key := authorizer(t, func(cfg *Config, r *Record, _ *keys) {
				cfg.Routes = table(t, rules...)
				r.Scopes, r.ShadowScopes = scopes(t, strings.Fields(c.own)...), scopes(t, strings.Fields(c.within)...)
				r.ShadowUntil, r.ShadowEnd = testNow.Add(time.Hour), testNow.Add(time.Hour)
				if c.network {
					r.AllowedCIDRs = elsewhere
				}
			})
			req := get(c.path, Header{Name: "x-api-key", Value: key})
			req.Method = c.method
			d, steps, err := a.Explain(t.Context(), req)
			if err != nil || d.Allowed != c.soft || (d.Shadow != ReasonUnspecified) != c.soft {
				t.Errorf("got %+v, %v; want it softened: %v\n%+v", d, err, c.soft, steps)
			}
			if required := d.Resource + ":" + d.Action; c.requires != "" && required != c.requires {
				t.Errorf("it reports %s, want %s", required, c.requires)
			}
			if plain, err := a.Check(t.Context(), req); err != nil || plain.Allowed != d.Allowed || plain.Reason != d.Reason {
				t.Errorf("Check says %+v, %v", plain, err)
			}
		})
	}
}

// TestShadow_OfAKeyNeedsAllThatTheServiceSets: a row that was written by hand, in which
// one of the fields is missing or in the past, allows nothing more.
func TestShadow_OfAKeyNeedsAllThatTheServiceSets(t *testing.T) {
	later, all := testNow.Add(time.Hour), "*:*"
	for name, edit := range map[string]func(*Record){
		"no end given first":     func(r *Record) { r.ShadowUntil, r.ShadowScopes = later, scopes(t, all) },
		"a first end that is by": func(r *Record) { r.ShadowUntil, r.ShadowEnd, r.ShadowScopes = later, testNow, scopes(t, all) },
		"no end":                 func(r *Record) { r.ShadowEnd, r.ShadowScopes = later, scopes(t, all) },
		"no scopes":              func(r *Record) { r.ShadowUntil, r.ShadowEnd = later, later },
	} {
		a, key := authorizer(t, func(_ *Config, r *Record, _ *keys) { r.Scopes = nil; edit(r) })
		if d, err := a.Check(t.Context(), get("/orders", Header{Name: "x-api-key", Value: key})); err != nil || d.Allowed || d.Reason != ReasonScope {
			t.Errorf("%s: got %+v, %v", name, d, err)
		}
	}
}

// TestProject_OfARuleRefusesKeysOfOthers: the project must be equal, and is tested before
// the scopes.
func TestProject_OfARuleRefusesKeysOfOthers(t *testing.T) {
	for project, want := range map[string]Reason{"acme": ReasonGranted, "": ReasonProject, "Acme": ReasonProject, "acme-2": ReasonProject, "acm": ReasonProject, "*": ReasonProject} {
		a, key := authorizer(t, func(c *Config, r *Record, _ *keys) {
			r.Project = project
			c.Routes = table(t, RouteConfig{Match: "/orders", Resource: "orders", Project: "acme"}, RouteConfig{Match: "/all", AnyOf: [][]Need{{}}, Project: "acme"})
		})
		for _, path := range []string{"/orders", "/all"} {
			if d, err := a.Check(t.Context(), get(path, Header{Name: "x-api-key", Value: key})); err != nil || d.Reason != want {
				t.Errorf("%q at %s: got %s, %v; want %s", project, path, d.Reason, err, want)
			}
		}
		if d, err := a.Check(t.Context(), get("/orders/1", Header{Name: "x-api-key", Value: key})); err != nil || d.Reason != ReasonGranted {
			t.Errorf("%q beside the rule: got %s, %v", project, d.Reason, err)
		}
	}
	for _, c := range []RouteConfig{
		{Match: "/x", Anonymous: true, Project: "acme"}, {Match: "/x", Resource: "x", Project: "a b"}, {Match: "/x", Resource: "x", Project: "*"},
		{Match: "/x", Resource: "x", Project: "caf\u00e9"}, {Match: "/x", Resource: "x", Project: strings.Repeat("a", 64)},
	} {
		if _, err := NewRouteTable([]RouteConfig{c}); err == nil || !strings.Contains(err.Error(), "project") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestShadow_OneReasonHidesNoOther: after a softened denial the request is judged
// further.
func TestShadow_OneReasonHidesNoOther(t *testing.T) {
	a, key := authorizer(t, func(c *Config, r *Record, _ *keys) {
		c.Routes = table(t, RouteConfig{Match: "/orders", Resource: "orders", Shadow: true, Until: testNow.Add(time.Hour)})
		c.DefaultRoute = DefaultRouteDeny
		r.Scopes, r.AllowedCIDRs = nil, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	d, err := a.Check(t.Context(), get("/orders", Header{Name: "x-api-key", Value: key}))
	if err != nil || !d.Allowed || d.Shadow != ReasonNetwork {
		t.Errorf("got %+v, %v; want the first of two reasons reported", d, err)
	}
	d, err = a.Check(t.Context(), get("/other", Header{Name: "x-api-key", Value: key}))
	if err != nil || d.Allowed || d.Reason != ReasonNetwork {
		t.Errorf("got %+v, %v: another route's shadow mode was used", d, err)
	}
}

func TestRouteMetadata_NeverRelaxesARule(t *testing.T) {
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

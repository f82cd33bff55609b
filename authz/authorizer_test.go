package authz

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// keys is a validator that returns the entries and roles that it holds.
type keys struct {
	entries map[string]Entry
	roles   map[string]Scopes
	err     error
	into    *Scratch // of the last look-up
}

func (k *keys) Lookup(_ context.Context, prefix string, into *Scratch) (Entry, error) {
	k.into = into
	return k.entries[prefix], k.err
}

func (k *keys) RoleScopes(_ context.Context, rec *Record, _ Need) (s Scopes, err error) {
	for _, r := range rec.Roles {
		s = s.Union(k.roles[r])
	}
	return s, k.err
}

var testNow = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// authorizer returns an Authorizer that accepts one key, and that key. edit may change
// the configuration and the key's record.
func authorizer(t testing.TB, edit func(*Config, *Record, *keys)) (*Authorizer, string) {
	t.Helper()
	f, peppers := testFormat(t), testPeppers(t, 1)
	key, prefix, err := f.Generate("live", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewDefaultMap(nil)
	if err != nil {
		t.Fatal(err)
	}
	rec := &Record{ID: "id", UserID: "u", Prefix: prefix, Active: true, Scopes: scopes(t, "orders:read")}
	known := &keys{entries: map[string]Entry{}}
	c := Config{Format: f, Peppers: peppers, DefaultRoute: DefaultRouteMap, DefaultMap: m, UseContextExtensions: true,
		Sources: []CredentialSource{{Kind: SourceHeader, Name: "x-api-key"}, {Kind: SourceHeader, Name: "authorization", Scheme: "Bearer"},
			{Kind: SourceQuery, Name: "api_key"}, {Kind: SourceCookie, Name: "key"}},
		Validator: known, Now: func() time.Time { return testNow }}
	if edit != nil {
		edit(&c, rec, known)
	}
	known.entries[prefix] = Entry{Record: rec, Verifier: peppers.Verifier(key), Layer: LayerLocal}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a, key.Reveal()
}

func get(path string, headers ...Header) *Request {
	return &Request{Method: "GET", Host: "api.example.com", Path: path, Headers: headers, Peer: netip.MustParseAddr("192.0.2.1")}
}

func TestAuthorizer_ReadsTheKeyIntoTheRequestsScratch(t *testing.T) {
	var known *keys
	a, key := authorizer(t, func(_ *Config, _ *Record, k *keys) { known = k })
	r := get("/orders", Header{Name: "x-api-key", Value: key})
	for _, scratch := range []*Scratch{{}, nil} {
		r.Scratch = scratch
		if d, err := a.Check(t.Context(), r); err != nil || !d.Allowed || known.into != scratch {
			t.Errorf("%+v, %v, into %p, want %p", d, err, known.into, scratch)
		}
	}
	known.into = &Scratch{}
	if d, err := a.Authenticate(t.Context(), NewSecret(key), netip.Addr{}); err != nil || !d.Allowed || known.into != nil {
		t.Errorf("%+v, %v, into %p, want none", d, err, known.into)
	}
}

func TestAuthenticate_KeyOfANetworkNeedsItsAddress(t *testing.T) {
	a, key := authorizer(t, func(_ *Config, r *Record, _ *keys) {
		r.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	for addr, allowed := range map[netip.Addr]bool{
		netip.MustParseAddr("192.0.2.7"):        true,
		netip.MustParseAddr("::ffff:192.0.2.7"): true,
		netip.MustParseAddr("198.51.100.1"):     false,
		{}:                                      false,
	} {
		if d, err := a.Authenticate(t.Context(), NewSecret(key), addr); err != nil || d.Allowed != allowed || !allowed && d.Reason != ReasonNetwork {
			t.Errorf("%v: got %+v, %v", addr, d, err)
		}
	}
}

// wrongSecret returns a key with the same prefix, another secret and a valid checksum.
func wrongSecret(key string) string {
	body := []byte(key[:len(key)-keyChecksumLength])
	last := &body[len(body)-1]
	if *last == 'a' {
		*last = 'b'
	} else {
		*last = 'a'
	}
	sum := checksum(string(body))
	return string(body) + string(sum[:])
}

func TestAuthorizer_ReachesEveryReason(t *testing.T) {
	h := func(name, value string) Header { return Header{Name: name, Value: value} }
	for name, c := range map[string]struct {
		edit func(*Config, *Record, *keys)
		req  func(key string) *Request
		want Reason
	}{
		"granted":              {nil, func(k string) *Request { return get("/orders/1", h("x-api-key", k)) }, ReasonGranted},
		"bearer":               {nil, func(k string) *Request { return get("/orders", h("authorization", "bearer "+k)) }, ReasonGranted},
		"query":                {nil, func(k string) *Request { return get("/orders?a=1&api%5Fkey=" + k) }, ReasonGranted},
		"cookie":               {nil, func(k string) *Request { return get("/orders", h("cookie", "a=b; key="+k)) }, ReasonGranted},
		"missing":              {nil, func(string) *Request { return get("/orders") }, ReasonMissing},
		"other scheme":         {nil, func(string) *Request { return get("/orders", h("authorization", "Basic eA==")) }, ReasonMissing},
		"empty value":          {nil, func(string) *Request { return get("/orders", h("x-api-key", "")) }, ReasonMalformed},
		"malformed":            {nil, func(k string) *Request { return get("/orders", h("x-api-key", k[1:])) }, ReasonMalformed},
		"unknown":              {nil, func(string) *Request { return get("/orders", h("x-api-key", freshKey(t))) }, ReasonUnknown},
		"wrong secret":         {nil, func(k string) *Request { return get("/orders", h("x-api-key", wrongSecret(k))) }, ReasonWrongSecret},
		"scope":                {nil, func(k string) *Request { return get("/invoices", h("x-api-key", k)) }, ReasonScope},
		"scope of method":      {nil, func(k string) *Request { r := get("/orders", h("x-api-key", k)); r.Method = "POST"; return r }, ReasonScope},
		"route":                {nil, func(k string) *Request { r := get("/orders", h("x-api-key", k)); r.Method = "TRACE"; return r }, ReasonRoute},
		"path":                 {nil, func(k string) *Request { return get("/orders/../x", h("x-api-key", k)) }, ReasonPath},
		"host":                 {nil, func(k string) *Request { r := get("/orders", h("x-api-key", k)); r.Host = "a,b"; return r }, ReasonPath},
		"two sources":          {nil, func(k string) *Request { return get("/orders", h("x-api-key", k), h("authorization", "Bearer "+k)) }, ReasonAmbiguous},
		"same header twice":    {nil, func(k string) *Request { return get("/orders", h("x-api-key", k), h("x-api-key", k)) }, ReasonAmbiguous},
		"joined header":        {nil, func(k string) *Request { return get("/orders", Header{"x-api-key", k + "," + k, true}) }, ReasonAmbiguous},
		"joined with basic":    {nil, func(k string) *Request { return get("/orders", Header{"authorization", "Basic x,Bearer " + k, true}) }, ReasonAmbiguous},
		"damaged header":       {nil, func(k string) *Request { return get("/orders", Header{"x-api-key", k + "!", true}) }, ReasonAmbiguous},
		"disabled":             {func(_ *Config, r *Record, _ *keys) { r.Active = false }, nil, ReasonDisabled},
		"revoked":              {func(_ *Config, r *Record, _ *keys) { r.Active = false; r.RevokedAt = testNow }, nil, ReasonRevoked},
		"expired this instant": {func(_ *Config, r *Record, _ *keys) { r.ExpiresAt = testNow }, nil, ReasonExpired},
		"not expired yet":      {func(_ *Config, r *Record, _ *keys) { r.ExpiresAt = testNow.Add(time.Microsecond) }, nil, ReasonGranted},
		"network": {func(_ *Config, r *Record, _ *keys) {
			r.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		}, nil, ReasonNetwork},
		"network holds": {func(_ *Config, r *Record, _ *keys) {
			r.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		}, nil, ReasonGranted},
		"fewer hops than configured": {func(c *Config, r *Record, _ *keys) {
			c.ClientAddress = ClientAddress{2, "x-forwarded-for"}
			r.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
		}, nil, ReasonNetwork},
		"role": {func(_ *Config, r *Record, k *keys) {
			r.Scopes = nil
			r.Roles = []string{"x"}
			k.roles = map[string]Scopes{"x": scopes(t, "orders:read")}
		}, nil, ReasonGranted},
		"anonymous rule": {func(c *Config, _ *Record, _ *keys) {
			c.Routes = table(t, RouteConfig{Match: "/orders", Anonymous: true})
		}, func(string) *Request { return get("/orders") }, ReasonAnonymous},
		"rule before extension": {func(c *Config, _ *Record, _ *keys) {
			c.Routes = table(t, RouteConfig{Match: "/orders", Resource: "strict"})
		}, func(k string) *Request {
			r := get("/orders", h("x-api-key", k))
			r.ContextResource = "orders"
			return r
		}, ReasonScope},
		"extension for default": {nil, func(k string) *Request { r := get("/other", h("x-api-key", k)); r.ContextResource = "orders"; return r }, ReasonGranted},
		"extension on reserved": {func(_ *Config, r *Record, _ *keys) { r.Scopes = scopes(t, "extauthz:*") }, func(k string) *Request {
			r := get("/x", h("x-api-key", k))
			r.ContextResource = "extauthz/keys"
			return r
		}, ReasonRoute},
		"deny by default":    {func(c *Config, _ *Record, _ *keys) { c.DefaultRoute = DefaultRouteDeny }, nil, ReasonRoute},
		"any key by default": {func(c *Config, r *Record, _ *keys) { c.DefaultRoute = DefaultRouteAuthenticated; r.Scopes = nil }, nil, ReasonGranted},
		"throttled":          {func(_ *Config, _ *Record, k *keys) { k.err = ErrThrottled }, nil, ReasonThrottled},
	} {
		t.Run(name, func(t *testing.T) {
			a, key := authorizer(t, c.edit)
			req := get("/orders", h("x-api-key", key))
			if c.req != nil {
				req = c.req(key)
			}
			d, err := a.Check(t.Context(), req)
			if err != nil || d.Reason != c.want || d.Allowed != (c.want == ReasonGranted || c.want == ReasonAnonymous) {
				t.Fatalf("got %v (allowed %v, %v), want %v", d.Reason, d.Allowed, err, c.want)
			}
			explained, steps, err := a.Explain(t.Context(), req)
			if err != nil || explained.Reason != d.Reason || len(steps) == 0 {
				t.Fatalf("explain says %v, %v", explained.Reason, err)
			}
		})
	}
}

func freshKey(t testing.TB) string {
	t.Helper()
	key, _, err := testFormat(t).Generate("live", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key.Reveal()
}

func TestAuthorizer_UnansweredLookupIsAnError(t *testing.T) {
	a, key := authorizer(t, func(_ *Config, _ *Record, k *keys) { k.err = errors.New("down") })
	d, err := a.Check(t.Context(), get("/orders", Header{Name: "x-api-key", Value: key}))
	if err == nil || d.Allowed {
		t.Fatalf("got %v, %v", d, err)
	}
	if d, err = a.Check(t.Context(), get("/orders", Header{Name: "x-api-key", Value: "x"})); err != nil || d.Reason != ReasonMalformed {
		t.Fatalf("a malformed key needs no store: %v, %v", d.Reason, err)
	}
}

func TestAuthorizer_AllowsNothingAfterTheDeadline(t *testing.T) {
	a, key := authorizer(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d, err := a.Check(ctx, get("/orders", Header{Name: "x-api-key", Value: key})); err == nil || d.Allowed {
		t.Fatalf("allowed late: %v, %v", d.Reason, err)
	}
}

func TestDecision_ZeroDenies(t *testing.T) {
	var d Decision
	if d.Allowed || d.Reason.Status() != 403 {
		t.Fatal("the zero decision must deny")
	}
	for _, r := range Reasons() {
		if r.String() == "" || r.Code() == "" || r.Status() == 0 || r.Detail() == "" {
			t.Errorf("reason %d is incomplete", r)
		}
	}
	if ReasonUnknown.Code() != ReasonWrongSecret.Code() || ReasonUnknown.Detail() != ReasonWrongSecret.Detail() {
		t.Error("unknown and wrong secret must look alike from outside")
	}
}

func TestClientAddress_CountsTrustedHopsFromTheRight(t *testing.T) {
	peer := netip.MustParseAddr("::ffff:192.0.2.9")
	xff := func(values ...string) (hs []Header) {
		for _, v := range values {
			hs = append(hs, Header{Name: "x-forwarded-for", Value: v})
		}
		return hs
	}
	for _, c := range []struct {
		hops    int
		headers []Header
		want    string
	}{
		{0, xff("10.0.0.1"), "192.0.2.9"},
		{1, xff("6.6.6.6, 10.0.0.1"), "10.0.0.1"},
		{2, xff("6.6.6.6, 10.0.0.1", "10.0.0.2"), "10.0.0.1"},
		{2, xff("10.0.0.2"), ""},
		{1, nil, ""},
		{1, xff("10.0.0.1, unknown"), ""},
		{1, xff("[2001:db8::1]:443"), "2001:db8::1"},
		{1, xff("::ffff:10.0.0.1"), "10.0.0.1"},
		{1, xff("fe80::1%eth0"), ""},
		{1, xff(""), ""},
	} {
		got, ok := ClientAddress{c.hops, "x-forwarded-for"}.Find(peer, c.headers)
		if ok != (c.want != "") || ok && got.String() != c.want {
			t.Errorf("%d hops, %v: got %v, %v", c.hops, c.headers, got, ok)
		}
	}
}

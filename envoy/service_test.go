package envoy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"extauthz/authz"
)

// saying is a checker that decides by a function.
type saying func(*authz.Request) (authz.Decision, error)

func (saying) Headers() []string { return []string{"x-api-key", "authorization", "cookie"} }

func (saying) HeaderHolds(value string) bool { return strings.Contains(value, "KEY") }

func (a saying) Check(_ context.Context, r *authz.Request) (authz.Decision, error) { return a(r) }

func service(t testing.TB, c EncoderConfig, a saying) *Service {
	t.Helper()
	s, err := New(Config{Checker: a, Encoder: c, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func request(path string, headers map[string]string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: path, Host: "h", Headers: headers}}}}
}

func allow(rec authz.Record, found ...authz.CredentialSource) saying {
	return func(*authz.Request) (authz.Decision, error) {
		d := authz.Decision{Allowed: true, Reason: authz.ReasonGranted, Record: &rec, Scopes: rec.Scopes}
		for _, f := range found {
			d.Credentials = append(d.Credentials, authz.FoundCredential{Source: f})
		}
		return d, nil
	}
}

func checked(t testing.TB, s *Service, req *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	res, err := s.Check(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	sound(t, res)
	if wire := checkedWire(t, s, marshalled(t, req)); !proto.Equal(ordered(res), ordered(wire)) {
		t.Errorf("by protobuf: %v\nby wire: %v", res, wire)
	}
	return res
}

// sound checks that Envoy can process a response without harm.
func sound(t testing.TB, res *authv3.CheckResponse) {
	t.Helper()
	if _, err := proto.Marshal(res); err != nil {
		t.Fatalf("the response can't be marshalled: %v", err)
	}
	if (res.GetStatus().GetCode() == 0) != (res.GetDeniedResponse() == nil) { // a response must be either allowed or denied
		t.Fatal("status and response disagree: code 0 allows")
	}
	seen := map[string]bool{}
	for _, h := range slices.Concat(res.GetOkResponse().GetHeaders(), res.GetDeniedResponse().GetHeaders()) {
		name, value := h.GetHeader().GetKey(), h.GetHeader().GetValue()
		if seen[name] {
			t.Errorf("%s occurs twice", name)
		}
		seen[name] = true
		if h.GetAppend() == nil || h.GetAppend().GetValue() || h.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD { //nolint:staticcheck // see option
			t.Errorf("%s does not overwrite in both forms", name)
		}
		if name != ":path" && !ValidHeaderName(name) || !plainValue(value) || !utf8.ValidString(value) {
			t.Errorf("%q: %q is no valid header", name, value)
		}
	}
	for _, name := range res.GetOkResponse().GetHeadersToRemove() {
		if seen[name] {
			t.Errorf("%s is set and removed: removal would win", name)
		}
		if !ValidHeaderName(name) {
			t.Errorf("%q can't be removed", name)
		}
	}
}

func values(res *authv3.CheckResponse) map[string]string {
	out := map[string]string{}
	for _, h := range slices.Concat(res.GetOkResponse().GetHeaders(), res.GetDeniedResponse().GetHeaders()) {
		out[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	return out
}

// TestIdentity_ArrivesWholeWithBlankEdges: a reader of a header removes spaces around the
// value, so spaces that belong to the value are encoded.
func TestIdentity_ArrivesWholeWithBlankEdges(t *testing.T) {
	for text, want := range map[string]string{" alice": "%20alice", "alice ": "alice%20", "  a b  ": "%20 a b %20", " ": "%20", "  ": "%20%20", "a b": "a b", "\talice": "%09alice",
		"\u00a0alice\u3000": "%C2%A0alice%E3%80%80", "acme": "acme", "%20alice": "%2520alice"} {
		record := authz.Record{ID: text, UserID: text, Name: text, Prefix: text, Environment: text, Project: text, Metadata: map[string]string{"tier": text}}
		s := service(t, EncoderConfig{MetadataHeaders: []string{"tier"}}, allow(record))
		res := checked(t, s, request("/orders", nil))
		got := values(res)
		for _, name := range []string{"x-auth-key-id", "x-auth-user-id", "x-auth-key-name", "x-auth-key-prefix", "x-auth-environment", "x-auth-project", "x-auth-meta-tier"} {
			if got[name] != want || strings.TrimSpace(got[name]) != want {
				t.Errorf("%q arrives in %s as %q, want %q", text, name, got[name], want)
			}
		}
		if facts := res.GetDynamicMetadata().GetFields(); facts["user_id"].GetStringValue() != want || facts["project"].GetStringValue() != want {
			t.Errorf("%q is %v in the metadata", text, facts)
		}
	}
}

func TestService_SetsIdentityAndRemovesTheRestUnderThePrefix(t *testing.T) {
	s := service(t, EncoderConfig{MetadataHeaders: []string{"tier", "team"}}, allow(authz.Record{ID: "i", UserID: "u\r\nx: y", Name: "Café 100%",
		Prefix: "ak_live_12345678", Environment: "live", Metadata: map[string]string{"tier": "gold"}},
		authz.CredentialSource{Kind: authz.SourceHeader, Name: "x-api-key"}))
	res := checked(t, s, request("/orders", map[string]string{"X-Auth-User-Id": "root", "x_auth_user_id": "root", "x-auth-admin": "1", "x-other": "y"}))
	got := values(res)
	for name, want := range map[string]string{"x-auth-key-id": "i", "x-auth-user-id": "u%0D%0Ax: y",
		"x-auth-key-name": "Caf%C3%A9 100%25", "x-auth-meta-tier": "gold", "x-auth-environment": "live"} {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
	removed := res.GetOkResponse().GetHeadersToRemove()
	for _, name := range []string{"x_auth_user_id", "x-auth-admin", "x-auth-meta-team", "x-auth-scopes", "x-auth-project", "x-api-key"} {
		if !slices.Contains(removed, name) {
			t.Errorf("%s is not removed: %v", name, removed)
		}
	}
	if slices.Contains(removed, "x-other") {
		t.Error("a header that is none of ours was removed")
	}
}

func TestService_AnonymousRouteRemovesIdentity(t *testing.T) {
	s := service(t, EncoderConfig{}, func(*authz.Request) (authz.Decision, error) {
		return authz.Decision{Allowed: true, Reason: authz.ReasonAnonymous}, nil
	})
	res := checked(t, s, request("/healthz", nil))
	if len(res.GetOkResponse().GetHeaders()) != 0 || len(res.GetOkResponse().GetHeadersToRemove()) != len(identityNames) {
		t.Errorf("got %v", res)
	}
}

func TestService_RemovesCredentialsAndKeepsTheRest(t *testing.T) {
	s := service(t, EncoderConfig{}, allow(authz.Record{ID: "i"}, authz.CredentialSource{Kind: authz.SourceQuery, Name: "api_key"},
		authz.CredentialSource{Kind: authz.SourceCookie, Name: "key"}))
	res := checked(t, s, request("/o?z=1&api%5Fkey=K&flag&a=%2f&api_key=K", map[string]string{"cookie": "a=1; key=K; b=2"}))
	if got := values(res); got[":path"] != "/o?z=1&flag&a=%2f" || got["cookie"] != "a=1; b=2" {
		t.Errorf("got %q", got)
	}
	// In a query, bytes outside ASCII go back percent-encoded. A cookie with such bytes
	// can't go back; the other cookies stay.
	res = checked(t, s, request("/o?q=caf\u00e9&api_key=K", map[string]string{"cookie": "a=caf\u00e9; key=K; b=2"}))
	if got := values(res); got[":path"] != "/o?q=caf%C3%A9" || got["cookie"] != "b=2" {
		t.Errorf("got %v", got)
	}
	res = checked(t, s, request("/o?api_key=K", map[string]string{"cookie": "key=K"}))
	if values(res)[":path"] != "/o" || !slices.Contains(res.GetOkResponse().GetHeadersToRemove(), "cookie") {
		t.Errorf("got %v", res)
	}
}

// TestEncoder_KeysInUnlistedPlacesLeave: parameters and cookies that hold a key are
// removed. The rest stays the same, byte for byte.
func TestEncoder_KeysInUnlistedPlacesLeave(t *testing.T) {
	s := service(t, EncoderConfig{}, allow(authz.Record{ID: "i"}, authz.CredentialSource{Kind: authz.SourceHeader, Name: "x-debug"},
		authz.CredentialSource{Kind: authz.SourceHeader, Name: "x-debug"}, authz.CredentialSource{Kind: authz.SourceHeader, Name: "x-auth-key-id"},
		authz.CredentialSource{Kind: authz.SourceHeader, Name: "x-auth-admin"}, authz.CredentialSource{Kind: authz.SourceHeader, Name: "a b"},
		authz.CredentialSource{Kind: authz.SourceQuery}, authz.CredentialSource{Kind: authz.SourceCookie}))
	res := checked(t, s, request("/o?z=1&a=aKEY&KEY&b=%2f&&c", map[string]string{"cookie": "a=1; KEY=2;b=KEY ; c=3", "x-debug": "KEY", "x-auth-admin": "KEY"}))
	if got := values(res); got[":path"] != "/o?z=1&b=%2f&&c" || got["cookie"] != "a=1; c=3" || got["x-auth-key-id"] != "i" {
		t.Errorf("got %q", got)
	}
	removed := res.GetOkResponse().GetHeadersToRemove()
	slices.Sort(removed)
	for _, name := range []string{"x-debug", "x-auth-admin"} {
		if i := slices.Index(removed, name); i < 0 || slices.Contains(removed[i+1:], name) {
			t.Errorf("%s is not removed once: %q", name, removed)
		}
	}
	if slices.Contains(removed, "x-auth-key-id") || slices.Contains(removed, "a b") {
		t.Errorf("removed are %q", removed)
	}
}

func TestService_DenialsAreNoErrors(t *testing.T) {
	for _, reason := range authz.Reasons() {
		if reason == authz.ReasonGranted || reason == authz.ReasonAnonymous {
			continue
		}
		s := service(t, EncoderConfig{RequestID: true}, func(*authz.Request) (authz.Decision, error) { return authz.Decision{Reason: reason}, nil })
		res := checked(t, s, request("/o", map[string]string{"x-request-id": "id\n1"}))
		var p problem
		if err := json.Unmarshal([]byte(res.GetDeniedResponse().GetBody()), &p); err != nil {
			t.Fatal(err)
		}
		if p.Code != reason.Code() || p.Status != reason.Status() || p.Type != "about:blank" || p.Instance != "id%0A1" ||
			int(res.GetDeniedResponse().GetStatus().GetCode()) != reason.Status() {
			t.Errorf("%v: got %+v", reason, p)
		}
		got := values(res)
		if (got["www-authenticate"] != "") != (reason.Status() == 401) || (got["retry-after"] != "") != (reason.Status() == 429) {
			t.Errorf("%v: got %v", reason, got)
		}
		if res.GetDynamicMetadata().GetFields()["reason"].GetStringValue() != reason.String() {
			t.Errorf("%v: metadata lacks the reason", reason)
		}
		res = checked(t, s, request("/o", map[string]string{"content-type": "application/grpc+proto"}))
		if body := res.GetDeniedResponse().GetBody(); strings.HasPrefix(body, "{") || values(res)["content-type"] != "" {
			t.Errorf("%v: a gRPC client got %q", reason, body)
		}
	}
}

func TestService_OnlyUndecidedIsUnavailable(t *testing.T) {
	for name, a := range map[string]saying{
		"error": func(*authz.Request) (authz.Decision, error) { return authz.Decision{}, errors.New("store down") },
		"panic": func(*authz.Request) (authz.Decision, error) { panic("bug") },
	} {
		var log bytes.Buffer
		s, err := New(Config{Checker: a, Logger: slog.New(slog.NewJSONHandler(&log, nil)), Registerer: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		res, err := s.Check(t.Context(), request("/", nil))
		if res != nil || status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "store down") {
			t.Errorf("%s: got %v, %v", name, res, err)
		}
		if got := log.String(); name == "error" && !strings.Contains(got, `"msg":"undecided","error":"store down"`) {
			t.Errorf("the log does not say why: %s", got)
		}
	}
}

func TestService_OnErrorIsTheOperatorsChoice(t *testing.T) {
	down := func(*authz.Request) (authz.Decision, error) { return authz.Decision{}, errors.New("store down") }
	res := checked(t, service(t, EncoderConfig{OnError: OnErrorDeny}, down), request("/", nil))
	if res.GetDeniedResponse().GetStatus().GetCode() != 503 || res.GetStatus().GetCode() == 0 {
		t.Errorf("got %v", res)
	}
	res, err := service(t, EncoderConfig{OnError: OnErrorResponse}, down).Check(t.Context(), request("/", nil))
	if err != nil || res.GetErrorResponse().GetStatus().GetCode() != 503 || res.GetStatus().GetCode() == 0 {
		t.Errorf("got %v, %v: code 0 would allow", res, err)
	}
}

func TestService_CacheStatusOnlyWhereAKeyWasLookedUp(t *testing.T) {
	for layer, want := range map[authz.Layer]string{authz.LayerNone: "", authz.LayerLocal: "HIT", authz.LayerRedis: "HIT", authz.LayerDatabase: "MISS"} {
		for _, allowed := range []bool{true, false} {
			s := service(t, EncoderConfig{DebugHeaders: true}, func(*authz.Request) (authz.Decision, error) {
				return authz.Decision{Allowed: allowed, Layer: layer}, nil
			})
			res := checked(t, s, request("/", nil))
			got := values(res)["x-cache-status"]
			for _, h := range res.GetOkResponse().GetResponseHeadersToAdd() {
				got = h.GetHeader().GetValue()
			}
			if metadata := res.GetDynamicMetadata().GetFields()["cache"].GetStringValue(); got != want || metadata != want {
				t.Errorf("%v: got %q and %q, want %q", layer, got, metadata, want)
			}
		}
	}
}

func TestService_OverridesChangeDenials(t *testing.T) {
	o := map[string]Override{"missing_key": {Status: 404, Title: "Not found", Detail: "nothing here", Headers: map[string]string{"x-help": "docs"}}}
	s := service(t, EncoderConfig{Overrides: o, ProblemTypeBase: "https://e.example/p/"}, func(*authz.Request) (authz.Decision, error) {
		return authz.Decision{Reason: authz.ReasonMissing}, nil
	})
	res := checked(t, s, request("/", nil))
	body := res.GetDeniedResponse().GetBody()
	if res.GetDeniedResponse().GetStatus().GetCode() != 404 || !strings.Contains(body, `"nothing here"`) ||
		!strings.Contains(body, `"https://e.example/p/missing_key"`) || values(res)["x-help"] != "docs" || values(res)["www-authenticate"] != "" {
		t.Errorf("got %v", res)
	}
	for _, bad := range []map[string]Override{{"nothing": {}}, {"granted": {}}, {"missing_key": {Status: 200}},
		{"missing_key": {Headers: map[string]string{"X": "y"}}}, {"missing_key": {Headers: map[string]string{"x": "a\r\nb: c"}}},
		{"missing_key": {Headers: map[string]string{"content-length": "1"}}}} {
		if _, err := newEncoder(EncoderConfig{Overrides: bad}); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

func TestDecisionLog_LimitsDenialsPerSecond(t *testing.T) {
	var out bytes.Buffer
	l := decisionLog{log: slog.New(slog.NewJSONHandler(&out, nil))}
	lines := 0
	for second := range int64(2) {
		for range 10 * denialsPerSecond {
			if _, ok := l.denials.admit(second); ok {
				lines++
			}
		}
	}
	if lines != 2*denialsPerSecond {
		t.Errorf("%d lines", lines)
	}
	const secret = "SECRETSECRETSECRETSECRETSECRETSECRETSECRET"
	l.logDecision(t.Context(), 0, &authz.Decision{Reason: authz.ReasonMissing, Path: "/o/ak_live_12345678_" + secret, Resource: "o/" + secret},
		&authz.Request{Path: "/o?api_key=SECRET", Headers: []authz.Header{{Name: "x-api-key", Value: "SECRET"}, {Name: "x-request-id", Value: secret}}})
	if got := out.String(); strings.Contains(got, "SECRET") || !strings.Contains(got, `"denials_not_logged":180`) {
		t.Errorf("got %s", got)
	}
}

// TestDecisionLog_NamesTheAddressThatNetworksRefuse: the line has the client's address,
// or "unknown".
func TestDecisionLog_NamesTheAddressThatNetworksRefuse(t *testing.T) {
	for client, want := range map[netip.Addr]string{netip.MustParseAddr("192.0.2.7"): `"client":"192.0.2.7"`, {}: `"client":"unknown"`} {
		var out bytes.Buffer
		l := decisionLog{log: slog.New(slog.NewJSONHandler(&out, nil))}
		l.logDecision(t.Context(), 0, &authz.Decision{Reason: authz.ReasonNetwork, Client: client}, &authz.Request{})
		l.logDecision(t.Context(), 0, &authz.Decision{Reason: authz.ReasonScope}, &authz.Request{})
		if got := out.String(); strings.Count(got, `"client"`) != 1 || !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestDecode_RawHeadersWinAndStayApart(t *testing.T) {
	req := request("/sanitised", map[string]string{"x-api-key": "a,b", "x-only": "1"})
	raw := func(k, v string) *corev3.HeaderValue { return &corev3.HeaderValue{Key: k, RawValue: []byte(v)} }
	req.Attributes.Request.Http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
		raw(":path", "/raw!"), raw("X-API-Key", "a"), raw("x-api-key", "b")}}
	var r authz.Request
	decode(&r, req)
	var lines []string
	for _, h := range r.Headers {
		if h.Name == "x-api-key" {
			lines = append(lines, h.Value)
		}
	}
	if r.Path != "/raw!" || r.PathSanitised || !slices.Equal(lines, []string{"a", "b"}) || lineOf(&r, "x-only") != "1" {
		t.Errorf("got %+v", r)
	}
}

func TestEncoderConfig_ReportsEveryProblem(t *testing.T) {
	_, err := newEncoder(EncoderConfig{HeaderPrefix: "X_", MetadataHeaders: []string{"a b"}, Realm: `a"b`})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Fatalf("want three problems, got %v", err)
	}
}

package envoy

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"extauthz/authz"
)

// askWire sends a check as bytes. These must not be read any more after it has returned.
func askWire(s *Service, data []byte) (*authv3.CheckResponse, error) {
	c := takeCheck()
	buffer := slices.Clone(data)
	c.data = mem.SliceBuffer(buffer)
	b, err := s.checkWire(context.Background(), c)
	c.release()
	for i := range buffer {
		buffer[i] = '#'
	}
	if err != nil {
		return nil, err
	}
	defer b.Free()
	res := &authv3.CheckResponse{}
	return res, proto.Unmarshal(b.ReadOnlyData(), res)
}

func checkedWire(t testing.TB, s *Service, data []byte) *authv3.CheckResponse {
	t.Helper()
	res, err := askWire(s, data)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// ordered returns res with the names to remove sorted. Names that the client sent come in
// the random order of a map.
func ordered(res *authv3.CheckResponse) *authv3.CheckResponse {
	slices.Sort(res.GetOkResponse().GetHeadersToRemove())
	return res
}

// unasked is a prefix for which the validator has no answer.
const unasked = "ak_live_00000000"

// keyring is a validator that has one key of each kind, by prefix.
type keyring map[string]authz.Entry

func (k keyring) Lookup(_ context.Context, prefix string, _ *authz.Scratch) (authz.Entry, error) {
	e := k[prefix]
	if e.Layer = authz.LayerLocal; prefix == unasked {
		return authz.Entry{}, errors.New("store down")
	}
	return e, nil
}

func (keyring) RoleScopes(context.Context, *authz.Record, authz.Need) (authz.Scopes, error) {
	return nil, nil
}

// decider returns the real authorizer over some keys, and the keys' texts by name.
func decider(t testing.TB) (*authz.Authorizer, map[string]string) {
	t.Helper()
	format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	if err != nil {
		t.Fatal(err)
	}
	pepper, err := authz.NewPepper(bytes.Repeat([]byte("p"), 32))
	if err != nil {
		t.Fatal(err)
	}
	peppers, err := authz.NewPeppers([]authz.Pepper{pepper})
	if err != nil {
		t.Fatal(err)
	}
	routes, err := authz.NewRouteTable([]authz.RouteConfig{
		{Match: "/public/", Anonymous: true},
		{Match: "GET /users/{id}", Resource: "users/{id}", Action: "read"},
	})
	if err != nil {
		t.Fatal(err)
	}
	mapping, err := authz.NewDefaultMap(nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, texts := keyring{}, map[string]string{}
	for name, edit := range map[string]func(*authz.Record){
		"good":    func(*authz.Record) {},
		"narrow":  func(r *authz.Record) { r.Scopes = nil },
		"network": func(r *authz.Record) { r.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")} },
		"revoked": func(r *authz.Record) { r.RevokedAt = time.Unix(1, 0) },
		"odd": func(r *authz.Record) {
			r.Name, r.UserID = "Café \x00 100%", ""
			r.Metadata = map[string]string{"tier": strings.Repeat("x", 9<<10)}
		},
		"rated": func(r *authz.Record) { r.Rate = authz.Rate{Count: 100, Per: time.Minute} },
	} {
		key, prefix, err := format.Generate("live", rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		rec := &authz.Record{ID: "01890000-0000-7000-8000-000000000001", UserID: "0f8fad5b-d9cb-469f-a165-70867728950e", Name: "a name of twenty ch", Prefix: prefix,
			Environment: "live", Active: true, Metadata: map[string]string{"tier": "gold"},
			Scopes: authz.Scopes{{Resource: "orders", Actions: []string{"create", "read"}}, {Resource: "orders/eu", Actions: []string{"*"}}, {Resource: "users", Actions: []string{"read"}}}}
		edit(rec)
		keys[prefix], texts[name] = authz.Entry{Record: rec, Verifier: peppers.Verifier(key)}, key.Reveal()
	}
	zeros, _, err := format.Generate("live", bytes.NewReader(make([]byte, 1024)))
	if err != nil {
		t.Fatal(err)
	}
	texts["unasked"] = zeros.Reveal()
	for _, name := range []string{"unknown", "wrong"} { // "wrong" has the prefix of another key
		key, prefix, err := format.Generate("live", rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if texts[name] = key.Reveal(); name == "wrong" {
			other, _, err := format.Generate("live", rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			keys[prefix] = authz.Entry{Record: &authz.Record{Active: true}, Verifier: peppers.Verifier(other)}
		}
	}
	a, err := authz.New(authz.Config{Format: format, Peppers: peppers, Validator: keys, Now: func() time.Time { return time.Unix(1e9, 0) },
		Sources: []authz.CredentialSource{{Kind: authz.SourceHeader, Name: "x-api-key"}, {Kind: authz.SourceHeader, Name: "authorization", Scheme: "Bearer"},
			{Kind: authz.SourceQuery, Name: "api_key"}, {Kind: authz.SourceCookie, Name: "key"}},
		Routes: routes, DefaultRoute: authz.DefaultRouteMap, DefaultMap: mapping, UseContextExtensions: true,
		RouteMetadata:   authz.RouteMetadata{Enabled: true},
		AllowPreflights: true, ClientAddress: authz.ClientAddress{TrustedHops: 1, Header: "x-forwarded-for"}, IdentityPrefix: "x-auth-"})
	if err != nil {
		t.Fatal(err)
	}
	return a, texts
}

func deciding(t testing.TB, c EncoderConfig, a Checker) *Service {
	t.Helper()
	s, err := New(Config{Checker: a, Encoder: c, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// same compares the results of both ways, if protobuf accepts the message.
func same(t *testing.T, s *Service, data []byte) {
	t.Helper()
	wire, wireErr := askWire(s, data)
	if wireErr != nil && status.Code(wireErr) != codes.Unavailable {
		t.Fatalf("by wire: %v", wireErr)
	}
	if wire != nil && wire.GetErrorResponse() == nil {
		sound(t, wire)
	}
	var req authv3.CheckRequest
	if proto.Unmarshal(data, &req) != nil || ambiguous(&req) {
		return
	}
	sameRequest(t, s.policy.Load(), &req, data)
	res, err := s.Check(t.Context(), &req)
	if (err == nil) != (wireErr == nil) || err == nil && !proto.Equal(ordered(res), ordered(wire)) {
		t.Errorf("by protobuf: %v, %v\nby wire: %v, %v\nrequest: %v", res, err, wire, wireErr, &req)
	}
}

// sameRequest compares the request that is read from the bytes with the one that is read
// from the message. It compares all headers that decisions depend on, and all that hold a
// key.
func sameRequest(t *testing.T, p *policy, req *authv3.CheckRequest, data []byte) {
	t.Helper()
	var want, got authz.Request
	var w wireRequest
	if decode(&want, req); !w.read(&got, &p.headers, p.encoder.holds, data) {
		t.Fatalf("not read: %v", req)
	}
	for _, r := range []*authz.Request{&want, &got} {
		r.Headers = slices.DeleteFunc(r.Headers, func(h authz.Header) bool {
			_, ok := p.headers.find(h.Name)
			return strings.HasPrefix(h.Name, ":") || !ok && !p.encoder.holds(h.Value)
		})
		slices.SortStableFunc(r.Headers, func(a, b authz.Header) int { return strings.Compare(a.Name, b.Name) })
	}
	if !slices.Equal(got.Headers, want.Headers) {
		t.Errorf("headers: got %v, want %v", got.Headers, want.Headers)
	}
	if got.Headers, want.Headers = nil, nil; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

var encoders = map[string]EncoderConfig{
	"plain": {MetadataHeaders: []string{"tier"}},
	"all": {MetadataHeaders: []string{"tier", "team"}, RequestID: true, DebugHeaders: true, RateMetadata: true, OnError: OnErrorResponse,
		Overrides: map[string]Override{"missing_key": {Status: 403, Headers: map[string]string{"x-help": "y"}}, "throttled": {Headers: map[string]string{"retry-after": "9"}}}},
	"forwarding": {ForwardCredential: true, OnError: OnErrorDeny, ProblemTypeBase: "https://errors.example.com/"},
}

func TestService_BytesAreDecidedAsMessages(t *testing.T) {
	a, texts := decider(t)
	for name, c := range encoders {
		s := deciding(t, c, a)
		for request, data := range requests(t, texts) {
			t.Run(name+"/"+request, func(t *testing.T) { same(t, s, data) })
		}
	}
}

// TestService_ManyHeadersTakeLinearTime: the time for as many headers as a message can
// hold is linear in their number. If it were quadratic, this test would not end.
func TestService_ManyHeadersTakeLinearTime(t *testing.T) {
	a, texts := decider(t)
	s := deciding(t, EncoderConfig{}, a)
	req := gatewayRequest("/orders", "x-api-key", texts["good"])
	http := req.GetAttributes().GetRequest().GetHttp()
	const many = 300_000
	for i := range many {
		http.Headers[fmt.Sprint("x-auth-", i)] = ""
	}
	res := checkedWire(t, s, marshalled(t, req))
	if n := len(res.GetOkResponse().GetHeadersToRemove()); n <= many {
		t.Errorf("%d headers are removed", n)
	}
	http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "x-auth-0", RawValue: []byte("v")}}}
	if n := len(checkedWire(t, s, marshalled(t, req)).GetOkResponse().GetHeadersToRemove()); n <= many {
		t.Errorf("%d headers are removed, one of which has a raw line", n)
	}
}

func TestService_MalformedMessageIsDenied(t *testing.T) {
	a, texts := decider(t)
	s := deciding(t, EncoderConfig{}, a)
	whole := oddRequests(texts["good"])["messages add up"]
	for name, data := range map[string][]byte{
		"cut":                    whole[:len(whole)-3],
		"a length over all":      append(slices.Clone(whole[:len(whole)-1]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"a tag that is none":     {0x02, 0x00},
		"a length without end":   {0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"a group without an end": {0x0b, 0x0a, 0x00},
		"an end without a group": {0x0c},
	} {
		if err := proto.Unmarshal(data, &authv3.CheckRequest{}); err == nil {
			t.Fatalf("%s: protobuf takes it", name)
		}
		if res := checkedWire(t, s, data); res.GetStatus().GetCode() == 0 || res.GetDeniedResponse().GetStatus().GetCode() != 403 {
			t.Errorf("%s: got %v", name, res)
		}
	}
}

func FuzzBytesAreDecidedAboutAsMessages(f *testing.F) {
	a, texts := decider(f)
	var services []*Service
	for _, c := range encoders {
		services = append(services, deciding(f, c, a))
	}
	for _, data := range requests(f, texts) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, s := range services {
			same(t, s, data)
		}
	})
}

// TestService_AnswerStaysAfterTheCheckIsReused: the memory of a check is reused for
// others while gRPC still has to send its answer.
func TestService_AnswerStaysAfterTheCheckIsReused(t *testing.T) {
	a, texts := decider(t)
	s := deciding(t, encoders["all"], a)
	var answers []*authv3.CheckResponse
	var bytes [][]byte
	marshal := proto.MarshalOptions{Deterministic: true}
	for range 2 {
		for _, req := range benched(texts) {
			res, err := s.Check(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			b, err := marshal.Marshal(res)
			if err != nil {
				t.Fatal(err)
			}
			answers, bytes = append(answers, res), append(bytes, b)
		}
	}
	for i := range answers {
		if b, err := marshal.Marshal(answers[i]); err != nil || !slices.Equal(b, bytes[i]) {
			t.Errorf("answered %q, now %q, %v", bytes[i], b, err)
		}
	}
}

func TestHTTP_AnswerStaysAfterTheCheckIsReused(t *testing.T) {
	a, texts := decider(t)
	handler := NewHTTPServer(HTTPConfig{}, deciding(t, encoders["all"], a)).Handler
	var answers []http.Header
	var copies []string
	for range 2 {
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/check/orders/1", nil)
			r.RemoteAddr = "127.0.0.1:1"
			r.Header.Set("x-api-key", texts[name])
			r.Header.Set("x-forwarded-for", "203.0.113.7")
			handler.ServeHTTP(w, r)
			answers, copies = append(answers, w.Header()), append(copies, fmt.Sprint(w.Header()))
		}
	}
	for i := range answers {
		if now := fmt.Sprint(answers[i]); now != copies[i] {
			t.Errorf("answered %s, now %s", copies[i], now)
		}
	}
}

func TestService_ReadsNothingOfARequestAfterItsEnd(t *testing.T) {
	var log bytes.Buffer
	a, texts := decider(t)
	s, err := New(Config{Checker: a, Encoder: EncoderConfig{RequestID: true, SampleAllowed: 1}, Registerer: prometheus.NewRegistry(),
		Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	all := requests(t, texts)
	for name, data := range all { // answers and log lines were made before the bytes were overwritten
		if name == "raw bytes that are no text" {
			continue
		}
		res, err := askWire(s, data)
		if err == nil && strings.Contains(res.String(), "###") || strings.Contains(log.String(), "###") {
			t.Errorf("%s: got %v\n%s", name, res, log.String())
		}
	}
}

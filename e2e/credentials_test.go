package e2e

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

const foreignToken = "authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"

// credentialsPolicy takes keys from each kind of place.
const credentialsPolicy = `
routes: [{match: "/healthz", anonymous: true}]
default_route: map
cors: {allow_preflights: true}
credentials:
  - {header: x-api-key}
  - {header: authorization, scheme: Bearer}
  - {header: authorization, scheme: Basic}
  - {header: authorization, scheme: ApiKey}
  - {query: api_key}
  - {cookie: session}
`

func basic(user, password string) string {
	return "authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// headerForms are the two forms in which Envoy sends headers.
var headerForms = map[string]string{"raw headers": "true", "sanitised headers": "false"}

// TestCredentials_ForeignValuesPass: they may accompany a key, and are not removed.
func TestCredentials_ForeignValuesPass(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		for form, raw := range headerForms {
			t.Run(form, func(t *testing.T) {
				s := newStack(t, version, credentialsPolicy, "encode_raw_headers: true", "encode_raw_headers: "+raw)
				k := s.NewKey("--scope", "orders:read")
				key := "x-api-key: " + k.Key
				for _, foreign := range []string{foreignToken, basic("joe", "secret"), "authorization: Digest a=b", "authorization: ApiKey sk_test_1", "cookie: session=theirs; a=b"} {
					a := s.ask("GET", "/orders", key, foreign)
					s.allowed(a)
					name, value, _ := strings.Cut(foreign, ": ")
					if got := a.lines(name); len(got) != 1 || got[0] != value || strings.Contains(a.body, k.Key) {
						t.Errorf("%s arrived as %q", foreign, got)
					}
				}
				a := s.ask("GET", "/orders?api_key=google", "authorization: Bearer "+k.Key, "x-api-key: another product's")
				s.allowed(a)
				if !strings.HasPrefix(a.body, "GET /orders?api_key=google HTTP/1.1") || len(a.lines("x-api-key")) != 1 || len(a.lines("authorization")) != 0 {
					t.Errorf("the upstream got %s", a.body)
				}
				s.denied(s.ask("GET", "/orders", foreignToken), 401, "malformed_key")
				s.denied(s.ask("GET", "/orders", "x-api-key: sk_test_1"), 401, "malformed_key")
				for _, two := range [][]string{{key, "authorization: Bearer " + k.Key}, {key, "authorization: Bearer " + k.Key[:20]}, {key, key}, {key, "x-api-key: other"},
					{foreignToken, "authorization: Bearer " + k.Key}, {"authorization: Bearer " + k.Key, foreignToken}, {foreignToken, basic(k.Key, "")}, {basic(k.Key, k.Key)}, {basic(k.Key, ""), key}} {
					s.denied(s.ask("GET", "/orders", two...), 401, "ambiguous_credential")
				}
			})
		}
	})
}

// TestCredentials_AnySchemeIsASource: including Basic, with the key as user or password.
func TestCredentials_AnySchemeIsASource(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		for form, raw := range headerForms {
			t.Run(form, func(t *testing.T) {
				s := newStack(t, version, credentialsPolicy, "encode_raw_headers: true", "encode_raw_headers: "+raw)
				k := s.NewKey("--scope", "orders:read")
				for _, header := range []string{basic(k.Key, ""), basic("", k.Key), basic("api", k.Key), basic(k.Key, "x-oauth-basic"), strings.TrimRight(basic(k.Key, "x"), "="),
					"authorization: basic  " + basic(k.Key, "")[len("authorization: Basic "):], "authorization: ApiKey " + k.Key, "authorization: APIKEY " + k.Key} {
					a := s.ask("GET", "/orders", header)
					s.allowed(a)
					if len(a.lines("authorization")) != 0 {
						t.Errorf("%.24s… reached the upstream", header)
					}
				}
				s.denied(s.ask("GET", "/orders", basic("joe", "secret")), 401, "malformed_key")
				s.denied(s.ask("GET", "/orders", "authorization: Basic !!!"), 401, "malformed_key")
				s.denied(s.ask("GET", "/orders", basic(forged(t, "ak_live_00000000_"), "")), 401, "invalid_key")
				a := s.ask("GET", "/orders")
				s.denied(a, 401, "missing_key")
				if got, want := a.header.Get("www-authenticate"), `Bearer realm="api", Basic realm="api", charset="UTF-8", ApiKey realm="api"`; got != want {
					t.Errorf("the challenge is %q, want %q", got, want)
				}
			})
		}
	})
}

// TestCredentials_NoWholeKeyGoesFurther: on anonymous routes, in preflights and next to
// another key, wherever the key is and however it is written. All other values stay.
func TestCredentials_NoWholeKeyGoesFurther(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		for form, raw := range headerForms {
			t.Run(form, func(t *testing.T) {
				// The default sources, and each kind of place that is not a source.
				s := newStack(t, version, "{routes: [{match: /healthz, anonymous: true}], default_route: map, cors: {allow_preflights: true}}", "encode_raw_headers: true", "encode_raw_headers: "+raw)
				k, spare := s.NewKey("--scope", "orders:read"), s.NewKey("--scope", "orders:read")
				key := spare.Key
				encoded := "%61k%5Flive_" + key[len("ak_live_"):]
				for _, c := range []struct{ target, header, want string }{
					{"", "authorization: Token " + key, ""},
					{"", "authorization: Bearer\t" + key, ""},
					{"", "authorization: " + key, ""},
					{"", "authorization: " + key + ", Digest x", ""},
					{"", "proxy-authorization: Basic " + base64.RawStdEncoding.EncodeToString([]byte("joe:"+key)), ""},
					{"", strings.Replace(basic(key, ""), "Basic ", "bAsIc\t", 1), ""},
					{"", basic(strings.Repeat("x", 3000), key), ""},
					{"", "referer: https://app.example/?k=" + key, ""},
					{"", "referer: https://app.example/?next=" + url.QueryEscape("/?k="+encoded), ""},
					{"", "x-debug: {\"key\": \"" + key + "\"}", ""},
					{"", "cookie2: " + key, ""},
					{"", "x-request-id: " + key, ""},
					{"", "cookie: a=1; b=" + key + "; c=3", "cookie: a=1; c=3"},
					{"", "cookie: a=1; " + encoded + "=b; c=\"3\"", "cookie: a=1; c=\"3\""},
					{"?x=%2f&key=" + key + "&y", "a: b", "?x=%2f&y HTTP"},
					{"?" + encoded + "&y=1", "a: b", "?y=1 HTTP"},
					{"?a=1&" + key + "=1", "a: b", "?a=1 HTTP"},
				} {
					requests := map[string]answer{
						"anonymous": s.ask("GET", "/healthz"+c.target, c.header, "x-other: stays"),
						"keyed":     s.ask("GET", "/orders"+c.target, c.header, "x-other: stays", "x-api-key: "+k.Key),
						"preflight": s.ask("OPTIONS", "/orders"+c.target, c.header, "x-other: stays", "origin: https://a.example", "access-control-request-method: GET"),
					}
					if strings.HasPrefix(c.header, "authorization: ") {
						requests["bearer and foreign"] = s.ask("GET", "/healthz", c.header, foreignToken, "x-other: stays")
					}
					for name, a := range requests {
						s.allowed(a)
						if got := leaks(a.body, key); got != "" {
							t.Errorf("%s, %.30s %.30s: %s", name, c.target, c.header, got)
						}
						if !strings.Contains(a.body, c.want) || len(a.lines("x-other")) != 1 {
							t.Errorf("%s, %.30s: the upstream got %s, want %q in it", name, c.header, a.body, c.want)
						}
					}
				}
				a := s.ask("GET", "/healthz", foreignToken, "x-api-key: "+key)
				s.allowed(a)
				if len(a.lines("authorization")) != 1 || leaks(a.body, key) != "" {
					t.Errorf("a key beside a foreign token: %s", a.body)
				}
				for _, path := range []string{"/orders/" + key, "/healthz/" + key, "/" + key} {
					if a := s.ask("GET", path, "x-api-key: "+k.Key); a.reached || a.status < 400 {
						t.Errorf("a key in the path: got %d, upstream reached: %v", a.status, a.reached)
					}
				}
				s.denied(s.ask("GET", "/orders/"+key, "x-api-key: "+k.Key), 403, "forwarding_refused")
				s.Stop() // checks that the log contains no key
			})
		}
	})
}

// leaks returns in which form a text contains a key.
func leaks(text, key string) string {
	plain, err := url.PathUnescape(text)
	if err != nil {
		plain = text
	}
	if again, err := url.PathUnescape(plain); err == nil {
		plain += again
	}
	if strings.Contains(plain, key) {
		return "the key arrived"
	}
	for line := range strings.SplitSeq(text, "\r\n") {
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
			if b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(word, "=")); err == nil && strings.Contains(string(b), key) {
				return "the key arrived in base64"
			}
		}
	}
	return ""
}

// TestCredentials_ForwardedWhereConfigured: with the setting, nothing is removed or
// refused.
func TestCredentials_ForwardedWhereConfigured(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		s := newStack(t, version, `{identity: {forward_credential: true}, routes: [{match: "/healthz/", anonymous: true}], default_route: map}`)
		k := s.NewKey("--scope", "orders:read")
		for _, path := range []string{"/orders/" + k.Key, "/orders?a=" + k.Key, "/healthz/" + k.Key} {
			a := s.ask("GET", path, "x-api-key: "+k.Key, "x-debug: "+k.Key)
			s.allowed(a)
			if n := strings.Count(a.body, k.Key); n != 3 {
				t.Errorf("%.8s: the key arrived %d times", path, n)
			}
		}
	})
}

// TestProxies_AKeyThatStaysIsRefused: with any proxy, the upstream gets no whole key that
// extauthz has seen.
func TestProxies_AKeyThatStaysIsRefused(t *testing.T) {
	onEachProxy(t, func(t *testing.T, s *stack, p proxy) {
		k, spare := s.NewKey("--scope", "orders:read"), s.NewKey("--scope", "orders:read").Key
		for _, c := range [][2]string{{"", "authorization: Token " + spare}, {"", "authorization: Bearer\t" + spare}, {"", "authorization: " + spare},
			{"", basic(spare, "")}, {"", "x-api-key: " + spare}} {
			for _, path := range []string{"/healthz", "/orders"} {
				headers := []string{c[1]}
				if path == "/orders" {
					headers = append(headers, "x-api-key: "+k.Key)
				}
				if a := s.ask("GET", path+c[0], headers...); a.reached && leaks(a.body, spare) != "" {
					t.Errorf("%s, %.30s: %s", path, c[1], a.body)
				}
			}
		}
		refused := [][2]string{{"?k=" + spare, "a: b"}, {"?k=%61" + spare[1:], "a: b"}, {"/" + spare, "a: b"}}
		if !p.hides {
			refused = append(refused, [2]string{"", "referer: https://a.example/?k=" + spare}, [2]string{"", "cookie: a=" + spare}, [2]string{"", "x-debug: " + spare})
		}
		for _, c := range refused {
			for i, path := range []string{"/healthz", "/orders"} {
				headers := append([]string{c[1]}, []string{"x-api-key: " + k.Key}[:i]...)
				a := s.ask("GET", path+c[0], headers...)
				if a.reached || a.status != 403 && a.status != 401 && a.status != 400 {
					t.Errorf("%s %.20s, %.20s: got %d, upstream reached: %v", path, c[0], c[1], a.status, a.reached)
				}
			}
		}
		if log := s.Log(); !strings.Contains(log, "identity.forward_credential") || !strings.Contains(log, `"key_in"`) {
			t.Errorf("the log does not say why: %s", fmt.Sprintf("%.2000s", log))
		}
	})
}

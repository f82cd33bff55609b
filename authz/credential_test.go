package authz

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const foreignToken = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJha19saXZlIn0.c2lnbmF0dXJl"

func basicOf(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// allSources configures one source of each kind.
func allSources(c *Config, _ *Record, _ *keys) {
	c.Sources = []CredentialSource{{SourceHeader, "x-api-key", ""}, {SourceHeader, "authorization", "Bearer"}, {SourceHeader, "authorization", "Basic"},
		{SourceHeader, "authorization", "ApiKey"}, {SourceQuery, "api_key", ""}, {SourceCookie, "key", ""}}
}

// TestCredentials_OnlyOursCount: another party's value beside one of our keys does not
// count, and a value that may hold two of our keys is ambiguous, in every form in which a
// gateway sends it.
func TestCredentials_OnlyOursCount(t *testing.T) {
	h := func(name, value string) Header { return Header{Name: name, Value: value} }
	joined := func(name, value string) Header { return Header{Name: name, Value: value, Sanitised: true} }
	for name, c := range map[string]struct {
		headers func(k string) []Header
		query   string
		want    Reason
	}{
		"a JWT beside a key": {func(k string) []Header { return []Header{h("x-api-key", k), h("authorization", foreignToken)} }, "", ReasonGranted},
		"a JWT beside a key, sanitised": {func(k string) []Header {
			return []Header{joined("x-api-key", k), joined("authorization", foreignToken)}
		}, "", ReasonGranted},
		"two joined JWTs beside a key": {func(k string) []Header {
			return []Header{h("x-api-key", k), joined("authorization", foreignToken+","+foreignToken)}
		}, "", ReasonGranted},
		"a damaged foreign value": {func(k string) []Header {
			return []Header{joined("x-api-key", "!!x,y"), h("authorization", "Bearer "+k)}
		}, "", ReasonGranted},
		"another product's key": {func(k string) []Header {
			return []Header{h("x-api-key", "sk_test_4eC39HqLyjWDarjtT1zdp7dc"), h("authorization", "Bearer "+k)}
		}, "", ReasonGranted},
		"an empty header": {func(k string) []Header { return []Header{h("x-api-key", ""), h("authorization", "Bearer "+k)} }, "", ReasonGranted},
		"foreign Basic beside a key": {func(k string) []Header {
			return []Header{h("x-api-key", k), h("authorization", basicOf("joe", "secret"))}
		}, "", ReasonGranted},
		"a foreign parameter":   {func(k string) []Header { return []Header{h("x-api-key", k)} }, "?api_key=google", ReasonGranted},
		"a foreign cookie":      {func(k string) []Header { return []Header{h("x-api-key", k), h("cookie", "key=theirs")} }, "", ReasonGranted},
		"a JWT alone":           {func(string) []Header { return []Header{h("authorization", foreignToken)} }, "", ReasonMalformed},
		"a foreign value alone": {func(string) []Header { return []Header{h("x-api-key", "sk_test_1")} }, "", ReasonMalformed},
		"two foreign values": {func(string) []Header {
			return []Header{h("x-api-key", "a"), h("x-api-key", "b"), h("authorization", foreignToken)}
		}, "", ReasonMalformed},
		"two joined foreign values":       {func(string) []Header { return []Header{joined("x-api-key", "a,b")} }, "", ReasonMalformed},
		"a cut key beside a whole one":    {func(k string) []Header { return []Header{h("x-api-key", k[:20]), h("authorization", "Bearer "+k)} }, "", ReasonAmbiguous},
		"another product under our brand": {func(k string) []Header { return []Header{h("x-api-key", "ak_prod_x"), h("authorization", "Bearer "+k)} }, "", ReasonGranted},
		"a mistyped key alone":            {func(k string) []Header { return []Header{h("x-api-key", k[:20])} }, "", ReasonMalformed},
		"two lines, one foreign": {func(k string) []Header {
			return []Header{h("authorization", foreignToken), h("authorization", "Bearer "+k)}
		}, "", ReasonAmbiguous},
		"two lines, one foreign, joined": {func(k string) []Header { return []Header{joined("authorization", foreignToken+",Bearer "+k)} }, "", ReasonAmbiguous},
		"two lines, other order, joined": {func(k string) []Header { return []Header{joined("authorization", "Bearer "+k+","+foreignToken)} }, "", ReasonAmbiguous},
		"two lines, other scheme": {func(k string) []Header {
			return []Header{h("authorization", "Digest x"), h("authorization", "Bearer "+k)}
		}, "", ReasonAmbiguous},
		"two lines, other scheme, joined":   {func(k string) []Header { return []Header{joined("authorization", "Digest x, Bearer "+k)} }, "", ReasonAmbiguous},
		"two lines, joined though raw":      {func(k string) []Header { return []Header{h("authorization", foreignToken+",Bearer "+k)} }, "", ReasonAmbiguous},
		"two lines, other order, raw":       {func(k string) []Header { return []Header{h("authorization", "Bearer "+k+","+foreignToken)} }, "", ReasonAmbiguous},
		"two lines, Basic, raw":             {func(k string) []Header { return []Header{h("authorization", foreignToken+","+basicOf(k, ""))} }, "", ReasonAmbiguous},
		"a signature with commas":           {func(k string) []Header { return []Header{h("x-api-key", k), h("authorization", "Bearer a=b, c=d")} }, "", ReasonGranted},
		"two lines with Basic, joined":      {func(k string) []Header { return []Header{joined("authorization", foreignToken+","+basicOf(k, ""))} }, "", ReasonAmbiguous},
		"a cut key in a joined line":        {func(k string) []Header { return []Header{joined("authorization", foreignToken+",Bearer ak_live_x")} }, "", ReasonAmbiguous},
		"a damaged line with a key":         {func(k string) []Header { return []Header{joined("x-api-key", "!"+k)} }, "", ReasonAmbiguous},
		"one parameter twice, once foreign": {func(k string) []Header { return []Header{h("accept", "*/*")} }, "?api_key=KEY&api%5Fkey=x", ReasonAmbiguous},
		"one cookie twice, once foreign":    {func(k string) []Header { return []Header{h("cookie", "key="+k+"; key=x")} }, "", ReasonAmbiguous},
		"one cookie twice, in two lines":    {func(k string) []Header { return []Header{h("cookie", "key="+k), h("cookie", "key=x")} }, "", ReasonAmbiguous},
		"Basic, user":                       {func(k string) []Header { return []Header{h("authorization", basicOf(k, ""))} }, "", ReasonGranted},
		"Basic, password":                   {func(k string) []Header { return []Header{h("authorization", basicOf("x", k))} }, "", ReasonGranted},
		"Basic, user and some password":     {func(k string) []Header { return []Header{h("authorization", basicOf(k, "x-oauth-basic"))} }, "", ReasonGranted},
		"Basic without padding, lower case": {func(k string) []Header {
			return []Header{h("authorization", "basic "+strings.TrimRight(basicOf(k, "")[6:], "="))}
		}, "", ReasonGranted},
		"Basic, sanitised": {func(k string) []Header { return []Header{joined("authorization", basicOf(k, ""))} }, "", ReasonGranted},
		"Basic, no colon": {func(k string) []Header {
			return []Header{h("authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(k)))}
		}, "", ReasonGranted},
		"Basic, both":                {func(k string) []Header { return []Header{h("authorization", basicOf(k, k))} }, "", ReasonAmbiguous},
		"Basic, a key and a cut one": {func(k string) []Header { return []Header{h("authorization", basicOf(k, k[:12]))} }, "", ReasonAmbiguous},
		"Basic and a header":         {func(k string) []Header { return []Header{h("authorization", basicOf(k, "")), h("x-api-key", k)} }, "", ReasonAmbiguous},
		"Basic, none ours":           {func(string) []Header { return []Header{h("authorization", basicOf("joe", "secret"))} }, "", ReasonMalformed},
		"Basic, mistyped":            {func(k string) []Header { return []Header{h("authorization", basicOf(k[:30], ""))} }, "", ReasonMalformed},
		"Basic, no base64":           {func(string) []Header { return []Header{h("authorization", "Basic %%%")} }, "", ReasonMalformed},
		"Basic, empty":               {func(string) []Header { return []Header{h("authorization", "Basic")} }, "", ReasonMalformed},
		"Basic, too long": {func(k string) []Header {
			return []Header{h("authorization", basicOf(k, strings.Repeat("x", maxBasic)))}
		}, "", ReasonMalformed},
		"another scheme":            {func(k string) []Header { return []Header{h("authorization", "ApiKey "+k)} }, "", ReasonGranted},
		"another scheme, no source": {func(k string) []Header { return []Header{h("authorization", "Token "+k)} }, "", ReasonMissing},
		"a second Basic does not overwrite": {func(k string) []Header {
			return []Header{h("authorization", basicOf(k, "")), h("x-other", basicOf("a", "b"))}
		}, "", ReasonGranted},
	} {
		t.Run(name, func(t *testing.T) {
			a, key := authorizer(t, func(c *Config, r *Record, k *keys) {
				allSources(c, r, k)
				c.Sources = append(c.Sources, CredentialSource{SourceHeader, "x-other", "Basic"})
			})
			r := get("/orders"+strings.ReplaceAll(c.query, "KEY", key), c.headers(key)...)
			d, err := a.Check(t.Context(), r)
			if err != nil || d.Reason != c.want {
				t.Errorf("got %v, %v, want %v", d.Reason, err, c.want)
			}
		})
	}
}

// TestCredentials_ShadowModeLetsForeignTokensThrough: but not a value in a source where
// only one of our keys belongs.
func TestCredentials_ShadowModeLetsForeignTokensThrough(t *testing.T) {
	a, key := authorizer(t, func(c *Config, r *Record, k *keys) {
		allSources(c, r, k)
		c.ShadowUntil = testNow.Add(time.Hour)
	})
	for value, want := range map[string]bool{foreignToken: true, basicOf("joe", "x"): true, "Bearer " + key[:20]: false} {
		if d, err := a.Check(t.Context(), get("/orders", Header{Name: "authorization", Value: value})); err != nil || d.Allowed != want {
			t.Errorf("%.12s…: got %+v, %v", value, d, err)
		}
	}
	if d, err := a.Check(t.Context(), get("/orders", Header{Name: "x-api-key", Value: "nonsense"})); err != nil || d.Allowed {
		t.Errorf("got %+v, %v", d, err)
	}
}

// TestExposure_NoWholeKeyIsOverlooked: on routes of each kind, every place that holds a
// whole key is named, and no other place is.
func TestExposure_NoWholeKeyIsOverlooked(t *testing.T) {
	a, key := authorizer(t, func(c *Config, r *Record, k *keys) {
		allSources(c, r, k)
		c.Routes = table(t, RouteConfig{Match: "/login", Anonymous: true})
		c.AllowPreflights = true
	})
	encoded := "%61k%5F" + key[3:]
	twice := strings.ReplaceAll(encoded, "%", "%25")
	for name, c := range map[string]struct {
		header Header
		query  string
		want   string // the place that is named; "": none
	}{
		"another scheme":               {Header{Name: "authorization", Value: "Token " + key}, "", "header authorization"},
		"a tab":                        {Header{Name: "authorization", Value: "Bearer\t" + key}, "", "header authorization"},
		"the raw key":                  {Header{Name: "authorization", Value: key}, "", "header authorization"},
		"a scheme without space":       {Header{Name: "authorization", Value: "Bearer:" + key}, "", "header authorization"},
		"Basic by a tab":               {Header{Name: "authorization", Value: strings.Replace(basicOf("joe", key), " ", "\t", 1)}, "", "header authorization"},
		"Basic with a long password":   {Header{Name: "authorization", Value: basicOf(key, strings.Repeat("x", 5000))}, "", "header authorization"},
		"Basic behind a long user":     {Header{Name: "authorization", Value: basicOf(strings.Repeat("x", 5000), key)}, "", "header authorization"},
		"Basic in proxy-authorization": {Header{Name: "proxy-authorization", Value: basicOf(key, "")}, "", "header proxy-authorization"},
		"Basic in its other alphabet":  {Header{Name: "authorization", Value: "Basic " + base64.URLEncoding.EncodeToString([]byte("~~~~~~~:"+key))}, "", "header authorization"},
		"Basic, joined":                {Header{Name: "proxy-authorization", Value: "Digest x, " + basicOf("", key), Sanitised: true}, "", "header proxy-authorization"},
		"Basic with junk in it":        {Header{Name: "proxy-authorization", Value: "Basic " + strings.Replace(basicOf("joe", key)[6:], "a", ",a", 1)}, "", "header proxy-authorization"},
		"a referer":                    {Header{Name: "referer", Value: "https://a.example/?k=" + key + "&b"}, "", "header referer"},
		"an encoded referer":           {Header{Name: "referer", Value: "https://a.example/?next=" + twice}, "", "header referer"},
		"a header of their own":        {Header{Name: "x-debug", Value: `{"key":"` + key + `"}`}, "", "header x-debug"},
		"letters around it":            {Header{Name: "x-debug", Value: "ak_live_ak_" + key + "xyz"}, "", "header x-debug"},
		"another cookie":               {Header{Name: "cookie", Value: "a=1; b=" + encoded}, "", "cookie"},
		"a cookie's name":              {Header{Name: "cookie", Value: key + "=1"}, "", "cookie"},
		"cookie2":                      {Header{Name: "cookie2", Value: "$Version=" + key}, "", "header cookie2"},
		"a parameter":                  {Header{}, "?a=1&token=" + key, "query"},
		"an encoded parameter":         {Header{}, "?a=" + encoded, "query"},
		"a parameter encoded twice":    {Header{}, "?a=" + twice, "query"},
		"a parameter's name":           {Header{}, "?" + encoded, "query"},
		"a cut key":                    {Header{Name: "x-debug", Value: key[:len(key)-1]}, "?a=" + key[1:], ""},
		"a mistyped key":               {Header{Name: "x-debug", Value: key[:20] + "_" + key[21:]}, "", ""},
		"nothing":                      {Header{Name: "authorization", Value: foreignToken}, "?a=%61k%5flive", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for kind, r := range map[string]*Request{"anonymous": get("/login"+c.query, c.header), "preflight": get("/orders"+c.query, c.header, Header{Name: "origin", Value: "x"}, Header{Name: preflightHeader, Value: "PUT"}),
				"keyed": get("/orders"+c.query, c.header, Header{Name: "x-api-key", Value: key})} {
				if kind == "preflight" {
					r.Method = "OPTIONS"
				}
				d, err := a.Check(t.Context(), r)
				if err != nil || !d.Allowed {
					t.Fatalf("%s: %v, %v", kind, d.Reason, err)
				}
				var found []string
				for _, f := range d.Credentials {
					if s := f.Source.String(); s != "header x-api-key" {
						found = append(found, s)
					}
				}
				if want := []string{c.want}; c.want == "" && found != nil || c.want != "" && !slices.Equal(found, want) {
					t.Errorf("%s: found in %q, want %q", kind, found, c.want)
				}
			}
		})
	}
}

// TestExposure_WhatCannotBeRemovedIsRefused: a request with a key that can't be removed
// is refused, unless keys are forwarded.
func TestExposure_WhatCannotBeRemovedIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		request func(r *Request, k string)
		refused bool
	}{
		"path":                        {func(r *Request, k string) { r.Path = "/orders/" + k }, true},
		"a host":                      {func(r *Request, k string) { r.Host = k + ".example.com" }, true},
		"query, a path that is fixed": {func(r *Request, k string) { r.Path, r.PathFixed = "/orders?a="+k, true }, true},
		"query":                       {func(r *Request, k string) { r.Path = "/orders?a=" + k }, false},
		"header, fixed": {func(r *Request, k string) {
			r.HeadersFixed, r.Headers = true, append(r.Headers, Header{Name: "referer", Value: k})
		}, true},
		"header, fixed and stripped": {func(r *Request, k string) {
			r.HeadersFixed, r.Stripped, r.Headers = true, []string{"referer"}, append(r.Headers, Header{Name: "referer", Value: k})
		}, false},
		"a source's header, fixed": {func(r *Request, k string) {
			r.HeadersFixed, r.Headers = true, append(r.Headers, Header{Name: "authorization", Value: "Token " + k})
		}, false},
		"cookie, fixed": {func(r *Request, k string) {
			r.HeadersFixed, r.Headers = true, append(r.Headers, Header{Name: "cookie", Value: "a=" + k})
		}, true},
		"header":                      {func(r *Request, k string) { r.Headers = append(r.Headers, Header{Name: "referer", Value: k}) }, false},
		"nothing, everything fixed":   {func(r *Request, _ string) { r.HeadersFixed, r.PathFixed = true, true }, false},
		"a source's parameter, fixed": {func(r *Request, k string) { r.PathFixed, r.Headers, r.Path = true, nil, "/orders?api%5fkey="+k }, false},
		"a source's cookie, fixed": {func(r *Request, k string) {
			r.HeadersFixed, r.Headers = true, []Header{{Name: "cookie", Value: "b=1; key=" + k}}
		}, false},
		"a source's and another's, both": {func(r *Request, k string) { r.PathFixed, r.Headers, r.Path = true, nil, "/orders?api_key="+k+"&a="+k }, true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, forward := range []bool{false, true} {
				a, key := authorizer(t, func(c *Config, r *Record, k *keys) {
					allSources(c, r, k)
					r.Scopes = scopes(t, "*:*")
					c.ForwardCredential = forward
				})
				r := get("/orders", Header{Name: "x-api-key", Value: key})
				c.request(r, key)
				d, err := a.Check(t.Context(), r)
				want := ReasonGranted
				if c.refused && !forward {
					want = ReasonForwarding
				}
				if err != nil || d.Reason != want || (d.Exposed.Kind != 0) != (want == ReasonForwarding) {
					t.Errorf("forward %v: got %v at %v, %v", forward, d.Reason, d.Exposed, err)
				}
				_, steps, err := a.Explain(t.Context(), r)
				if text := fmt.Sprint(steps); err != nil || name != "path" && strings.Contains(text, key) { // the path itself may appear, since the explanation is about it
					t.Errorf("explained with the key: %v", err)
				}
			}
		})
	}
}

package authz

import (
	"net/url"
	"strings"
	"testing"
)

func TestPathPolicy_NamesTheFault(t *testing.T) {
	policy := PathPolicy{MaxPath: 64, MaxQuery: 32}
	for target, want := range map[string]PathFault{
		"":                                PathMissing,
		"*":                               PathMissing,
		"http://x/orders":                 PathMissing,
		"/" + strings.Repeat("a", 64):     PathTooLong,
		"/?q=" + strings.Repeat("a", 31):  QueryTooLong,
		"/" + strings.Repeat("a", 63):     PathPlain,
		"/a?" + strings.Repeat("a", 32):   PathPlain,
		"/a?b c":                          QueryCharacter,
		"/a?b#c":                          QueryCharacter,
		"/a b":                            PathCharacter,
		"/caf\xc3\xa9":                    PathCharacter,
		`/a\b`:                            PathBackslash,
		"/a/../b":                         PathDotSegment,
		"/a/..;x/b":                       PathDotSegment,
		"/a/%2e%2e/b":                     PathDotSegment,
		"/a%2F..%2Fb":                     PathDotSegment,
		"/a%252F%252E%252E%252Fb":         PathDotSegment,
		"/..%3Fx":                         PathDotSegment,
		"/a//b":                           PathEmptySegment,
		"/a;x=1/b":                        PathParameter,
		"/a%3Bx/b":                        PathEncodedDelimiter,
		"/a%2Fb":                          PathEncodedDelimiter,
		"/a%5cb":                          PathEncodedDelimiter,
		"/a%25b":                          PathEncodedDelimiter,
		"/a%3Fb":                          PathEncodedDelimiter,
		"/a%23b":                          PathEncodedDelimiter,
		"/%61dmin":                        PathNeedlessEncoding,
		"/a%2Db%7E":                       PathNeedlessEncoding,
		"/a%00":                           PathEncodedControl,
		"/a%0d%0a":                        PathEncodedControl,
		"/a%":                             PathBadEncoding,
		"/a%zz":                           PathBadEncoding,
		"/a%ff":                           PathBadEncoding,
		"/a%252525252525252F":             PathBadEncoding,
		"/a%2Fb%zz":                       PathBadEncoding,
		"/a%2Fb%00":                       PathEncodedControl,
		"/a%2Fb//c":                       PathEncodedDelimiter,
		"/2026-01-01T00:00:00Z@[0]%2B%20": PathPlain,
	} {
		if _, got := policy.Judge(nil, "GET", "", target, false); got != want {
			t.Errorf("%q: got %q, want %q", target, got, want)
		}
	}
	for _, fault := range PathFaults() {
		if fault.String() == "" || len(fault.Detail()) < 40 {
			t.Errorf("fault %d has no name or no text", fault)
		}
		if fault.data() && !strings.Contains(fault.Detail(), "encoded: allow") {
			t.Errorf("%s: the text does not name the setting", fault)
		}
	}
}

// encodedRules are rules of which some accept encoded characters as data.
func encodedRules(t testing.TB) *RouteTable {
	return table(t,
		RouteConfig{Match: "GET /projects/{id}", Resource: "projects", Encoded: true},
		RouteConfig{Match: "GET /projects/special", Resource: "special"},
		RouteConfig{Match: "GET /projects/{id}/issues", Resource: "issues", Encoded: true},
		RouteConfig{Match: "/files/", Anonymous: true, Encoded: true},
		RouteConfig{Match: "/orders/{id}", Resource: "orders"},
		RouteConfig{Match: "POST /orders/{id}", Resource: "orders", Encoded: true},
		RouteConfig{Match: "POST /orders/{id}:cancel", Resource: "cancels", Encoded: true},
		RouteConfig{Match: "GET /packages/{name}.json", Resource: "packages", Encoded: true},
		RouteConfig{Match: "/admin/", Resource: "admin"},
	)
}

func TestPathPolicy_EncodedIsDataWhereARuleSaysSo(t *testing.T) {
	rules := encodedRules(t)
	for _, c := range []struct{ method, target, want string }{
		{"GET", "/projects/group%2Fproject", "GET /projects/{id}"},
		{"GET", "/projects/a%252Fb%3Bc%23d%3Fe%7E%2D;v=1", "GET /projects/{id}"},
		{"GET", "/projects/group%2fproject/issues?x=%2F", "GET /projects/{id}/issues"},
		{"GET", "/projects/@scope%2Fpkg", "GET /projects/{id}"},
		{"GET", "/projects/https%3A%2F%2Fexample.com", "GET /projects/{id}"},
		{"GET", "/projects/lib%2Fclass%2Erb", "GET /projects/{id}"},
		{"GET", "/files/a/b%2Fc;x/d%25", "/files/"},
		{"GET", "/files/plain", "/files/"},
		{"POST", "/orders/a%2Fb:cancel", "POST /orders/{id}:cancel"},
		{"GET", "/packages/@scope%2Fpkg.json", "GET /packages/{name}.json"},

		{"POST", "/projects/group%2Fproject", "encoded_delimiter"}, // no rule for the method
		{"GET", "/projects/special;x=1", "other_rule"},             // many servers serve /projects/special
		{"GET", "/projects/special%3Bx=1", "other_rule"},
		{"GET", "/projects/spe%63ial", "other_rule"}, // servers may decode each segment before they compare
		{"GET", "/projects/spe%2563ial", "other_rule"},
		{"GET", "/projects/spe%63ially", "GET /projects/{id}"},
		{"GET", "/projects/a%2Fspecial", "GET /projects/{id}"},
		{"POST", "/orders/1%25%3Acancel", "other_rule"},
		{"POST", "/orders/1%2F2%3Acancel", "other_rule"},
		{"POST", "/orders/%31%3Acancel", "other_rule"},
		{"POST", "/orders/x%3B:cancel;v", "other_rule"},
		{"GET", "/packages/a%2Fb%2Ejson", "encoded_delimiter"},
		{"GET", "/files/s3//key//", "/files/"},
		{"GET", "/files//a", "/files/"},
		{"GET", "/projects//issues", "other_rule"},
		{"GET", "//files/a", "empty_segment"},
		{"GET", "/files//../admin/x", "dot_segment"},
		{"GET", "/projects%2Fx", "encoded_delimiter"},
		{"GET", "/projects;x/1", "parameter"},
		{"GET", "/%70rojects/1", "needless_encoding"},
		{"GET", "/projects/;x", "other_rule"},
		{"GET", "/orders/a%2Fb", "encoded_delimiter"},
		{"POST", "/orders/42;x=:cancel", "other_rule"}, // without parameters another rule matches
		{"POST", "/orders/42%3Bx=:cancel", "other_rule"},
		{"POST", "/orders/42%3Acancel", "encoded_end"},
		{"GET", "/admin/a%2Fb", "encoded_delimiter"},
		{"GET", "/files/..%2F..%2Fadmin/x", "dot_segment"},
		{"GET", "/files/%2e%2e/admin/x", "dot_segment"},
		{"GET", "/files/..;/admin/x", "dot_segment"},
		{"GET", "/files/a%5C..%5Cadmin", "dot_segment"},
		{"GET", "/files/%252e%252e%252fadmin", "dot_segment"},
		{"GET", "/files/..%23", "dot_segment"},
		{"GET", "/files/a//b%2Fc", "/files/"},
		{"GET", "/orders/a//b", "empty_segment"},
		{"GET", "/files/a%2Fb/../../admin", "dot_segment"},
		{"GET", `/files/a%2F\..\admin`, "backslash"},
	} {
		var policy PathPolicy
		got := ""
		switch judged, fault := policy.Judge(rules, c.method, "", c.target, false); {
		case fault != PathPlain:
			got = fault.String()
		default:
			raw, _, _ := strings.Cut(c.target, "?")
			if judged.Match != judged.Path && judged.Path != raw || judged.Target != "" {
				t.Errorf("%s is judged as %q and passed on as %q", c.target, judged.Path, judged.Target)
			}
			got = rules.find(c.method, "", judged.Match).Pattern
		}
		if got != c.want {
			t.Errorf("%s %s: got %q, want %q", c.method, c.target, got, c.want)
		}
	}
}

// TestPathPolicy_EncodedNeverPassesARule: where no rule matches and encoded characters
// are data, no way to decode the path may lead to a path that has a rule.
func TestPathPolicy_EncodedNeverPassesARule(t *testing.T) {
	rules, policy := table(t, RouteConfig{Match: "/admin/", Resource: "admin"}, RouteConfig{Match: "/pay", Resource: "pay"},
		RouteConfig{Match: "/reports/{x}", Resource: "reports"}, RouteConfig{Match: "/search/{q}/export", Resource: "export"}), PathPolicy{Encoded: true}
	for target, allowed := range map[string]bool{
		"/a%2Fb": true, "/a;x=1/b%25c": true, "/v1/%7Euser": true, "/x/admin%2Fy": true,
		"/admin%2Fusers": false, "/admin;x/users": false, "/admin%3Bx/users": false, "/%61dmin/users": false,
		"/admin%252Fusers": false, "/%2561dmin%2Fusers": false, "/admin%5Cusers": false, "/%2Fadmin/users": false, "/;x/admin/users": false,
		"/pay%3Fx": false, "/pay%23x": false, "/pay;x": false, "/pay%2F": false, "/%70ay": false, "/%2Fpay": false,
		"/x%2F..%2Fadmin%2F": false, "/x/..;/admin/": false, "//admin/x": false, "/a//b": true,
		`/reports%2Fa%5Cb`: false, "/reports%2F%3Fb": false, "/reports%2F%23b": false, "/reports%2Fa": false, "/reports%2Fa%2Fb": true,
		"/search%2Fa%3Fb%2Fexport": false, "/search%2Fa%23b%2Fexport": false, "/search%2Fa%5Cb%2Fexport": false, "/search/;b/export;x": false,
	} {
		if _, fault := policy.Judge(rules, "GET", "", target, false); (fault == PathPlain) != allowed {
			t.Errorf("%s: got %q, want allowed %v", target, fault, allowed)
		}
	}
}

func TestAuthorizer_EncodedPathsNeedADefaultThatTakesNoResourceFromThem(t *testing.T) {
	a, key := authorizer(t, func(c *Config, _ *Record, _ *keys) {
		c.Paths.Encoded, c.DefaultRoute = true, DefaultRouteAuthenticated
	})
	d, err := a.Check(t.Context(), get("/objects/a%2Fb;c", Header{Name: "x-api-key", Value: key}))
	if err != nil || !d.Allowed || d.Path != "/objects/a%2Fb;c" || d.Target != "" {
		t.Errorf("got %+v, %v", d, err)
	}
	if d, _ := a.Check(t.Context(), get("/objects/a%2Fb")); d.Allowed || d.Reason != ReasonMissing {
		t.Errorf("without a key: %v", d.Reason)
	}
	c := a.Config
	c.DefaultRoute = DefaultRouteMap
	if _, err := New(c); err == nil {
		t.Error("default route map was taken beside encoded paths")
	}
}

func TestPathPolicy_RepairChangesOnlyWhatNeedsIt(t *testing.T) {
	policy := PathPolicy{Repair: true}
	for target, want := range map[string]string{
		"/a%2Bb": "", "/%40x": "", "/list[0]": "", "/a%20b": "", "/caf%C3%A9": "", "/a%2Bb?x=//": "",
		"/x//a%2Bb%40[0]?y=%7E": "/x/a%2Bb%40[0]?y=%7E",
		"/x/../a%2bb":           "/a%2bb",
		"/%7Ea%2Bb":             "/~a%2Bb",
		`/x\%5B0%5D`:            "/x/%5B0%5D",
		"/a//b%2Fc":             "!",
		"/%2%35//x":             "!",
		"/a%2%36":               "!",
	} {
		judged, fault := policy.Judge(nil, "GET", "", target, false)
		if fault != PathPlain {
			judged.Target = "!"
		}
		if judged.Target != want {
			t.Errorf("%s: the upstream gets %q, want %q", target, judged.Target, want)
		}
	}
	rules := encodedRules(t)
	judged, fault := policy.Judge(rules, "GET", "", "/files/%7Ea;b", false)
	if fault != PathPlain || judged.Target != "" {
		t.Errorf("data was repaired: %q, %q", judged.Target, fault)
	}
	judged, fault = policy.Judge(rules, "GET", "", "/x/../files//%7Ea%2Fb", false)
	if fault != PathPlain || judged.Target != "/files/~a%2Fb" || judged.Path != "/files/~a%2Fb" {
		t.Errorf("got %+v, %q", judged, fault)
	}
}

// FuzzPathPolicy_NoReadingOfAnEncodedPathLeavesItsRule tests each path that is accepted
// as data against every way to decode it, with another decoder than ours.
func FuzzPathPolicy_NoReadingOfAnEncodedPathLeavesItsRule(f *testing.F) {
	rules := table(f, RouteConfig{Match: "/files/", Anonymous: true, Encoded: true}, RouteConfig{Match: "/admin/", Resource: "admin"},
		RouteConfig{Match: "/files/a", Resource: "a"}, RouteConfig{Match: "/files/{x}.b", Resource: "b"}, RouteConfig{Match: "/files/{x}/a/{y}", Resource: "c", Encoded: true})
	for _, seed := range []string{"/files/a%2Fb", "/files/..%2Fx", "/files/%252e%252e;/x", `/files/a%5c..`, "/files/%2e;x%2F"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		var policy PathPolicy
		judged, fault := policy.Judge(rules, "GET", "", target, false)
		if fault != PathPlain {
			return
		}
		raw, _, _ := strings.Cut(target, "?")
		if judged.Match == judged.Path {
			return
		}
		if judged.Path != raw {
			t.Fatalf("%q was judged as %q", raw, judged.Path)
		}
		// This is a server that divides the path and then decodes each segment.
		segments := strings.Split(raw, "/")
		for i, s := range segments {
			s, _, _ = strings.Cut(s, ";")
			decoded, err := url.PathUnescape(s)
			if err != nil {
				t.Fatalf("%q: %v", raw, err)
			}
			segments[i] = strings.ReplaceAll(decoded, "/", "\x01")
		}
		if path := strings.Join(segments, "/"); rules.find("GET", "", path) != rules.find("GET", "", judged.Match) {
			t.Fatalf("%q is judged by %v, and read as %q by another rule", raw, rules.find("GET", "", judged.Match).Pattern, path)
		}
		for text := raw; ; {
			for _, reading := range []string{text, strings.ReplaceAll(text, `\`, "/")} {
				for segment := range strings.SplitSeq(reading, "/") {
					name := segment
					if i := strings.IndexAny(name, ";?#"); i >= 0 {
						name = name[:i]
					}
					if name == "." || name == ".." {
						t.Fatalf("%q may be read as %q", raw, reading)
					}
				}
			}
			next, err := url.PathUnescape(text)
			if err != nil || next == text {
				return
			}
			text = next
		}
	})
}

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"extauthz/e2e/parts"
	"extauthz/envoy"
)

// forgedValue is in every value that a client makes up: no backend may show it.
const forgedValue = "/forged"

// variants is the number of requests with forged names that a client sends.
const variants = 200

// forgery holds the header lines of a request, and its trailer lines after the body.
type forgery struct{ headers, trailers []string }

func (f forgery) String() string { return fmt.Sprintf("%q, trailers %q", f.headers, f.trailers) }

// forgeries returns spellings of names that no client may send on, the same ones in each
// run: in any case, with any separators, in pairs, in trailers, named in Connection.
func forgeries() (all []forgery) {
	r := rand.New(rand.NewPCG(12, 2026))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	names := append([]string{"x-auth-admin", "x-auth-meta-tier"}, envoy.OverrideHeaders()...)
	identity := []string{"x-auth-user-id", "x-auth-scopes", "x-auth-key-id", "x-auth-key-name", "x-auth-key-prefix", "x-auth-environment"}
	spell := func(name string) string {
		separators := pick("-", "-", "_", ".", "-_", "-.", "_.", "-_.!#$%&'*+^`|~")
		var b strings.Builder
		for _, c := range name {
			switch {
			case c == '-':
				b.WriteByte(separators[r.IntN(len(separators))])
				if r.IntN(40) == 0 {
					b.WriteByte(separators[0])
				}
			case r.IntN(3) == 0:
				b.WriteRune(unicode.ToUpper(c))
			default:
				b.WriteRune(c)
			}
		}
		return b.String()
	}
	for len(all) < variants {
		name := pick(append(names, identity...)...)
		if r.IntN(2) == 0 {
			name = pick(identity...)
		}
		line := spell(name) + pick(": ", ":", ":  ") + forgedValue
		var f forgery
		switch r.IntN(10) {
		case 0: // both spellings at once
			f.headers = []string{line, name + ": " + forgedValue}
		case 1:
			f.trailers = []string{line}
		case 2:
			f.headers, f.trailers = []string{"trailer: " + spell(name)}, []string{name + ": " + forgedValue}
		case 3, 4: // a proxy drops what Connection names
			f.headers = []string{"connection: " + pick("close, ", "keep-alive,", "", "upgrade, ", "TE, ") + strings.Join([]string{pick(identity...), spell(name), pick(identity...)}, pick(", ", ",", " , ")), line}
		case 5:
			f.headers = []string{"connection: " + pick(identity...), "Connection: " + spell(pick(identity...)) + ", close"}
		case 6: // what is no header line at all
			f.headers = []string{pick(name+" : ", " "+name+": ", name+"\t: ", name+"\x00: ", "\u017fcript-name: ", "x\xa0auth\xa0user-id: ") + forgedValue}
		default:
			f.headers = []string{line}
		}
		all = append(all, f)
	}
	return all
}

// front is a gateway with our configuration, before a backend.
type front struct {
	name  string
	start func(t *testing.T, s *parts.Service, upstream string) (gateway string)
}

// exampleFor is a configuration of ours, unchanged except for addresses.
func exampleFor(t *testing.T, name string, s *parts.Service, upstream string, port int) string {
	t.Helper()
	text, err := os.ReadFile("../envoy/examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("8080", strconv.Itoa(port), "8081", portOf(t, upstream), "9002", portOf(t, s.HTTP), "9090", portOf(t, s.Ops)).Replace(string(text))
}

func exampleFront(name, file string, start func(t *testing.T, configuration string, port int)) front {
	return front{name, func(t *testing.T, s *parts.Service, upstream string) string {
		port := freePort(t)
		start(t, exampleFor(t, file, s, upstream, port), port)
		return fmt.Sprintf("127.0.0.1:%d", port)
	}}
}

// fronts are all gateways that the examples are for. The bare Envoys strip nothing by
// themselves: there the service alone removes.
func fronts() (all []front) {
	for _, version := range parts.Versions() {
		all = append(all, front{"envoy-" + version, func(t *testing.T, s *parts.Service, upstream string) string {
			return startPrinted(t, version, s, upstream)
		}}, front{"envoy-" + version + "-bare", func(t *testing.T, s *parts.Service, upstream string) string {
			return startPrinted(t, version, s, upstream, "regex: '^", "regex: '^never-", "headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW")
		}})
	}
	newest := parts.Versions()[len(parts.Versions())-1]
	all = append(all, exampleFront("envoy-http", "envoy-http.yaml", func(t *testing.T, configuration string, _ int) {
		admin := freePort(t)
		parts.StartEnvoy(t, newest, strings.ReplaceAll(configuration, "9901", strconv.Itoa(admin)), admin)
	}))
	all = append(all,
		exampleFront("nginx", "nginx.conf", func(t *testing.T, configuration string, port int) { parts.StartNginx(t, configuration, port) }),
		exampleFront("caddy", "Caddyfile", func(t *testing.T, configuration string, port int) { parts.StartCaddy(t, configuration, port) }))
	return append(all, moreFronts()...)
}

// startPrinted runs an Envoy with what `envoy bootstrap` prints, edited in pairs.
func startPrinted(t *testing.T, version string, s *parts.Service, upstream string, edits ...string) string {
	t.Helper()
	listen, admin := freePort(t), freePort(t)
	gateway := fmt.Sprintf("127.0.0.1:%d", listen)
	text := s.Must("envoy", "bootstrap", "--upstream", upstream, "--listen", gateway, "--admin", fmt.Sprintf("127.0.0.1:%d", admin))
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(text, edits[i]) {
			t.Fatalf("the bootstrap does not hold %q", edits[i])
		}
		text = strings.ReplaceAll(text, edits[i], edits[i+1])
	}
	parts.StartEnvoy(t, version, text, admin)
	return gateway
}

// deliver sends a request unchanged and returns the answer.
func deliver(t *testing.T, address, target string, f forgery, more ...string) (status int, body string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	lines := append([]string{"POST " + target + " HTTP/1.1", "host: api.example.com"}, more...)
	lines = append(lines, f.headers...)
	if len(f.trailers) > 0 {
		lines = append(lines, "te: trailers", "transfer-encoding: chunked", "", "3", "a=b", "0")
		lines = append(lines, f.trailers...)
	} else {
		lines = append(lines, "content-length: 0")
	}
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: "POST"})
	if err != nil {
		t.Fatalf("%v: %v", f, err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%v: %v", f, err)
	}
	return res.StatusCode, string(text)
}

// variables are what a backend takes a request for; nil where none answered.
func variables(body string) map[string]string {
	if !strings.Contains(body, "REQUEST_METHOD=") {
		return nil
	}
	all := map[string]string{}
	for line := range strings.SplitSeq(body, "\n") {
		name, value, _ := strings.Cut(line, "=")
		all[name] = value
	}
	return all
}

// claimed reports whether a variable is one by which applications learn the caller, or what
// it requests. X--Auth-User-Id is HTTP_X__AUTH_USER_ID, which is none.
func claimed(variable string) bool {
	header, sent := strings.CutPrefix(envoy.FoldName(variable), "http-")
	return !sent || strings.HasPrefix(header, "x-auth-") || slices.Contains(envoy.OverrideHeaders(), header)
}

// TestBackends_NeverTakeForgedNamesForOurs: programs that fold names, each behind each
// gateway, on a route that needs a key and on one that does not.
func TestBackends_NeverTakeForgedNamesForOurs(t *testing.T) {
	if testing.Short() {
		t.Skip("needs gateways and backends")
	}
	dir, err := filepath.Abs("testdata/backends")
	if err != nil {
		t.Fatal(err)
	}
	backends := parts.Backends(dir)
	for _, b := range backends {
		b.Start(t)
		// What this is about: without a gateway the backend does take it for ours.
		_, body := deliver(t, b.Address, "/healthz", forgery{headers: []string{b.Folds + ": " + forgedValue}}, "connection: close")
		if got := variables(body)["HTTP_X_AUTH_USER_ID"]; got != forgedValue {
			t.Fatalf("%s takes %s for %q: %s", b.Name, b.Folds, got, body)
		}
	}
	s := parts.StartService(t, proxiesPolicy)
	k := s.NewKey("--scope", "orders:create")
	want := map[string]string{"HTTP_X_AUTH_USER_ID": "alice", "HTTP_X_AUTH_KEY_ID": k.ID, "HTTP_X_AUTH_KEY_PREFIX": k.Prefix, "HTTP_X_AUTH_KEY_NAME": "laptop",
		"HTTP_X_AUTH_SCOPES": "orders:create", "HTTP_X_AUTH_ENVIRONMENT": "live"}
	for i, f := range fronts() {
		for j, b := range backends {
			t.Run(f.name+"/"+b.Name, func(t *testing.T) {
				gateway := f.start(t, s.On(t), b.Address)
				reached := 0
				tried := append(share(forgeries(), i+j, len(backends)), forgery{headers: []string{b.Folds + ": " + forgedValue}}, forgery{headers: []string{"x-http-method-override: " + forgedValue}})
				for _, forged := range tried {
					for target, headers := range map[string][]string{"/healthz": nil, "/orders": {"x-api-key: " + k.Key}} {
						status, body := deliver(t, gateway, target, forged, headers...)
						got := variables(body)
						if status >= 500 || got == nil && status < 400 {
							t.Errorf("%s with %v: got %d %s", target, forged, status, body)
						}
						for name, value := range got {
							if strings.Contains(value, forgedValue) && claimed(name) {
								t.Errorf("%s with %v: the backend has %s=%s", target, forged, name, value)
							}
						}
						if got == nil {
							continue
						}
						reached++
						for name, value := range want {
							if target == "/healthz" {
								value = ""
							}
							if got[name] != value {
								t.Errorf("%s with %v: the backend takes %s for %q, want %q", target, forged, name, got[name], value)
							}
						}
						if got["REQUEST_METHOD"] != "POST" {
							t.Errorf("%s with %v: the backend takes it for %s", target, forged, got["REQUEST_METHOD"])
						}
					}
				}
				if reached < len(tried)/2 {
					t.Errorf("only %d of %d requests reached the backend", reached, 2*len(tried))
				}
			})
		}
	}
}

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"extauthz/authz"
	"extauthz/e2e/parts"
	"extauthz/envoy"
)

// judge is our own service with an authorizer that allows every request whose path it can
// judge, and remembers the judged path.
type judge struct {
	authorizer *authz.Authorizer
	judged     atomic.Pointer[string]
}

func (j *judge) Check(ctx context.Context, r *authz.Request) (authz.Decision, error) {
	d, err := j.authorizer.Check(ctx, r)
	if d.Allowed {
		j.judged.Store(&d.Path)
	}
	return d, err
}

func (j *judge) Headers() []string { return j.authorizer.Headers() }

func (j *judge) HeaderHolds(value string) bool { return j.authorizer.HeaderHolds(value) }

// startJudge starts a judge; with data, encoded characters are accepted as data.
func startJudge(t *testing.T, repair, data bool) (j *judge, address string) {
	t.Helper()
	format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	if err != nil {
		t.Fatal(err)
	}
	peppers, err := authz.NewPeppers(nil)
	if err != nil {
		t.Fatal(err)
	}
	routes, err := authz.NewRouteTable([]authz.RouteConfig{{Match: "/{all...}", Anonymous: true, Encoded: data}, {Match: "/admin", Anonymous: true}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := authz.New(authz.Config{Format: format, Peppers: peppers, Sources: []authz.CredentialSource{{Kind: authz.SourceHeader, Name: "x-api-key"}},
		Routes: routes, DefaultRoute: authz.DefaultRouteDeny, Paths: authz.PathPolicy{Repair: repair}, Validator: noKeys{}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	j = &judge{authorizer: a}
	s, err := envoy.New(envoy.Config{Checker: j, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	authv3.RegisterAuthorizationServer(g, s)
	healthv1.RegisterHealthServer(g, health.NewServer())
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return j, l.Addr().String()
}

// noKeys is a validator without keys.
type noKeys struct{}

func (noKeys) Lookup(context.Context, string, *authz.Scratch) (authz.Entry, error) {
	return authz.Entry{}, nil
}
func (noKeys) RoleScopes(context.Context, *authz.Record, authz.Need) (authz.Scopes, error) {
	return nil, nil
}

var pathParts = []string{"/", "/", "/", "//", ".", "..", "...", "%2e", "%2E%2e", "%2f", "%2F", "%5c", `\`, ";", ";x=1", "a", "b", "A", "admin", "%41", "%61", "%00", "%01", "%7f",
	"%252e", "%25", "%", "%zz", "%4", "\xc3\xa9", "%c3%a9", "\xff", "!", "%21", "~", "%7e", "*", "{x}", "@", ":", "+", "%20", "=", "&", ",", "'", "?", "?a=/../b", "#", "|", "^", "\"", "<"}

const (
	pathTries = 1200
	pathSeed  = 7
)

// TestPaths_JudgedPathIsTheServedPath sends ambiguous paths unchanged through real
// Envoys, with and without normalisation. It compares the judged path with the bytes that
// the upstream got.
func TestPaths_JudgedPathIsTheServedPath(t *testing.T) {
	onEach(t, func(t *testing.T, version string) {
		for _, setting := range []struct {
			name         string
			repair, data bool
			raw          bool // Envoy passes on every byte of a path
			edits        []string
		}{
			{name: "Envoy normalises"},
			{name: "Envoy leaves paths alone", raw: true},
			{name: "Envoy leaves them alone, we repair", repair: true, raw: true},
			{name: "plain headers", edits: []string{rawHeaders, "encode_raw_headers: false", "normalize_path: true", "normalize_path: false", "merge_slashes: true", "merge_slashes: false"}},
			{name: "encoded data, Envoy normalises", data: true},
			{name: "encoded data, Envoy leaves paths alone", data: true, raw: true},
			{name: "encoded data, we repair", data: true, repair: true, raw: true},
		} {
			t.Run(setting.name, func(t *testing.T) {
				j, address := startJudge(t, setting.repair, setting.data)
				upstream := parts.StartUpstream(t)
				configuration, flags := "", []string{"--upstream", upstream.Address, "--service", address}
				if setting.data {
					configuration = "{default_route: authenticated, paths: {encoded: allow}}"
				}
				if setting.raw {
					flags = append(flags, "--raw-paths")
				}
				listen := startPrintedGateway(t, version, configuration, flags, setting.edits...)
				c, err := net.Dial("tcp", listen)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				answers := bufio.NewReader(c)
				r := rand.New(rand.NewPCG(pathSeed, 0))
				served := 0
				for range pathTries {
					target := "/"
					for range 1 + r.IntN(6) {
						target += pathParts[r.IntN(len(pathParts))]
					}
					j.judged.Store(nil)
					_ = c.SetDeadline(time.Now().Add(10 * time.Second))
					if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nhost: h\r\n\r\n", target); err != nil {
						t.Fatal(err)
					}
					res, err := http.ReadResponse(answers, nil)
					if err != nil {
						t.Fatalf("%q: %v", target, err)
					}
					body := make([]byte, 64<<10)
					n, _ := res.Body.Read(body)
					_, _ = res.Body.Read(body[n:]) // to its end
					_ = res.Body.Close()
					if res.StatusCode == http.StatusOK {
						served++
						line, _, _ := strings.Cut(string(body[:n]), " HTTP/1.1\r\n")
						got := strings.TrimPrefix(line, "GET ")
						samePath(t, target, got, j.judged.Load())
						if setting.raw && got != target && !needsRepair(target) {
							t.Errorf("%q needed no repair and was served as %q", target, got)
						}
					}
					if res.Close { // as after a request that Envoy can't parse
						_ = c.Close()
						if c, err = net.Dial("tcp", listen); err != nil {
							t.Fatal(err)
						}
						answers = bufio.NewReader(c)
					}
				}
				if served < pathTries/50 {
					t.Errorf("only %d of %d paths were served", served, pathTries)
				}
				t.Logf("%d of %d paths were served", served, pathTries)
			})
		}
	})
}

// samePath compares the judged path with the path that the upstream got, using another
// decoder than ours.
func samePath(t *testing.T, sent, got string, judged *string) {
	t.Helper()
	if judged == nil {
		t.Fatalf("%q reached the upstream as %q, and no check judged it", sent, got)
	}
	raw, _, _ := strings.Cut(got, "?")
	if *judged == raw {
		noReadingLeaves(t, sent, raw)
		return
	}
	read, err := url.PathUnescape(raw)
	if err != nil || read != *judged {
		t.Errorf("%q was judged as %q and served as %q (%q, %v)", sent, *judged, got, read, err)
	}
	if clean := path.Clean(*judged); clean != *judged && clean+"/" != *judged {
		t.Errorf("%q was judged as %q, which some read as %q", sent, *judged, clean)
	}
	if again, err := url.PathUnescape(read); err == nil && again != read && strings.ContainsAny(again, "/.\\") && !strings.ContainsAny(read, "/.\\") {
		t.Errorf("%q was judged as %q, which decodes to %q", sent, *judged, again)
	}
}

// needsRepair reports whether Envoy's normalisation would change a path.
func needsRepair(target string) bool {
	raw, _, _ := strings.Cut(target, "?")
	for segment := range strings.SplitSeq(strings.TrimSuffix(raw[1:], "/"), "/") {
		if segment == "." || segment == ".." || segment == "" && raw != "/" {
			return true
		}
	}
	return strings.Contains(raw, `\`) || needlessEncoding.MatchString(raw)
}

var needlessEncoding = regexp.MustCompile(`%(2[dDeE]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aAeE])`)

// noReadingLeaves checks a path that was served unchanged in every way in which servers
// could read it.
func noReadingLeaves(t *testing.T, sent, raw string) {
	t.Helper()
	for text := raw; ; {
		for segment := range strings.SplitSeq(strings.ReplaceAll(text, `\`, "/"), "/") {
			if i := strings.IndexAny(segment, ";?#"); i >= 0 {
				segment = segment[:i]
			}
			if segment == "." || segment == ".." {
				t.Errorf("%q was served as %q, which may be read as %q", sent, raw, text)
			}
		}
		next, err := url.PathUnescape(text)
		if err != nil || next == text {
			return
		}
		text = next
	}
}

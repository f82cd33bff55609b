package e2e

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	parts.RemoveBuild()
	os.Exit(code)
}

// stack is a gateway that calls the service, and an upstream behind it.
type stack struct {
	*parts.Service
	t        testing.TB
	upstream *parts.Upstream
	gateway  string
	admin    string // Envoy's
}

// onEach runs a test with every Envoy.
func onEach(t *testing.T, test func(t *testing.T, version string)) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Envoy")
	}
	for _, version := range parts.Versions() {
		t.Run("envoy-"+version, func(t *testing.T) { test(t, version) })
	}
}

// newStack starts everything. edits are pairs of old and new text in the configuration
// that `envoy bootstrap` prints; each old text must occur in it.
func newStack(t *testing.T, version, configuration string, edits ...string) *stack {
	t.Helper()
	return newPrintedStack(t, version, configuration, nil, edits...)
}

// newPrintedStack is newStack with flags of `envoy bootstrap`.
func newPrintedStack(t *testing.T, version, configuration string, flags []string, edits ...string) *stack {
	t.Helper()
	s := &stack{Service: parts.StartService(t, configuration), t: t, upstream: parts.StartUpstream(t)}
	listen, admin := freePort(t), freePort(t)
	s.gateway, s.admin = fmt.Sprintf("127.0.0.1:%d", listen), fmt.Sprintf("127.0.0.1:%d", admin)
	bootstrap := s.Must(append([]string{"envoy", "bootstrap", "--upstream", s.upstream.Address, "--listen", s.gateway, "--admin", s.admin}, flags...)...)
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(bootstrap, edits[i]) {
			t.Fatalf("the bootstrap does not hold %q", edits[i])
		}
		bootstrap = strings.ReplaceAll(bootstrap, edits[i], edits[i+1])
	}
	parts.StartEnvoy(t, version, bootstrap, admin)
	return s
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := parts.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// answer is the client's answer, and the request that had reached the upstream.
type answer struct {
	status  int
	header  http.Header
	body    string // the upstream's body is the request that reached it
	reached bool
}

// ask sends a request unchanged: a client library would repair it.
func (s *stack) ask(method, target string, headers ...string) answer {
	s.t.Helper()
	return s.send(method, target, "close", headers...)
}

// upgrade is ask for a request that changes to another protocol.
func (s *stack) upgrade(method, target string, headers ...string) answer {
	s.t.Helper()
	return s.send(method, target, "upgrade", headers...)
}

func (s *stack) send(method, target, connection string, headers ...string) answer {
	s.t.Helper()
	return s.sendTo("api.example.com", method, target, connection, headers...)
}

// sendTo is send with another host than api.example.com.
func (s *stack) sendTo(host, method, target, connection string, headers ...string) answer {
	s.t.Helper()
	c, err := net.DialTimeout("tcp", s.gateway, 5*time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	before := s.upstream.Count()
	lines := append([]string{method + " " + target + " HTTP/1.1", "host: " + host, "connection: " + connection}, headers...)
	if _, err := io.WriteString(c, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		s.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body), s.upstream.Count() > before}
}

// denied checks a denial: status, code, and that nothing reached the upstream.
func (s *stack) denied(a answer, status int, code string) {
	s.t.Helper()
	if a.status != status || !strings.Contains(a.body, `"code":"`+code+`"`) || a.reached {
		s.t.Errorf("got %d (upstream reached: %v) %s, want %d %s", a.status, a.reached, a.body, status, code)
	}
}

// allowed checks that the request reached the upstream.
func (s *stack) allowed(a answer) {
	s.t.Helper()
	if a.status != http.StatusOK || !a.reached {
		s.t.Errorf("got %d (upstream reached: %v) %s", a.status, a.reached, a.body)
	}
}

// stat reads one of Envoy's counters.
func (s *stack) stat(name string) string {
	s.t.Helper()
	res, err := http.Get("http://" + s.admin + "/stats?filter=^" + name + "$")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	_, value, _ := strings.Cut(strings.TrimSpace(string(b)), ": ")
	return value
}

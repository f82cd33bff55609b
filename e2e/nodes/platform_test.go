//go:build kube

package nodes

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// taking is how long a platform may take to start, or to pass a change on to its
// proxies, on a busy machine.
const taking = 5 * time.Minute

// platform is a gateway in front of the release that has a control plane of its own.
// Both run as pods, installed by the charts that their users install.
type platform struct {
	*site
	name    string
	address string // of its proxy
	away    int    // status of requests while the service has no replica
	// failOpen sets whether requests pass while no replica answers.
	failOpen func(*testing.T, bool)
}

// reply is an answer of a platform's proxy.
type reply struct {
	status int
	body   string // what reached the upstream, where it was reached
}

// reached reports whether the upstream answered.
func (r reply) reached() bool {
	return strings.Contains(strings.SplitN(r.body, "\r\n", 2)[0], " HTTP/1.")
}

// header returns the values of a header that reached the upstream.
func (r reply) header(name string) (values []string) {
	for line := range strings.SplitSeq(r.body, "\r\n") {
		if n, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

// platformChart is the folder of a chart of a platform.
func platformChart(t *testing.T, name string) string {
	t.Helper()
	folder := parts.KubernetesPart(t, "charts/"+name)
	if _, err := os.Stat(folder); err != nil {
		parts.Missing(t, fmt.Errorf("no chart %s: run scripts/install-parts.sh kube", name))
	}
	return folder
}

// loadPlatform imports the images of a control plane and its proxies.
func (s *site) loadPlatform(t *testing.T, name string) {
	t.Helper()
	folder := filepath.Join(s.images, name)
	if _, err := os.Stat(folder); err != nil {
		parts.Missing(t, fmt.Errorf("no images of %s: run scripts/install-parts.sh kube, and scripts/kube-images.sh", name))
	}
	s.Load(folder)
}

// configured gives the release the configuration of an example, until the test ends.
func (s *site) configured(t *testing.T, example string) {
	t.Helper()
	text, err := os.ReadFile("../../envoy/examples/" + example)
	if err != nil {
		t.Fatal(err)
	}
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte("config:\n  "+strings.ReplaceAll(string(text), "\n", "\n  ")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.must(t, "helm", "upgrade", "extauthz", s.chart, "-n", s.release, "--reset-then-reuse-values", "-f", values)
	t.Cleanup(func() {
		s.must(t, "helm", "rollback", "extauthz", "-n", s.release)
		s.restarted(t)
	})
	s.restarted(t)
}

// restarted replaces the pods, so that all of them have read the newest configuration.
func (s *site) restarted(t *testing.T) {
	t.Helper()
	s.kubectl(t, "rollout", "restart", "deployment/extauthz")
	s.rolledOut(t)
}

// documented runs those lines of a page's first block that begin with a command, with
// the command line of a pod, and returns what they print.
func (s *site) documented(t *testing.T, page, command string) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(parts.Fenced(t, "../../docs/"+page, "")[0]) {
		if strings.HasPrefix(line, command) {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		t.Fatalf("docs/%s has %d lines that begin with %q, want one", page, len(lines), command)
	}
	return s.must(t, "bash", "-c", `set -euo pipefail
extauthz() { kubectl -n extauthz exec deployment/extauthz -- extauthz "$@"; }
`+lines[0])
}

// example applies one of the examples unchanged.
func (s *site) example(t *testing.T, name string) {
	t.Helper()
	text, err := os.ReadFile("../../envoy/examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	s.Apply(string(text))
}

// namespace makes one, which ends with the test.
func (s *site) namespace(t *testing.T, name string) {
	t.Helper()
	s.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n")
	t.Cleanup(func() { _, _ = s.Try("kubectl", "delete", "namespace", name, "--wait=false") })
}

// podOf waits for a pod that a label selects, and returns its address.
func (s *site) podOf(t *testing.T, namespace, selector string) (address string) {
	t.Helper()
	s.withinOf(t, namespace, taking, func() error {
		said, err := s.Try("kubectl", "-n", namespace, "get", "pods", "-l", selector, "-o", `jsonpath={range .items[*]}{.status.podIP} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)
		if err != nil {
			return err
		}
		ip, ready, _ := strings.Cut(strings.TrimSpace(said), " ")
		if ready != "True" {
			return fmt.Errorf("pods %s in %s are %q", selector, namespace, said)
		}
		address = ip
		return nil
	})
	return address
}

// withinOf is within for what happens in another namespace: its pods and events are
// logged where it does not happen.
func (s *site) withinOf(t *testing.T, namespace string, time time.Duration, f func() error) {
	t.Helper()
	other := *s
	other.release = namespace
	other.within(t, time, f)
}

// ask sends a request with headers, each "name: value", to the proxy.
func (p *platform) ask(method, path string, headers ...string) (reply, error) {
	req, err := http.NewRequest(method, "http://"+p.address+path, nil)
	if err != nil {
		return reply{}, err
	}
	req.Host = "api.example.com"
	req.Close = true
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, string(body)}, err
}

// becomes waits until requests for an order get a status.
func (p *platform) becomes(t *testing.T, status int, headers ...string) {
	t.Helper()
	p.withinOf(t, p.name, taking, func() error {
		r, err := p.ask("GET", "/orders/1", headers...)
		if err == nil && r.status != status {
			err = fmt.Errorf("got %d %.200s, want %d", r.status, r.body, status)
		}
		return err
	})
}

// denied checks that a request gets a status, and does not reach the upstream.
func (p *platform) denied(t *testing.T, status int, code, method, path string, headers ...string) {
	t.Helper()
	r, err := p.ask(method, path, headers...)
	if err != nil || r.status != status || r.reached() || !strings.Contains(r.body, code) {
		t.Errorf("%s %s: %v, got %d %.300s, want %d %s", method, path, err, r.status, r.body, status, code)
	}
}

// allowed checks that a request reaches the upstream with the key's identity, without
// the key, and without what its client made up.
func (p *platform) allowed(t *testing.T, method, path, key, user string) {
	t.Helper()
	r, err := p.ask(method, path, "x-api-key: "+key, "x-auth-user-id: root", "x-auth-admin: root", "x-other: stays")
	if err != nil || r.status != http.StatusOK || !r.reached() {
		t.Errorf("%s %s: %v, got %d %.300s", method, path, err, r.status, r.body)
		return
	}
	if got := r.header("x-auth-user-id"); len(got) != 1 || got[0] != user {
		t.Errorf("x-auth-user-id reached the upstream as %q, want %q", got, user)
	}
	if len(r.header("x-auth-scopes")) != 1 || len(r.header("x-auth-key-id")) != 1 || len(r.header("x-other")) != 1 {
		t.Errorf("headers are missing at the upstream: %s", r.body)
	}
	if strings.Contains(r.body, key) || strings.Contains(r.body, "root") {
		t.Errorf("the key, or what the client made up, reached the upstream: %s", r.body)
	}
}

// decides checks decisions by the examples' rules for a new key that may read orders.
func (p *platform) decides(t *testing.T) (key string) {
	t.Helper()
	key = p.newKey(t, "bob")
	p.becomes(t, http.StatusUnauthorized)
	p.becomes(t, http.StatusOK, "x-api-key: "+key)
	p.allowed(t, "GET", "/orders/1", key, "bob")
	p.denied(t, 401, "missing_key", "GET", "/orders/1")
	p.denied(t, 401, "malformed_key", "GET", "/orders/1", "x-api-key: ak_live_00000000_0000000000000000000000000000000000000000000")
	p.denied(t, 403, "scope_missing", "POST", "/orders", "x-api-key: "+key)
	if r, err := p.ask("GET", "/healthz", "x-auth-user-id: root"); err != nil || !r.reached() || strings.Contains(r.body, "root") {
		t.Errorf("/healthz: %v, got %d %.300s", err, r.status, r.body)
	}
	return key
}

// endures takes all replicas away and gives them back, with failOpen switched on and
// off in between, and prints what happened to requests.
func (p *platform) endures(t *testing.T, key string) {
	t.Helper()
	header := "x-api-key: " + key
	p.closed(t, "all replicas away", func() {
		p.kubectl(t, "scale", "deployment/extauthz", "--replicas=0")
		p.gone(t)
		p.becomes(t, p.away, header)
		for range 20 {
			p.denied(t, p.away, "", "GET", "/orders/1", header)
		}
	})
	p.failOpen(t, true)
	begin := time.Now()
	p.becomes(t, http.StatusOK, header)
	t.Logf("%s: with failOpen, requests pass after %v", t.Name(), time.Since(begin).Round(100*time.Millisecond))
	r, err := p.ask("GET", "/orders/1", header, "x-auth-user-id: root")
	if err != nil || !r.reached() || strings.Contains(r.body, "root") || len(r.header("x-auth-user-id")) != 0 || len(r.header("x-api-key")) != 1 {
		t.Errorf("with failOpen, documented is the key and no identity: %v, got %d %.300s", err, r.status, r.body)
	}
	p.failOpen(t, false)
	p.becomes(t, p.away, header)
	p.closed(t, "replicas back", func() {
		p.kubectl(t, "scale", "deployment/extauthz", "--replicas=3")
		p.rolledOut(t)
		p.becomes(t, http.StatusOK, header)
		p.allowed(t, "GET", "/orders/1", key, "bob")
	})
}

// gone waits until no process of the service is left.
func (p *platform) gone(t *testing.T) {
	t.Helper()
	p.within(t, taking, func() error {
		if said := p.kubectl(t, "get", "pods", "-l", replicas, "-o", "name"); said != "" {
			return fmt.Errorf("still there: %s", said)
		}
		return nil
	})
}

// closed makes a change while requests without a key are sent, of which none may reach
// the upstream, and prints their answers.
func (p *platform) closed(t *testing.T, what string, change func()) {
	t.Helper()
	begin := time.Now()
	answers, passed := map[string]int{}, 0
	stop := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
			select {
			case <-stop:
				tick.Stop()
				return
			default:
			}
			r, err := p.ask("GET", "/orders/1")
			switch {
			case err != nil:
				answers["none"]++
			case r.reached():
				passed++
			default:
				answers[fmt.Sprint(r.status)]++
			}
		}
	})
	end := sync.OnceFunc(func() {
		close(stop)
		sender.Wait()
	})
	defer end() // also where change ends the test
	change()
	end()
	t.Logf("%s: %s: took %v; answers to requests without a key: %v, %d reached the upstream", t.Name(), what, time.Since(begin).Round(100*time.Millisecond), answers, passed)
	if passed > 0 {
		t.Errorf("%s: %d requests without a key reached the upstream", what, passed)
	}
}

//go:build compose

package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCompose starts compose.yaml once; its subtests run in this order.
func TestCompose(t *testing.T) {
	s := start(t)
	key := s.demoKey()
	for _, part := range []struct {
		guarantee string
		test      func(*stack, string)
	}{
		{"the README's lines work", readme},
		{"the image is small, labelled and has a numeric user", image},
		{"containers are hardened and published on loopback alone", hardened},
		{"no secret is in an environment, an argument or a log", secrets},
		{"a revocation binds both replicas", revocation},
		{"a replica stops without an effect", replicaStops},
		{"Redis restarts without an effect", redisRestarts},
		{"a second start changes nothing", secondStart},
		{"every alert and panel works on a real Prometheus", observed},
		{"Envoy's rate-limit service holds a key to its rate", rateLimited},
	} {
		if !t.Run(part.guarantee, func(t *testing.T) { part.test(s.on(t), key) }) {
			break // the subtests that follow depend on it
		}
	}
}

func readme(s *stack, key string) {
	seen := s.want(http.StatusOK, "GET", "/orders/42", key)
	for _, must := range []string{"x-auth-user-id: demo", "x-auth-key-name: demo", "x-auth-scopes: orders:read", "x-auth-key-id: ", "x-auth-key-prefix: " + key[:16]} {
		if !strings.Contains(seen, must) {
			s.t.Errorf("the upstream did not see %s:\n%s", must, seen)
		}
	}
	if strings.Contains(seen, key) || strings.Contains(seen, "x-api-key") {
		s.t.Errorf("the key reached the upstream")
	}
	if body := s.want(http.StatusUnauthorized, "GET", "/orders/42", ""); !strings.Contains(body, `"missing_key"`) {
		s.t.Error(body)
	}
	if body := s.want(http.StatusForbidden, "POST", "/orders", key); !strings.Contains(body, `"scope_missing"`) {
		s.t.Error(body)
	}
	if list := s.extauthz(2, "keys", "list", "--user", "demo"); !strings.Contains(list, key[:16]) {
		s.t.Error(list)
	}
}

func image(s *stack, _ string) {
	i := s.image(first(os.Getenv("EXTAUTHZ_IMAGE"), "extauthz:local"))
	s.t.Logf("%.1f MB", float64(i.Size)/1e6)
	if i.Size >= 43_000_000 {
		s.t.Errorf("%d bytes are 43 MB or more", i.Size)
	}
	if i.Config.User != "65532:65532" || len(i.Config.Healthcheck.Test) == 0 || i.Config.Labels["org.opencontainers.image.version"] == "" {
		s.t.Errorf("%+v", i.Config)
	}
}

func hardened(s *stack, _ string) {
	replicas := 0
	for _, c := range s.containers() {
		h := c.HostConfig
		if !h.ReadonlyRootfs || !slices.Contains(h.CapDrop, "ALL") || !slices.ContainsFunc(h.SecurityOpt, func(o string) bool { return strings.HasPrefix(o, "no-new-privileges") }) {
			s.t.Errorf("%s is not hardened: %+v", c.Name, h)
		}
		for port, bindings := range h.PortBindings {
			for _, b := range bindings {
				if b.HostIP != "127.0.0.1" {
					s.t.Errorf("%s publishes %s on %q", c.Name, port, b.HostIP)
				}
			}
		}
		if !c.State.Running {
			continue
		}
		for line := range strings.SplitSeq(s.engine("top", c.ID, "-eo", "pid,uid,comm"), "\n") {
			if fields := strings.Fields(line); fields[1] == "0" {
				s.t.Errorf("%s runs a process as root: %s", c.Name, line)
			}
		}
		if c.service() == "extauthz" && c.State.Health != nil && c.State.Health.Status == "healthy" {
			replicas++
		}
	}
	if replicas != 2 {
		s.t.Errorf("%d healthy replicas", replicas)
	}
}

func secrets(s *stack, key string) {
	files := s.run("exec", "-T", "-u", "65532", "redis", "sh", "-c", "cd /run/extauthz && for f in *; do cat $f; echo; done")
	hidden := strings.Fields(files)
	if len(hidden) != 7 || !slices.Contains(hidden, key) {
		s.t.Fatalf("%d secrets", len(hidden))
	}
	for _, c := range s.containers() {
		seen := strings.Join(c.Config.Env, "\n") + s.logs(c)
		if c.service() == "extauthz" && !strings.Contains(seen, `"msg":"serving"`) {
			s.t.Errorf("%s has said nothing", c.Name)
		}
		if c.State.Running {
			seen += s.engine("top", c.ID, "-eo", "pid,args")
		}
		for i, secret := range hidden {
			if strings.Contains(seen, secret) {
				s.t.Errorf("%s shows secret %d", c.Name, i)
			}
		}
	}
	// Postgres and Redis each read only their own password.
	for _, service := range []string{"postgres", "redis"} {
		if got := s.run("exec", "-T", service, "sh", "-c", "cd /run/extauthz && for f in *; do test -r $f && echo $f; done; true"); got != "database.password\nredis.password" {
			s.t.Errorf("%s reads %q", service, got)
		}
	}
}

func revocation(s *stack, _ string) {
	key, id := s.newKey()
	for range 20 { // both replicas have the key in their caches
		s.want(http.StatusOK, "GET", "/orders/42", key)
	}
	s.extauthz(1, "keys", "revoke", id)
	for replica := 1; replica <= 2; replica++ {
		out, complaints, err := s.try(s.compose, []string{"exec", "-T", "-e", "EXTAUTHZ_KEY=" + key, fmt.Sprint("--index=", replica), "extauthz", "extauthz", "explain", "GET", "/orders/42"})
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(out, "revoked") {
			s.t.Errorf("replica %d: %v\n%s%s", replica, err, out, complaints)
		}
	}
	for range 40 {
		if body := s.want(http.StatusUnauthorized, "GET", "/orders/42", key); !strings.Contains(body, `"key_revoked"`) {
			s.t.Error(body)
		}
	}
}

func replicaStops(s *stack, key string) {
	for _, c := range s.containers() {
		if c.service() != "extauthz" {
			continue
		}
		if err := during(key, func() { s.engine("stop", "-t", "30", c.ID) }); err != nil {
			s.t.Errorf("%s stopped: %v", c.Name, err)
		}
		if err := during(key, func() { s.engine("start", c.ID); s.awaitHealthy() }); err != nil {
			s.t.Errorf("%s came back: %v", c.Name, err)
		}
	}
}

func redisRestarts(s *stack, key string) {
	fresh, _ := s.newKey() // not in any cache yet
	if err := during(key, func() {
		s.run("stop", "-t", "2", "redis")
		s.want(http.StatusOK, "GET", "/orders/42", fresh)
		s.run("start", "redis")
	}); err != nil {
		s.t.Error(err)
	}
	s.awaitHealthy()
	if err := during(key, func() { s.run("restart", "-t", "2", "redis") }); err != nil {
		s.t.Error(err)
	}
	s.awaitHealthy()
}

func secondStart(s *stack, key string) {
	s.run("up", "-d")
	s.awaitHealthy()
	if s.demoKey() != key {
		s.t.Error("another demo key")
	}
	if list := s.extauthz(1, "keys", "list", "--user", "demo", "-o", "json"); strings.Count(list, `"prefix"`) != 1 {
		s.t.Errorf("several demo keys: %s", list)
	}
	s.want(http.StatusOK, "GET", "/orders/42", key)
}

// rateLimited runs last, since the replicas are restarted with LIMITS_MODE.
func rateLimited(s *stack, _ string) {
	s.env = append(s.env, "LIMITS_MODE=envoy")
	s.run("--profile", "ratelimit", "up", "-d")
	s.awaitHealthy()
	key, _ := s.newKey("--rate", "3/d")
	free, _ := s.newKey()
	passed := 0
	for range 6 {
		status, body, err := ask("GET", "http://127.0.0.1:10001/orders/42", key)
		switch {
		case err == nil && status == http.StatusOK:
			passed++
		case err != nil || status != http.StatusTooManyRequests:
			s.t.Errorf("%d %v: %s", status, err, body)
		}
		if status, body, err := ask("GET", "http://127.0.0.1:10001/orders/42", free); err != nil || status != http.StatusOK {
			s.t.Errorf("a key without a rate: %d %v %s", status, err, body)
		}
	}
	if passed != 3 {
		s.t.Errorf("%d of 6 passed", passed)
	}
}

// observed runs the alert rules, and each query of the dashboard, in the Prometheus of
// the profile observe. Grafana itself is started only if its image is available.
func observed(s *stack, key string) {
	services := []string{"prometheus"}
	if os.Getenv("WITH_GRAFANA") != "" {
		services = append(services, "grafana")
	}
	s.run(append([]string{"--profile", "observe", "up", "-d"}, services...)...)
	s.eventually(func() error {
		s.want(http.StatusOK, "GET", "/orders/42", key)
		replicas, err := query("count(rate(extauthz_build_info[30s]))")
		if err == nil && replicas != "2" {
			err = fmt.Errorf("%s replicas have two samples", replicas)
		}
		return err
	})
	var rules struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, State, Health, LastError string }
			}
		}
	}
	seen := 0
	s.eventually(func() error { // each group has been evaluated
		if err := getJSON("/api/v1/rules", &rules); err != nil {
			return err
		}
		seen = 0
		for _, g := range rules.Data.Groups {
			for _, r := range g.Rules {
				seen++
				if r.Health != "ok" {
					return fmt.Errorf("%s: %s %s", r.Name, r.Health, r.LastError)
				}
				if r.State == "firing" {
					s.t.Errorf("%s fires on a healthy stack", r.Name)
				}
			}
		}
		return nil
	})
	if seen < 17 {
		s.t.Errorf("%d rules", seen)
	}

	alerts, err := os.ReadFile("../../helm/extauthz/files/alerts.yaml")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, metric := range regexp.MustCompile(`\bextauthz_\w+`).FindAllString(string(alerts), -1) {
		s.eventually(func() error { // the cache's monitors report after half a minute
			_, err := query("count(" + metric + ")")
			return err
		})
	}

	text, err := os.ReadFile("../../helm/extauthz/files/dashboard.json")
	if err != nil {
		s.t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		s.t.Fatal(err)
	}
	queries := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			queries++
			if _, err := query(strings.NewReplacer("$__rate_interval", "30s", "$job", ".*", "$instance", ".*").Replace(target.Expr)); err != nil {
				s.t.Errorf("panel %q shows nothing: %v", p.Title, err)
			}
		}
	}
	if queries < 25 {
		s.t.Errorf("%d queries", queries)
	}
}

// query runs a query in Prometheus and returns the first value; no value is an error.
func query(promql string) (string, error) {
	var answer struct {
		Error string
		Data  struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := getJSON("/api/v1/query?query="+url.QueryEscape(promql), &answer); err != nil {
		return "", err
	}
	if len(answer.Data.Result) == 0 {
		return "", fmt.Errorf("%s: no value %s", promql, answer.Error)
	}
	return fmt.Sprint(answer.Data.Result[0].Value[1]), nil
}

func getJSON(path string, into any) error {
	_, body, err := ask("GET", "http://127.0.0.1:9091"+path, "")
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(body), into)
}

//go:build kube

package nodes

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

//go:embed testdata/gateway.yaml
var gateway string

// unchecked is a route that passes the service by, for the control load.
const catchAll = `                        - match: {prefix: "/"}`
const unchecked = `                        - match: {prefix: "/unchecked/"}
                          route: {cluster: upstream}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              disabled: true
`

// install is what README and docs/deployment.md have a new user do, with three
// replicas, and then what the notes name: a key, an Envoy.
func install(t *testing.T, s *site) {
	begin := time.Now()
	s.must(t, "helm", "install", "extauthz", s.chart, "-n", s.release, "--create-namespace", "-f", "../../helm/extauthz/ci/trial-values.yaml", "--set", "replicaCount=3")
	s.rolledOut(t)
	t.Logf("%s: three replicas, Postgres and Redis are ready after %v", t.Name(), time.Since(begin).Round(100*time.Millisecond))
	s.choose(t)
	s.key = s.newKey(t, "alice")
	s.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
	s.startGateway(t)
	s.answers(t, http.StatusOK, s.key)
	s.answers(t, http.StatusUnauthorized, "")
	s.answers(t, http.StatusUnauthorized, "ak_live_00000000_0000000000000000000000000000000000000000000")
}

// choose has the node stay on which the trial's database is: every key goes with it.
func (s *site) choose(t *testing.T) {
	t.Helper()
	on := s.kubectl(t, "get", "pods", "-l", "app.kubernetes.io/component=trial-postgres", "-o", "jsonpath={.items[0].spec.nodeName}")
	for _, n := range s.Nodes {
		if n.Name == on {
			s.stays = n
		} else {
			s.goes = n
		}
	}
	if s.stays == nil || s.goes == nil {
		t.Fatalf("the database is on %q", on)
	}
}

// newKey makes a key that may read orders.
func (s *site) newKey(t *testing.T, user string) string {
	t.Helper()
	var made struct{ Key string }
	if err := json.Unmarshal([]byte(s.service(t, "keys", "create", "--user", user, "--name", "load", "--scope", "orders:read", "-o", "json")), &made); err != nil || made.Key == "" {
		t.Fatalf("no key: %v", err)
	}
	return made.Key
}

// startGateway puts the printed Envoy into the cluster, with a route for the control.
func (s *site) startGateway(t *testing.T, flags ...string) {
	t.Helper()
	printed := s.service(t, append([]string{"envoy", "bootstrap", "--listen", "0.0.0.0:10000", "--upstream", "orders." + s.shop + ".svc.cluster.local:8080",
		"--service", "extauthz-headless." + s.release + ".svc.cluster.local:9001"}, flags...)...)
	if !strings.Contains(printed, catchAll) {
		t.Fatal("the printed configuration has no catch-all")
	}
	s.configureGateway(t, strings.Replace(printed, catchAll, unchecked+catchAll, 1))
	s.Apply(strings.NewReplacer("SHOP", s.shop, "NODE", s.stays.Name, "ENVOY_IMAGE", s.envoyImage(t)).Replace(gateway))
	s.awaitGateway(t)
}

// envoyImage is the name of the Envoy image on the nodes.
func (s *site) envoyImage(t *testing.T) string {
	t.Helper()
	compose, err := os.ReadFile("../../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	image := regexp.MustCompile(`envoyproxy/envoy:v[0-9.]+`).FindString(string(compose))
	if image == "" {
		t.Fatal("compose.yaml names no image of Envoy")
	}
	return image
}

// configureGateway writes Envoy's configuration.
func (s *site) configureGateway(t *testing.T, configuration string) {
	t.Helper()
	file := t.TempDir() + "/envoy.yaml"
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Apply(s.must(t, "kubectl", "-n", s.shop, "create", "configmap", "envoy", "--from-file="+file, "--dry-run=client", "-o", "yaml"))
}

// awaitGateway waits for Envoy and finds its address.
func (s *site) awaitGateway(t *testing.T) {
	t.Helper()
	for _, name := range []string{"orders", "envoy"} {
		s.must(t, "kubectl", "-n", s.shop, "rollout", "status", "deployment/"+name, "--timeout=120s")
	}
	s.envoy = s.must(t, "kubectl", "-n", s.shop, "get", "pods", "-l", "app=envoy", "-o", "jsonpath={.items[0].status.podIP}") + ":10000"
}

// answers waits until a request with a key gets a status.
func (s *site) answers(t *testing.T, status int, key string) {
	t.Helper()
	s.within(t, 30*time.Second, func() error {
		req, err := http.NewRequest(http.MethodGet, "http://"+s.envoy+"/orders/42", nil)
		if err != nil {
			return err
		}
		if key != "" {
			req.Header.Set("x-api-key", key)
		}
		client := http.Client{Timeout: 5 * time.Second}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != status {
			return fmt.Errorf("got %s, want %d", res.Status, status)
		}
		return nil
	})
}

// within waits until f returns nil.
func (s *site) within(t *testing.T, time time.Duration, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time)
	defer cancel()
	if err := parts.Eventually(ctx, f); err != nil {
		t.Error(err)
		s.explain(t)
		t.FailNow()
	}
}

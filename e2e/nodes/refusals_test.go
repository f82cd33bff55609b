//go:build kube

package nodes

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// refusedUpgrade: new pods end with a reason that the documented command shows, old
// ones go on, and a rollback is the way out.
func refusedUpgrade(t *testing.T, s *site) {
	s.ready(t, 3)
	old := s.podNames(t)
	s.under(t, 0, func() {
		s.helmUpgrade(t, "extraEnv[0].name=EXTAUTHZ_CACHE__LOCAL__MAX_KEYS", "extraEnv[0].value=none")
		s.within(t, time.Minute, func() error {
			said := s.kubectl(t, "get", "pods", "-o", "jsonpath={..lastState.terminated.message}")
			if !strings.Contains(said, "max_keys") {
				return fmt.Errorf("the pods' messages do not name the setting: %q", said)
			}
			t.Logf("%s: the pods' status has: %.200s", t.Name(), said)
			return nil
		})
		for name := range old {
			if !s.podNames(t)[name] {
				t.Errorf("%s was ended", name)
			}
		}
		s.must(t, "helm", "rollback", "extauthz", "-n", s.release)
		s.rolledOut(t)
	})
	s.ready(t, 3)
	s.helmUpgrade(t, "extraEnv=null")
	s.rolledOut(t)
}

// reload: rules that a running service takes over, without a pod replaced.
func reload(t *testing.T, s *site) {
	s.ready(t, 3)
	before := s.podNames(t)
	s.under(t, 0, func() {
		begin := time.Now()
		s.open(t)
		t.Logf("%s: the rule counts on all replicas after %v (the kubelet of this cluster syncs each 10 s)", t.Name(), time.Since(begin).Round(time.Second))
	})
	for name := range before {
		if !s.podNames(t)[name] {
			t.Errorf("%s was replaced", name)
		}
	}
}

// open makes a rule for anonymous requests, and waits until all replicas have it.
func (s *site) open(t *testing.T) {
	t.Helper()
	s.helmUpgrade(t, "config.default_route=map", "config.routes[0].match=/open/", "config.routes[0].anonymous=true")
	s.within(t, 3*time.Minute, func() error { return s.opens(10) })
}

// opens asks for what an anonymous rule is for, so often that every replica is asked.
func (s *site) opens(times int) error {
	for range times {
		res, err := http.Get("http://" + s.envoy + "/open/1")
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("an anonymous request got %s", res.Status)
		}
	}
	return nil
}

// faultyReload: rules that the service refuses. It goes on with those before, and
// shows that in /readyz and helm test.
func faultyReload(t *testing.T, s *site) {
	s.ready(t, 3)
	s.open(t)
	before := s.podNames(t)
	s.under(t, 0, func() {
		s.helmUpgrade(t, "config.routes[0].match=GET /open/{id}", "config.routes[0].anonymous=false", "config.routes[0].resource=open/{nope}", "config.routes[0].action=read")
		for name := range before {
			s.within(t, 3*time.Minute, func() error {
				if status := s.status(t, name); !strings.Contains(status, "configuration_refused") {
					return fmt.Errorf("/readyz of %s: %s", name, status)
				}
				return nil
			})
		}
		if err := s.opens(3); err != nil {
			t.Errorf("the rules before do not count any more: %v", err)
		}
		if said, err := s.Try("helm", "test", "extauthz", "-n", s.release, "--logs"); err == nil {
			t.Errorf("helm test passes while the configuration is refused: %s", said)
		}
		s.must(t, "helm", "rollback", "extauthz", "-n", s.release)
		for name := range before {
			s.within(t, 3*time.Minute, func() error {
				if status := s.status(t, name); strings.Contains(status, "configuration_refused") {
					return fmt.Errorf("/readyz of %s: %s", name, status)
				}
				return nil
			})
		}
		if said, err := s.Try("helm", "test", "extauthz", "-n", s.release, "--logs"); err != nil {
			t.Errorf("helm test: %v: %s", err, said)
		}
	})
}

// status is what a pod's /readyz answers, whatever its status code.
func (s *site) status(t *testing.T, pod string) string {
	t.Helper()
	said, err := s.Try("kubectl", "get", "--raw", "/api/v1/namespaces/extauthz/pods/"+pod+":9090/proxy/readyz")
	if err != nil {
		return err.Error()
	}
	return said
}

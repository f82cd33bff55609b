//go:build kube

package nodes

import (
	"testing"
)

// helmUpgrade is the documented upgrade, with values.
func (s *site) helmUpgrade(t *testing.T, values ...string) {
	t.Helper()
	args := []string{"upgrade", "extauthz", s.chart, "-n", s.release, "--reset-then-reuse-values"}
	for _, v := range values {
		args = append(args, "--set", v)
	}
	s.must(t, "helm", args...)
}

// upgrade: a value that a running service does not take over, so that pods are replaced.
func upgrade(t *testing.T, s *site) {
	before := s.podNames(t)
	s.under(t, 0, func() {
		s.helmUpgrade(t, "config.cache.local.max_keys=300000")
		s.rolledOut(t)
	})
	for name := range s.podNames(t) {
		if before[name] {
			t.Errorf("%s was not replaced", name)
		}
	}
}

func rollback(t *testing.T, s *site) {
	before := s.podNames(t)
	s.under(t, 0, func() {
		s.must(t, "helm", "rollback", "extauthz", "-n", s.release)
		s.rolledOut(t)
	})
	for name := range s.podNames(t) {
		if before[name] {
			t.Errorf("%s was not replaced", name)
		}
	}
}

func rolloutRestart(t *testing.T, s *site) {
	s.under(t, 0, func() {
		s.kubectl(t, "rollout", "restart", "deployment/extauthz")
		s.rolledOut(t)
	})
}

// drain empties a node under the disruption budget. The pods' working folder is an
// emptyDir, which kubectl asks to be named.
func drain(t *testing.T, s *site) {
	s.under(t, 0, func() {
		s.must(t, "kubectl", "drain", s.goes.Name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=200s")
		s.rolledOut(t)
	})
	s.must(t, "kubectl", "uncordon", s.goes.Name)
}

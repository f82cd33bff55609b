//go:build kube

package nodes

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

const replicas = "app.kubernetes.io/component=service"

// pods are the service's pods on a node; "" is all nodes. Those that are being ended
// are left out.
func (s *site) pods(t *testing.T, node string) (names []string) {
	t.Helper()
	said := s.kubectl(t, "get", "pods", "-l", replicas, "-o", `jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName} [{.metadata.deletionTimestamp}]{"\n"}{end}`)
	for line := range strings.Lines(said) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[2] == "[]" && (node == "" || fields[1] == node) {
			names = append(names, fields[0])
		}
	}
	return names
}

// podNames is pods of all nodes, as a set.
func (s *site) podNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, name := range s.pods(t, "") {
		names[name] = true
	}
	return names
}

// ready waits until so many replicas are ready.
func (s *site) ready(t *testing.T, replicas int) {
	t.Helper()
	s.within(t, 2*time.Minute, func() error {
		said, err := s.Try("kubectl", "-n", s.release, "get", "deployment", "extauthz", "-o", "jsonpath={.status.readyReplicas} {.status.replicas}")
		if want := fmt.Sprintf("%d %d", replicas, replicas); err == nil && said != want {
			err = fmt.Errorf("ready and all replicas are %q, want %q", said, want)
		}
		return err
	})
}

// forceDelete removes a pod without its time to end. One check may be on its way.
func forceDelete(t *testing.T, s *site) {
	s.ready(t, 3)
	s.under(t, 1, func() {
		s.kubectl(t, "delete", "pod", s.pods(t, "")[0], "--force", "--grace-period=0")
		s.ready(t, 3)
	})
}

// kill ends a process as the kernel does when memory is short. One check may be on its
// way.
func kill(t *testing.T, s *site) {
	s.ready(t, 3)
	node, pids := s.stays, s.stays.Processes("extauthz")
	if len(pids) == 0 {
		node, pids = s.goes, s.goes.Processes("extauthz")
	}
	if len(pids) == 0 {
		t.Fatal("no process of the service was found on any node")
	}
	s.under(t, 1, func() {
		node.Kill(pids[0])
		s.within(t, time.Minute, func() error {
			for _, pid := range node.Processes("extauthz") {
				if pid == pids[0] {
					return fmt.Errorf("process %d is still there", pid)
				}
			}
			return nil
		})
		s.ready(t, 3)
	})
}

// nodeCutOff takes a node's cable away, with two of three replicas on it. Until Envoy
// knows, checks that went there find no answer.
func nodeCutOff(t *testing.T, s *site) {
	s.gather(t, s.goes, 2)
	l := startLoad(t, s.envoy, s.key)
	l.checked.Flow(checkedRate)
	s.goes.Disconnect()
	l.checked.Flow(10 * checkedRate)
	s.goes.Connect()
	l.checked.Flow(10 * checkedRate)
	l.end()
	t.Logf("%s: failures for %v; %v", t.Name(), l.failing().Round(time.Millisecond), l)
	if most := time.Second; l.failing() > most {
		t.Errorf("requests failed for %v, want at most %v", l.failing(), most)
		s.explain(t)
	}
	s.must(t, "kubectl", "wait", "--for=condition=Ready", "node/"+s.goes.Name, "--timeout=60s")
	s.ready(t, 3)
}

// gather has so many of three replicas run on a node.
func (s *site) gather(t *testing.T, node *parts.Node, want int) {
	t.Helper()
	other := s.stays
	if node == s.stays {
		other = s.goes
	}
	s.ready(t, 3)
	for len(s.pods(t, node.Name)) != want {
		full, away := other, other
		if len(s.pods(t, node.Name)) > want {
			full, away = node, node
		}
		s.must(t, "kubectl", "cordon", away.Name)
		s.kubectl(t, "delete", "pod", s.pods(t, full.Name)[0])
		s.ready(t, 3)
		s.must(t, "kubectl", "uncordon", away.Name)
	}
}

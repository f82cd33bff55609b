//go:build kube

package nodes

import (
	"bufio"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// scaleThenUpgrade: replicas that an administrator set by hand are those that run
// after the next upgrade.
func scaleThenUpgrade(t *testing.T, s *site) {
	s.under(t, 0, func() {
		s.kubectl(t, "scale", "deployment/extauthz", "--replicas=4")
		s.ready(t, 4)
		fewest := s.watched(t, func() {
			s.helmUpgrade(t, "config.cache.local.max_keys=310000")
			s.rolledOut(t)
		})
		s.ready(t, 4)
		if fewest < 4 {
			t.Errorf("the upgrade went down to %d ready replicas of 4", fewest)
		}
		s.kubectl(t, "scale", "deployment/extauthz", "--replicas=3")
		s.ready(t, 3)
	})
}

// autoscale: an autoscaler is turned on, goes up, goes down and is turned off, and no
// step leaves fewer replicas than it asks for.
func autoscale(t *testing.T, s *site) {
	step := func(name string, want int, values ...string) {
		t.Helper()
		least := min(s.wanted(t), want)
		begin := time.Now()
		fewest := s.watched(t, func() {
			s.helmUpgrade(t, values...)
			s.within(t, 3*time.Minute, func() error {
				if got := s.wanted(t); got != want {
					return fmt.Errorf("%s: %d replicas, want %d", name, got, want)
				}
				return nil
			})
			s.ready(t, want)
		})
		t.Logf("%s: %s: %d replicas after %v", t.Name(), name, want, time.Since(begin).Round(time.Second))
		if fewest < least {
			t.Errorf("%s: down to %d ready replicas, want %d at least", name, fewest, least)
		}
	}
	s.ready(t, 3)
	s.under(t, 0, func() {
		step("on, with work for more", 5, "autoscaling.enabled=true", "autoscaling.minReplicas=2", "autoscaling.maxReplicas=5", "autoscaling.targetCPUUtilizationPercentage=1")
		step("down", 2, "autoscaling.targetCPUUtilizationPercentage=900",
			"autoscaling.behavior.scaleDown.stabilizationWindowSeconds=0", "autoscaling.behavior.scaleDown.policies[0].type=Pods", "autoscaling.behavior.scaleDown.policies[0].value=1", "autoscaling.behavior.scaleDown.policies[0].periodSeconds=5")
		step("off", 2, "autoscaling.enabled=false")
		s.kubectl(t, "scale", "deployment/extauthz", "--replicas=3")
		s.ready(t, 3)
	})
}

// wanted is how many replicas the Deployment asks for.
func (s *site) wanted(t *testing.T) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(s.kubectl(t, "get", "deployment", "extauthz", "-o", "jsonpath={.spec.replicas}"), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// watched returns the fewest ready replicas that there were during a change.
func (s *site) watched(t *testing.T, change func()) (fewest int) {
	t.Helper()
	watch := s.Command("kubectl", "-n", s.release, "get", "deployment", "extauthz", "--watch", "-o", `jsonpath={.status.readyReplicas}{"\n"}`)
	out, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	first := make(chan struct{})
	var reader sync.WaitGroup
	fewest = -1
	reader.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n := 0 // an empty line is none
			_, _ = fmt.Sscan(strings.TrimSpace(lines.Text()), &n)
			if fewest < 0 {
				close(first)
				fewest = n
			}
			fewest = min(fewest, n)
		}
	})
	end := sync.OnceFunc(func() {
		_ = watch.Process.Kill()
		reader.Wait()
		_ = watch.Wait()
	})
	defer end() // also where change ends the test
	<-first
	change()
	end()
	return fewest
}

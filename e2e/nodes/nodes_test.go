//go:build kube

package nodes

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// imagesVariable names the folder that scripts/kube-images.sh filled, where it has.
const imagesVariable = "E2E_KUBE_IMAGES"

// trial is one sequence on the cluster. Trials follow one another on the same release.
type trial struct {
	name  string
	short bool // it is in the short version too
	run   func(*testing.T, *site)
}

// trials begin with what changes least.
var trials = []trial{
	{"Upgrade", true, upgrade},
	{"Rollback", false, rollback},
	{"RolloutRestart", false, rolloutRestart},
	{"Drain", true, drain},
	{"ForceDelete", false, forceDelete},
	{"Kill", false, kill},
	{"NodeCutOff", false, nodeCutOff},
	{"ScaleThenUpgrade", false, scaleThenUpgrade},
	{"Autoscale", false, autoscale},
	{"RefusedUpgrade", false, refusedUpgrade},
	{"Reload", false, reload},
	{"FaultyReload", false, faultyReload},
	{"NetworkPolicy", false, networkPolicy},
	{"Restricted", false, restricted},
	{"Sidecar", false, sidecar},
	{"Certificates", false, certificates},
	{"EnvoyGateway", false, envoyGateway},
	{"Migrations", false, migrations},
	{"EmptyDatabase", false, emptyDatabase},
}

// TestNodes: the documented installation on two nodes, and what is done to it
// afterwards, under load.
func TestNodes(t *testing.T) {
	if testing.Short() && !parts.HasClusterParts(t) {
		t.Skip("nodes: not run, since Kubernetes is not in the cache: `make e2e-kube` builds it once (20 to 40 minutes)")
	}
	images := os.Getenv(imagesVariable)
	if images == "" {
		images = t.TempDir()
		wanted := []string{images}
		if !testing.Short() {
			wanted = append(wanted, "platforms")
		}
		if said, err := exec.Command("../../scripts/kube-images.sh", wanted...).CombinedOutput(); err != nil {
			t.Fatalf("scripts/kube-images.sh: %v: %s", err, said)
		}
	}
	if !parts.IsolatedCluster(t, imagesVariable+"="+images) {
		return
	}
	cluster := parts.StartCluster(t, filepath.Join(images, "images"), 2)
	s := &site{Cluster: cluster, images: images, chart: filepath.Join(images, "extauthz.tgz"), release: "extauthz", shop: "shop"}
	nameImage(t, cluster)
	if !testing.Short() {
		t.Run("FirstHour", func(t *testing.T) { firstHour(t, cluster) })
	}
	if !t.Run("Install", func(t *testing.T) { install(t, s) }) {
		return
	}
	for _, trial := range trials {
		if trial.short || !testing.Short() {
			t.Run(trial.name, func(t *testing.T) { trial.run(t, s) })
		}
	}
}

// site is a cluster with a release of the chart, an upstream and an Envoy.
type site struct {
	*parts.Cluster
	images  string // the folder that scripts/kube-images.sh filled
	chart   string
	release string      // namespace of the release
	shop    string      // namespace of upstream and Envoy
	stays   *parts.Node // has the database, the upstream and Envoy
	goes    *parts.Node // is taken away
	envoy   string      // where Envoy listens
	key     string      // may read orders
}

// must runs a command and returns what it prints.
func (s *site) must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := s.Try(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// kubectl is for the release's namespace.
func (s *site) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return s.must(t, "kubectl", append([]string{"-n", s.release}, args...)...)
}

// service runs a command of the service in one of its pods.
func (s *site) service(t *testing.T, args ...string) string {
	t.Helper()
	return s.kubectl(t, append([]string{"exec", "deployment/extauthz", "--", "extauthz"}, args...)...)
}

// rolledOut waits until the service's pods are those of its newest revision.
func (s *site) rolledOut(t *testing.T) {
	t.Helper()
	s.kubectl(t, "rollout", "status", "deployment/extauthz", "--timeout=240s")
}

// under makes a change under load, which goes on for some seconds. More than most
// failures are an error, beside those that the control suffers too: these are of the
// cluster, or of a machine that is too busy.
func (s *site) under(t *testing.T, most int, change func()) *load {
	t.Helper()
	l := startLoad(t, s.envoy, s.key)
	defer func() {
		if t.Failed() {
			s.explain(t)
		}
	}()
	change()
	l.checked.Flow(3 * checkedRate)
	l.end()
	t.Logf("%s: %v", t.Name(), l)
	if failed, others := len(l.checked.Failures()), len(l.control.Failures())*checkedRate/controlRate; failed > most+others {
		t.Errorf("%d requests failed, want at most %d (and %d for what failed of the control)", failed, most, others)
	}
	return l
}

// explain logs what Envoy and the cluster have to say about a trial that failed.
func (s *site) explain(t *testing.T) {
	t.Helper()
	logs, _ := s.Try("kubectl", "-n", s.shop, "logs", "deployment/envoy", "--since=90s")
	n := 0
	for line := range strings.Lines(logs) {
		if strings.Contains(line, `"status":`) && !strings.Contains(line, `"status":200`) && n < 8 {
			t.Logf("envoy: %.400s", line)
			n++
		}
	}
	for _, args := range [][]string{{"get", "pods", "-A", "-o", "wide"}, {"-n", s.release, "get", "events", "--sort-by=.lastTimestamp"}} {
		said, _ := s.Try("kubectl", args...)
		lines := strings.Split(said, "\n")
		t.Logf("kubectl %s:\n%s", strings.Join(args, " "), strings.Join(lines[max(0, len(lines)-16):], "\n"))
	}
}

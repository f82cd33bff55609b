//go:build kube

package nodes

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// firstHourPage is the page whose commands a new user of Kubernetes follows.
const firstHourPage = "docs/kubernetes.md"

// firstHour runs the blocks of the page in one session, as they are pasted: from the
// installation to its removal, with the printed Envoy as pods of the cluster.
func firstHour(t *testing.T, c *parts.Cluster) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var session strings.Builder
	session.WriteString("set -euo pipefail\n")
	for n, block := range parts.Fenced(t, filepath.Join(root, firstHourPage), "sh") {
		fmt.Fprintf(&session, "echo '== block %d'\n%s", n+1, block)
	}
	cmd := c.Command("bash", "-c", session.String())
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		pods, _ := c.Try("kubectl", "get", "pods,events", "-A")
		t.Fatalf("the commands of %s: %v\n%s\n%s", firstHourPage, err, out, pods)
	}
	for _, want := range []string{"\n200\n", "\n401\n", "\n403\n", `"title"`, "Phase:", "Succeeded", `namespace "extauthz" deleted`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the commands of %s print no %q:\n%s", firstHourPage, want, out)
		}
	}
}

// nameImage gives the image on the nodes the name extauthz:local, which it has on a
// cluster that was given the image of `make image`.
func nameImage(t *testing.T, c *parts.Cluster) {
	t.Helper()
	for _, n := range c.Nodes {
		const tag = `ctr -n k8s.io images tag --force "$(ctr -n k8s.io images ls -q | grep -m1 /extauthz:)" docker.io/library/extauthz:local`
		if output, err := n.Command("sh", "-c", tag).CombinedOutput(); err != nil {
			t.Fatalf("%s: extauthz:local: %v: %s", n.Name, err, output)
		}
	}
}

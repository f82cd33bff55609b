//go:build kube

package nodes

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// restricted: a namespace that admits pods of the restricted Pod Security Standard
// alone takes the trial installation as it is.
func restricted(t *testing.T, s *site) {
	s.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: restricted, labels: {pod-security.kubernetes.io/enforce: restricted}}\n")
	s.must(t, "helm", "install", "extauthz", s.chart, "-n", "restricted", "-f", "../../helm/extauthz/ci/trial-values.yaml", "--set", "replicaCount=1")
	s.must(t, "kubectl", "-n", "restricted", "rollout", "status", "deployment/extauthz", "--timeout=180s")
	s.must(t, "helm", "uninstall", "extauthz", "-n", "restricted", "--wait")
	s.must(t, "kubectl", "delete", "namespace", "restricted", "--wait=false")
}

const visitors = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: shop, labels: {app: %[1]s}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: visitor, image: "redis:7.4-bookworm", imagePullPolicy: Never, args: [--port, "7777"]}]
`

// networkPolicy: the gateway reaches the gRPC port, another pod of its namespace does
// not; no pod reaches the management API, which is on loopback.
func networkPolicy(t *testing.T, s *site) {
	s.Apply(fmt.Sprintf(visitors, "friend") + "---" + fmt.Sprintf(visitors, "stranger"))
	for _, name := range []string{"friend", "stranger"} {
		s.must(t, "kubectl", "-n", s.shop, "wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
	}
	s.under(t, 0, func() {
		if !s.reaches("stranger", 9001) {
			t.Error("a pod that no policy keeps out does not reach the port: nothing is shown by this trial")
		}
		from := "networkPolicy.grpcFrom[0]."
		s.helmUpgrade(t, from+`namespaceSelector.matchLabels.kubernetes\.io/metadata\.name=shop`,
			from+"podSelector.matchExpressions[0].key=app", from+"podSelector.matchExpressions[0].operator=In", from+"podSelector.matchExpressions[0].values={envoy,friend}")
		s.within(t, time.Minute, func() error {
			if s.reaches("stranger", 9001) {
				return fmt.Errorf("a stranger reaches the gRPC port")
			}
			return nil
		})
	})
	if !s.reaches("friend", 9001) {
		t.Error("a pod that the policy names does not reach the gRPC port")
	}
	if s.reaches("friend", 9003) {
		t.Error("the management API can be reached")
	}
	s.helmUpgrade(t, "networkPolicy.grpcFrom=null")
	s.must(t, "kubectl", "-n", s.shop, "delete", "pod", "friend", "stranger")
}

// reaches reports whether a pod of the namespace shop gets a connection to a port of all
// replicas.
func (s *site) reaches(pod string, port int) bool {
	addresses, err := s.Try("kubectl", "-n", s.release, "get", "pods", "-l", replicas, "-o", "jsonpath={.items[*].status.podIP}")
	if err != nil {
		return false
	}
	for _, address := range strings.Fields(addresses) {
		// What is dropped on its way gets no answer.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		cmd := s.Command("kubectl", "-n", s.shop, "exec", pod, "--", "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", address, port))
		waiting := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
		waiting.Env = cmd.Env
		err := waiting.Run()
		cancel()
		if err != nil {
			return false
		}
	}
	return true
}

//go:build kube

package e2e

import (
	"testing"

	"extauthz/e2e/parts"
)

func testEnvoyGateway(t *testing.T, k *parts.Kubernetes) {
	s := newPlatform(t, k, example(t, "envoy-gateway/extauthz.yaml"))
	k.Apply(example(t, "envoy-gateway/policy.yaml"))
	k.Apply(example(t, "envoy-gateway/routes.yaml"))
	parts.StartEnvoyGateway(t, k, "1.40.0")
	s.gateway = podAddress + ":10080" // it adds 10,000 to ports that need privileges
	s.decides(t, "/healthz")
}

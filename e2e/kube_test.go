//go:build kube

package e2e

import (
	"testing"

	"extauthz/e2e/parts"
)

func TestPlatforms(t *testing.T) {
	if !parts.Isolated(t, "10.77.0.1") {
		return
	}
	k := parts.StartKubernetes(t)
	k.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
}

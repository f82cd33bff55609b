//go:build kube

package chart

import (
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// Field managers that set replicas beside Helm.
const (
	byHand       = "kubectl"
	byAutoscaler = "kube-controller-manager"
)

// TestReplicas_AnUpgradeHoldsWhatWasScaled runs on a real API, in the order of an
// installation's life: replicas are set by hand, by a new replicaCount, and by an
// autoscaler that is switched on and off.
func TestReplicas_AnUpgradeHoldsWhatWasScaled(t *testing.T) {
	k := newAPI(t)
	const in = "scaled"
	k.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + in + "}\n")
	name := parts.Object{APIVersion: "apps/v1", Kind: "Deployment", Metadata: parts.Metadata{Name: "extauthz", Namespace: in}}
	args := func(verb, chart string, values ...string) []string {
		return append([]string{verb, "extauthz", chart, "-n", in, "--set", "secrets.existingSecret=extauthz-secrets"}, values...)
	}
	upgrade := func(want int, values ...string) (notes string) {
		t.Helper()
		notes = k.helm(args("upgrade", chartDir, values...)...)
		if got, _ := k.get("apps/v1", "Deployment", in, "extauthz").at("spec", "replicas").(float64); int(got) != want {
			t.Errorf("helm upgrade %s: %v replicas, not %d", strings.Join(values, " "), got, want)
		}
		return notes
	}

	k.helm(args("install", previous)...) // which did not record the number
	k.Scale(name, 4, byHand)
	if notes := upgrade(4); !strings.Contains(notes, "4 replicas run, as they were scaled, and stay; replicaCount is 2.") {
		t.Errorf("the notes do not say why there are 4: %s", notes)
	}
	k.Scale(name, 5, byHand)
	upgrade(5, "--set", "config.log.level=debug")
	k.Scale(name, 1, byHand)
	upgrade(1)

	// The new replicaCount differs from the number that was scaled to, so Helm 4 refuses
	// without --force-conflicts.
	_, errOut, err := parts.Helm(t, k.Kubeconfig, args("upgrade", chartDir, "--set", "replicaCount=3")...)
	if err == nil || !strings.Contains(errOut, ".spec.replicas") {
		t.Errorf("a new replicaCount after kubectl scale: %v: %s", err, errOut)
	}
	upgrade(3, "--set", "replicaCount=3", "--force-conflicts")
	upgrade(6, "--set", "replicaCount=6") // not scaled since the last release

	autoscaled := []string{"--set", "replicaCount=2,autoscaling.enabled=true"}
	upgrade(6, autoscaled...)
	upgrade(6, autoscaled...)
	k.Scale(name, 8, byAutoscaler)
	upgrade(8, autoscaled...)
	k.Scale(name, 7, byAutoscaler)
	upgrade(7, "--set", "replicaCount=2")
	upgrade(7, "--set", "replicaCount=2")

	// A rollback applies the number of its revision, which Helm 4 refuses without
	// --force-conflicts.
	k.Scale(name, 5, byHand)
	back := []string{"rollback", "extauthz", "-n", in}
	if _, errOut, err := parts.Helm(t, k.Kubeconfig, back...); err == nil || !strings.Contains(errOut, ".spec.replicas") {
		t.Errorf("helm rollback after kubectl scale: %v: %s", err, errOut)
	}
	k.helm(append(back, "--force-conflicts")...)
	if got, _ := k.get("apps/v1", "Deployment", in, "extauthz").at("spec", "replicas").(float64); got != 7 {
		t.Errorf("helm rollback --force-conflicts: %v replicas, not those of the revision", got)
	}
}

// TestReplicas_AnAutoscalerHoldsThemFromTheFirst: if a release was installed with
// autoscaling, neither an upgrade nor a rollback changes the number.
func TestReplicas_AnAutoscalerHoldsThemFromTheFirst(t *testing.T) {
	k := newAPI(t)
	const in = "autoscaled"
	k.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + in + "}\n")
	name := parts.Object{APIVersion: "apps/v1", Kind: "Deployment", Metadata: parts.Metadata{Name: "extauthz", Namespace: in}}
	args := []string{"extauthz", chartDir, "-n", in, "--set", "secrets.existingSecret=extauthz-secrets,autoscaling.enabled=true"}
	replicas := func(after string, want float64) {
		t.Helper()
		if got, _ := k.get("apps/v1", "Deployment", in, "extauthz").at("spec", "replicas").(float64); got != want {
			t.Errorf("%s: %v replicas, not %v", after, got, want)
		}
	}
	k.helm(append([]string{"install"}, args...)...)
	k.Scale(name, 6, byAutoscaler)
	k.helm(append([]string{"upgrade"}, append(args, "--set", "config.log.level=debug")...)...)
	replicas("helm upgrade", 6)
	k.Scale(name, 7, byAutoscaler)
	k.helm("rollback", "extauthz", "1", "-n", in)
	replicas("helm rollback", 7)
	k.helm(append([]string{"upgrade"}, append(args, "--set", "autoscaling.enabled=false")...)...)
	replicas("autoscaling switched off", 7)
}

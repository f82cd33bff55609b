package chart

import (
	"reflect"
	"strings"
	"testing"
)

// fixed are the fields that Kubernetes refuses to change, by kind.
var fixed = map[string][][]string{
	"Deployment":            {{"spec", "selector"}},
	"Service":               {{"spec", "clusterIP"}},
	"PersistentVolumeClaim": {{"spec", "accessModes"}, {"spec", "storageClassName"}},
	"Secret":                {{"type"}},
}

// previous is the chart before this one. After a release, its package replaces this file
// (helm package helm/extauthz -d e2e/testdata/chart). No release has been made yet, so
// 0.1.0 is the chart's first state in this repository.
const previous = goldenDir + "/extauthz-0.1.0.tgz"

// TestChart_UpgradeChangesNoImmutableField renders each scenario with the previous chart
// (its package is among the golden files) and with this one. All earlier objects still
// exist by name, so that no Secret, claim or address is lost.
func TestChart_UpgradeChangesNoImmutableField(t *testing.T) {
	for _, scenario := range scenarios(t) {
		if scenario == "mtls" { // new: the previous chart does not support it
			continue
		}
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			before := objects(t, render(t, previous, "-f", valuesFile(scenario)))
			after := objects(t, render(t, chartDir, "-f", valuesFile(scenario)))
			for _, o := range before {
				next := find(t, after, o.kind(), o.name())
				if o.text("apiVersion") != next.text("apiVersion") || o.text("metadata", "namespace") != next.text("metadata", "namespace") {
					t.Errorf("%s %s has moved to %s in %s", o.kind(), o.name(), next.text("apiVersion"), next.text("metadata", "namespace"))
				}
				for _, path := range fixed[o.kind()] {
					if was, is := o.at(path...), next.at(path...); !reflect.DeepEqual(was, is) {
						t.Errorf("%s %s: %s was %v and can't become %v", o.kind(), o.name(), strings.Join(path, "."), was, is)
					}
				}
				if keep := "helm.sh/resource-policy"; o.at("metadata", "annotations", keep) != next.at("metadata", "annotations", keep) {
					t.Errorf("%s %s: %s has changed", o.kind(), o.name(), keep)
				}
			}
		})
	}
}

// checksum returns the annotation whose change replaces pods.
func checksum(t *testing.T, args ...string) string {
	t.Helper()
	all := objects(t, render(t, chartDir, append([]string{"-f", valuesFile("production")}, args...)...))
	sum := find(t, all, "Deployment", "extauthz").text("spec", "template", "metadata", "annotations", "extauthz/restart-checksum")
	if sum == "" {
		t.Fatal("no checksum")
	}
	return sum
}

// TestChart_OnlyRestartSettingsReplacePods.
func TestChart_OnlyRestartSettingsReplacePods(t *testing.T) {
	is := checksum(t)
	for _, running := range []string{"config.default_route=map", "config.log.level=debug", "config.routes[0].resource=other", "config.limits.mode=off", "configFiles.x=y"} {
		if checksum(t, "--set", running) != is {
			t.Errorf("%s replaces pods, and a running service takes it over", running)
		}
		if checksum(t, "--set", "hotReload=false", "--set", running) == checksum(t, "--set", "hotReload=false") {
			t.Errorf("%s replaces no pods with hotReload: false", running)
		}
	}
	for _, restart := range []string{"config.database.max_open=31", "config.cache.redis.addresses[0]=other:6379", "config.log.format=text", "config.grpc.drain_delay=6s"} {
		if checksum(t, "--set", restart) == is {
			t.Errorf("%s replaces no pods, and needs a restart", restart)
		}
	}
}

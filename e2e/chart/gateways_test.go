package chart

import (
	"reflect"
	"strings"
	"testing"
)

// same compares an object of the chart with one that a command prints, without the
// labels, which are the chart's own.
func same(t *testing.T, chart []object, printed object) {
	t.Helper()
	o := find(t, chart, printed.kind(), printed.name())
	if !reflect.DeepEqual(o.at("spec"), printed.at("spec")) {
		t.Errorf("%s %s:\nchart   %v\ncommand %v", printed.kind(), printed.name(), o.at("spec"), printed.at("spec"))
	}
	if o.text("metadata", "namespace") != printed.text("metadata", "namespace") {
		t.Errorf("%s %s: namespace %s, the command's %s", printed.kind(), printed.name(), o.text("metadata", "namespace"), printed.text("metadata", "namespace"))
	}
}

// TestGateways_ObjectsAreThoseThatTheCommandsPrint for the same configuration: `extauthz
// envoy istio` and `extauthz envoy gateway`, which are tested with the real platforms.
func TestGateways_ObjectsAreThoseThatTheCommandsPrint(t *testing.T) {
	for scenario, run := range map[string]struct {
		args, command []string
		objects       int
	}{
		"istio":         {nil, []string{"envoy", "istio"}, 2},
		"istio sidecar": {[]string{"--set", "istio.sidecar=true,istio.namespace=shop,istio.selector.istio=null,istio.selector.app=orders"}, []string{"envoy", "istio", "--sidecar", "--namespace", "shop", "--selector", "app=orders"}, 2},
		"envoy-gateway": {nil, []string{"envoy", "gateway", "--tls-name", "extauthz.extauthz.svc", "--tls-ca", "extauthz-ca"}, 4},
		"envoy-gateway plain": {
			[]string{"--set", "tls.enabled=false,tls.existingSecret=,config.cors.allow_preflights=true,config.identity.header_prefix=x-id-"},
			[]string{"envoy", "gateway"}, 3,
		},
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			file, _, _ := strings.Cut(scenario, " ")
			c := newCluster(t, "postgres://extauthz@127.0.0.1:1/extauthz")
			args := append([]string{"-f", valuesFile(file)}, run.args...)
			all := objects(t, render(t, chartDir, args...))
			c.add(t, all)
			out, errOut, err := newPod(t, c, find(t, all, "Deployment", "extauthz")).Run(run.command...)
			if err != nil {
				t.Fatalf("%v: %s", err, errOut)
			}
			printed := objects(t, out)
			if len(printed) != run.objects {
				t.Fatalf("the command printed %d objects", len(printed))
			}
			for _, o := range printed {
				same(t, all, o)
			}
		})
	}
}

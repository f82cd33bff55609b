package e2e

import (
	"flag"
	"os"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

var update = flag.Bool("update", false, "write the configurations of compose.yaml anew")

// TestCompose_EnvoysRunThePrintedConfiguration compares the two Envoys of compose.yaml
// with what `envoy bootstrap` prints and with the rate-limit example; only addresses may
// differ.
func TestCompose_EnvoysRunThePrintedConfiguration(t *testing.T) {
	gateway := parts.PrintBootstrap(t, "", "--listen", "0.0.0.0:10000", "--upstream", "echo:8080", "--service", "extauthz:9001", "--admin", "127.0.0.1:9901")
	example, err := os.ReadFile("../envoy/examples/ratelimit.yaml")
	if err != nil {
		t.Fatal(err)
	}
	limited := strings.NewReplacer(
		`"127.0.0.1", port_value: 8080`, `"0.0.0.0", port_value: 10000`,
		`"127.0.0.1", port_value: 8081`, `"echo", port_value: 8080`,
		`127.0.0.1, port_value: 8082`, `"ratelimit", port_value: 8081`,
		`"127.0.0.1", port_value: 9001`, `"extauthz", port_value: 9001`,
		"type: STATIC", "type: STRICT_DNS",
	).Replace(string(example))
	for path, want := range map[string]string{"../scripts/compose/envoy.yaml": gateway, "../scripts/compose/envoy-ratelimit.yaml": limited} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not what is printed now: go test ./e2e -run Compose -update (%v)", path, err)
		}
	}
}

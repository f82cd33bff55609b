package parts

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// PrintBootstrap returns what `extauthz envoy bootstrap` prints for a configuration
// (YAML) with flags: the configuration that operators get.
func PrintBootstrap(tb testing.TB, configuration string, flags ...string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "extauthz.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		tb.Fatal(err)
	}
	var out, errOut bytes.Buffer
	cmd := exec.Command(Binary(tb), append([]string{"--config", file, "envoy", "bootstrap"}, flags...)...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=50") // a second by default
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		tb.Fatalf("envoy bootstrap %q: %v: %s", flags, err, &errOut)
	}
	return out.String()
}

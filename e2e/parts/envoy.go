package parts

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Versions returns the Envoys on which tests run: E2E_ENVOYS, or the oldest and the
// newest supported one.
func Versions() []string {
	if v := os.Getenv("E2E_ENVOYS"); v != "" {
		return strings.Fields(v)
	}
	return []string{"1.36.4", "1.40.0"}
}

// EnvoyPath returns where scripts/install-parts.sh puts an Envoy.
func EnvoyPath(version string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "extauthz", "envoy", version, "envoy", "_bin", "envoy")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no Envoy %s: run scripts/install-parts.sh envoy=%s", version, version)
	}
	return path, nil
}

// Envoy is a running gateway.
type Envoy struct{ *process }

// envoyWith returns the path of an Envoy, and of a file with its configuration.
func envoyWith(tb testing.TB, version, configuration string) (path, file string) {
	tb.Helper()
	NotShort(tb)
	path, err := EnvoyPath(version)
	if err != nil {
		Missing(tb, err)
	}
	file = filepath.Join(tb.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path, file
}

// StartEnvoy runs an Envoy with a configuration whose admin listener is on the
// given port, and waits until it is ready.
func StartEnvoy(tb testing.TB, version, configuration string, adminPort int) *Envoy {
	tb.Helper()
	path, file := envoyWith(tb, version, configuration)
	p := start(tb, "envoy", nil, path, "-c", file, "--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warn")
	p.await(fmt.Sprintf("http://127.0.0.1:%d/ready", adminPort))
	tb.Cleanup(http.DefaultClient.CloseIdleConnections)
	return &Envoy{p}
}

// ValidateEnvoy lets an Envoy validate a configuration without running it.
func ValidateEnvoy(tb testing.TB, version, configuration string) error {
	tb.Helper()
	path, file := envoyWith(tb, version, configuration)
	if said, err := exec.Command(path, "--mode", "validate", "-c", file, "--log-level", "error").CombinedOutput(); err != nil {
		return fmt.Errorf("envoy %s: %w: %s", version, err, said)
	}
	return nil
}

// NotShort skips a test of real programs, which takes long, with -short. It does not if CI
// is set: there -short selects the short form of a suite, and nothing is skipped.
func NotShort(tb testing.TB) {
	tb.Helper()
	if testing.Short() && os.Getenv("CI") == "" {
		tb.Skip("-short: without other programs")
	}
}

// Missing skips a test because a program is missing; if CI is set, it fails the test.
func Missing(tb testing.TB, err error) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatal(err)
	}
	tb.Skip(err)
}

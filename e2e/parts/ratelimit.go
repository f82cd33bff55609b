package parts

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// buildRateLimit compiles Envoy's rate-limit service once in each test process.
var buildRateLimit = sync.OnceValues(func() (string, error) {
	if isolated() {
		return filepath.Join(os.Getenv(isolatedVariable), "ratelimit"), nil
	}
	path := filepath.Join(buildDir, "ratelimit")
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	mod := filepath.Join(string(root[:len(root)-1]), "tools", "ratelimit", "go.mod")
	out, err := exec.Command("go", "build", "-modfile="+mod, "-o", path, "github.com/envoyproxy/ratelimit/src/service_cmd").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// StartRateLimit runs Envoy's rate-limit service on a Redis, with a
// configuration for one domain, and returns its gRPC port.
func StartRateLimit(tb testing.TB, redis *Redis, configuration string) (port int) {
	tb.Helper()
	program, err := buildRateLimit()
	if err != nil {
		tb.Fatal(err)
	}
	root := tb.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "rl", "config"), 0o700); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "rl", "config", "config.yaml"), []byte(configuration), 0o600); err != nil {
		tb.Fatal(err)
	}
	port = freePort(tb)
	runRateLimit(tb, program, redis, port, "RUNTIME_ROOT="+root, "RUNTIME_SUBDIRECTORY=rl", "RUNTIME_WATCH_ROOT=false", "RUNTIME_IGNOREDOTFILES=true")
	return port
}

func runRateLimit(tb testing.TB, program string, redis *Redis, port int, env ...string) {
	tb.Helper()
	http := freePort(tb)
	p := start(tb, "ratelimit", append([]string{
		"USE_STATSD=false", "LOG_LEVEL=warn", "REDIS_SOCKET_TYPE=tcp", "REDIS_URL=" + redis.Addr(), "HOST=127.0.0.1", "GRPC_HOST=127.0.0.1", "DEBUG_HOST=127.0.0.1",
		fmt.Sprint("PORT=", http), fmt.Sprint("GRPC_PORT=", port), fmt.Sprint("DEBUG_PORT=", freePort(tb)),
	}, env...), program)
	p.await(fmt.Sprintf("http://127.0.0.1:%d/healthcheck", http))
}

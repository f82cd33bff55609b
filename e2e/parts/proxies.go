package parts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The versions that scripts/install-parts.sh builds.
const (
	TraefikVersion = "3.7.13"
	CaddyVersion   = "2.11.9" // in addition to Debian's
)

// StartNginx runs an nginx with a configuration that listens on a port.
func StartNginx(tb testing.TB, configuration string, port int) {
	tb.Helper()
	dir := tb.TempDir()
	paths := ""
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		paths += fmt.Sprintf("\n    %s_temp_path %s;", name, filepath.Join(dir, name))
	}
	configuration = strings.Replace(configuration, "http {", "http {"+paths, 1)
	startProxy(tb, "nginx", installed(tb, "nginx"), "nginx.conf", configuration, port, func(file string) []string {
		return []string{"-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", file, "-g", "daemon off; pid " + filepath.Join(dir, "pid") + ";"}
	})
}

// StartCaddy runs a Caddy with a Caddyfile that listens on a port.
func StartCaddy(tb testing.TB, configuration string, port int) {
	tb.Helper()
	startCaddy(tb, installed(tb, "caddy"), configuration, port)
}

// StartNewCaddy is StartCaddy with the newer Caddy that install-parts.sh builds.
func StartNewCaddy(tb testing.TB, configuration string, port int) {
	tb.Helper()
	startCaddy(tb, built(tb, "caddy", CaddyVersion), configuration, port)
}

func startCaddy(tb testing.TB, program, configuration string, port int) {
	tb.Helper()
	startProxy(tb, "caddy", program, "Caddyfile", configuration, port, func(file string) []string {
		return []string{"run", "--config", file, "--adapter", "caddyfile"}
	})
}

// StartTraefik runs a Traefik with its two configurations.
func StartTraefik(tb testing.TB, static, dynamic string, port int) {
	tb.Helper()
	program := built(tb, "traefik", TraefikVersion)
	file := filepath.Join(tb.TempDir(), "dynamic.yaml")
	if err := os.WriteFile(file, []byte(dynamic), 0o600); err != nil {
		tb.Fatal(err)
	}
	startProxy(tb, "traefik", program, "traefik.yaml", strings.Replace(static, "filename: traefik-dynamic.yaml", "filename: "+file, 1), port, func(file string) []string {
		return []string{"--configfile=" + file}
	})
}

// built returns a program that scripts/install-parts.sh has compiled.
func built(tb testing.TB, name, version string) string {
	tb.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		tb.Fatal(err)
	}
	program := filepath.Join(cache, "extauthz", name, version, name)
	if _, err := os.Stat(program); err != nil {
		Missing(tb, fmt.Errorf("no %s %s: run scripts/install-parts.sh %[1]s=%[2]s", name, version))
	}
	return program
}

func installed(tb testing.TB, name string) string {
	tb.Helper()
	program, err := exec.LookPath(name)
	if err != nil { // Debian installs nginx where only root's PATH leads
		program, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		Missing(tb, fmt.Errorf("no %s: run scripts/install-parts.sh %s", name, map[bool]string{true: name, false: "backends"}[name == "nginx" || name == "caddy"]))
	}
	return program
}

func startProxy(tb testing.TB, name, program, file, configuration string, port int, args func(file string) []string) {
	tb.Helper()
	dir := tb.TempDir()
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte(configuration), 0o600); err != nil {
		tb.Fatal(err)
	}
	p := start(tb, name, []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}, program, args(path)...)
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := Eventually(ctx, func() error {
		select {
		case <-p.done:
			return Final(fmt.Errorf("it ended: %w", p.err))
		default:
		}
		res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/orders", port))
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusNotFound { // Traefik listens before it has loaded its routes
			return errors.New("no route yet")
		}
		return nil
	}); err != nil {
		tb.Fatalf("%s is not ready: %v", name, err)
	}
}

package api

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

func TestMain(m *testing.M) {
	code := m.Run()
	parts.RemoveBuild()
	os.Exit(code)
}

// TestDocument_HoldsForOtherTools runs each of the tools on one service.
func TestDocument_HoldsForOtherTools(t *testing.T) {
	tools := parts.APITools(t)
	s := parts.StartService(t, "")
	key, err := os.ReadFile(filepath.Join(s.DataDir, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	server, dir := "http://"+s.Admin, t.TempDir()
	for _, name := range []string{"openapi.json", "openapi.yaml", "openapi-3.0.json"} {
		fetch(t, server+"/"+name, filepath.Join(dir, name))
	}
	run := func(t *testing.T, dir string, env []string, program string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(tools, "venv/bin")+":"+os.Getenv("PATH"), // node is there
			"NO_PROXY=*", "no_proxy=*", "NO_COLOR=1", "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true")
		cmd.Env = append(cmd.Env, env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", filepath.Base(program), err, strings.ReplaceAll(string(out), strings.TrimSpace(string(key)), "KEY"))
		}
	}
	fixture := func(name string) string {
		path, err := filepath.Abs(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("Redocly", func(t *testing.T) {
		for _, name := range []string{"openapi.json", "openapi.yaml", "openapi-3.0.json"} {
			run(t, dir, nil, filepath.Join(tools, "node_modules/.bin/redocly"), "lint", "--config", fixture("redocly.yaml"), name)
		}
	})
	t.Run("Spectral", func(t *testing.T) {
		run(t, dir, nil, filepath.Join(tools, "node_modules/.bin/spectral"), "lint", "--fail-severity", "warn", "--ruleset", fixture("spectral.yaml"), "openapi.json", "openapi-3.0.json")
	})
	t.Run("GeneratedClient", func(t *testing.T) {
		client := t.TempDir()
		run(t, client, nil, filepath.Join(tools, "oapi-codegen"), "-generate", "types,client", "-package", "main", "-o", "client.go", filepath.Join(dir, "openapi.json"))
		for from, to := range map[string]string{fixture("use_client.go.txt"): "main.go", "../../tools/api/go.mod": "go.mod", "../../tools/api/go.sum": "go.sum"} {
			text, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(client, to), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		run(t, client, []string{"KEY=" + strings.TrimSpace(string(key))}, "go", "run", ".", server)
	})
	// Every request that violates the document is refused, and the document describes
	// every answer. The other direction is left out: a document can't express that an
	// expiry is in the future, so a request that conforms to it may still be refused with
	// 422.
	t.Run("Schemathesis", func(t *testing.T) {
		run(t, dir, nil, filepath.Join(tools, "venv/bin/schemathesis"), "--config-file", fixture("schemathesis.toml"), "run", "openapi.json", "--url", server, "-H", "Authorization: Bearer "+strings.TrimSpace(string(key)),
			"--checks", "all", "--exclude-checks", "positive_data_acceptance", "--phases", "examples,coverage,fuzzing", "--max-examples", "3", "--seed", "1",
			"--no-shrink", "--continue-on-failure", "--warnings", "off")
		// An administrator can end itself. If the tool had done so, its later calls would
		// have been answered with 401, and would have tested nothing.
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server+"/v1/caller", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("after the run the key is answered with %d, %v", res.StatusCode, err)
		}
	})
}

func fetch(t *testing.T, url, file string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v", url, res.StatusCode, err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

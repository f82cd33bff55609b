package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"extauthz/e2e/parts"
)

// placed inserts a part of an Envoy configuration at its place in a whole one: filters
// and clusters replace those of the same name, fields are set in the connection manager.
func placed(t *testing.T, whole, part string) string {
	t.Helper()
	var w map[string]any
	var p any
	for text, into := range map[string]any{whole: &w, part: &p} {
		if err := yaml.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	resources := w["static_resources"].(map[string]any)
	listener := resources["listeners"].([]any)[0].(map[string]any)
	manager := listener["filter_chains"].([]any)[0].(map[string]any)["filters"].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
	switch p := p.(type) {
	case map[string]any:
		for name, value := range p {
			manager[name] = value
		}
	case []any:
		for _, one := range p {
			one := one.(map[string]any)
			in := resources["clusters"].([]any)
			if _, filter := one["typed_config"]; filter {
				in = manager["http_filters"].([]any)
			}
			found := false
			for i, other := range in {
				if other.(map[string]any)["name"] == one["name"] {
					in[i], found = one, true
				}
			}
			if !found {
				t.Errorf("there is no %s in what we print", one["name"])
			}
		}
	}
	text, err := yaml.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocuments_EnvoyConfigurationsLoad loads each block of YAML for Envoy.
func TestDocuments_EnvoyConfigurationsLoad(t *testing.T) {
	whole := parts.PrintBootstrap(t, "", "--listen", "127.0.0.1:10000", "--upstream", "127.0.0.1:8080", "--service", "127.0.0.1:9001")
	onEach(t, func(t *testing.T, version string) {
		blocks := 0
		for _, document := range []string{"../docs/envoy.md", "../docs/tracing.md"} {
			for _, block := range parts.Fenced(t, document, "yaml") {
				if !strings.Contains(block, "envoy.") && !strings.Contains(block, "normalize_path") {
					continue // the service's own configuration
				}
				blocks++
				configuration := placed(t, whole, block)
				if strings.Contains(block, "otel-collector") {
					configuration = strings.Replace(configuration, "otel-collector", "upstream", 1)
				}
				if err := parts.ValidateEnvoy(t, version, configuration); err != nil {
					t.Errorf("%s: %v\n%s", document, err, block)
				}
			}
		}
		if blocks < 7 {
			t.Errorf("only %d blocks were found", blocks)
		}
	})
}

// TestAccessLog_NamesCallerAndReason tests the two formats of docs/envoy.md.
func TestAccessLog_NamesCallerAndReason(t *testing.T) {
	var logs []string
	for _, block := range parts.Fenced(t, "../docs/envoy.md", "yaml") {
		if strings.HasPrefix(block, "access_log:") {
			logs = append(logs, block)
		}
	}
	if len(logs) != 2 {
		t.Fatalf("%d formats", len(logs))
	}
	onEach(t, func(t *testing.T, version string) {
		dir := t.TempDir()
		s := &stack{Service: parts.StartService(t, `{default_route: map, routes: [{match: "/shadow/", resource: shadowed, mode: shadow, until: 2999-01-01}]}`), t: t, upstream: parts.StartUpstream(t)}
		listen, admin := freePort(t), freePort(t)
		s.gateway = fmt.Sprintf("127.0.0.1:%d", listen)
		configuration := s.Must("envoy", "bootstrap", "--upstream", s.upstream.Address, "--listen", s.gateway, "--admin", fmt.Sprintf("127.0.0.1:%d", admin))
		toFile := func(format, name string) string {
			return strings.NewReplacer("envoy.access_loggers.stdout", "envoy.access_loggers.file", "stream.v3.StdoutAccessLog", "file.v3.FileAccessLog",
				"      log_format:", "      path: "+filepath.Join(dir, name)+"\n      log_format:").Replace(format)
		}
		both := toFile(logs[0], "json") + strings.TrimPrefix(toFile(logs[1], "text"), "access_log:\n")
		parts.StartEnvoy(t, version, placed(t, configuration, both), admin)

		k := s.NewKey("--scope", "orders:read", "--user", "Åsa reason=granted")
		s.allowed(s.ask("GET", "/orders?api_key=abc", "x-api-key: "+k.Key))
		s.denied(s.ask("GET", "/reports", "x-api-key: "+k.Key), 403, "scope_missing")
		s.denied(s.ask("GET", "/orders", "x-api-key: "+k.Key[:len(k.Key)-1]), 401, "malformed_key")
		s.allowed(s.ask("GET", "/shadow/a", "x-api-key: "+k.Key))

		type line struct {
			Path, Details, Reason, Shadow, Cache string
			Status                               int
			KeyID                                string `json:"key_id"`
			KeyPrefix                            string `json:"key_prefix"`
			UserID                               string `json:"user_id"`
			Layer                                string `json:"cache_layer"`
		}
		const user = "%C3%85sa reason=granted"
		want := []line{
			{Path: "/orders", Details: "via_upstream", Reason: "granted", Status: 200, KeyID: k.ID, KeyPrefix: k.Prefix, UserID: user},
			{Path: "/reports", Details: "ext_authz_denied", Reason: "scope_missing", Status: 403, KeyID: k.ID, KeyPrefix: k.Prefix, UserID: user},
			{Path: "/orders", Details: "ext_authz_denied", Reason: "malformed_key", Status: 401},
			{Path: "/shadow/a", Details: "via_upstream", Reason: "granted", Shadow: "scope_missing", Status: 200, KeyID: k.ID, KeyPrefix: k.Prefix, UserID: user},
		}
		var written []string
		eventually(t, func() error {
			if written = strings.Split(strings.TrimSpace(readFile(t, filepath.Join(dir, "json"))), "\n"); len(written) != len(want) {
				return fmt.Errorf("%d lines", len(written))
			}
			return nil
		})
		for i, text := range written {
			var got line
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatal(err)
			}
			looked := got.KeyID != ""
			if (got.Cache != "") != looked || (got.Layer != "") != looked {
				t.Errorf("cache %q of %q: %s", got.Cache, got.Layer, text)
			}
			got.Cache, got.Layer = "", ""
			if i < len(want) && got != want[i] {
				t.Errorf("got %+v, want %+v", got, want[i])
			}
		}
		var texts string
		eventually(t, func() error {
			texts = readFile(t, filepath.Join(dir, "text"))
			if strings.Count(texts, "\n") != len(want) {
				return fmt.Errorf("lines: %s", texts)
			}
			return nil
		})
		granted := regexp.MustCompile(`(?m)^\S+ GET /orders 200 - via_upstream \d+ms id=\S+ reason=granted cache=(HIT|MISS) key=` + k.Prefix + ` user=` + user + `$`)
		refused := regexp.MustCompile(`(?m)^\S+ GET /orders 401 UAEX ext_authz_denied \d+ms id=\S+ reason=malformed_key cache=- key=- user=-$`)
		if !granted.MatchString(texts) || !refused.MatchString(texts) {
			t.Errorf("got %s", texts)
		}
		for _, secret := range []string{k.Key[len(k.Prefix)+1:], "api_key"} {
			if strings.Contains(texts+strings.Join(written, ""), secret) {
				t.Error("a log holds a key or a query")
			}
		}
	})
}

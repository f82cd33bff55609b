package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// digestOf returns the SHA-256 of a service's configuration file.
func digestOf(t *testing.T, s *parts.Service) string {
	t.Helper()
	text, err := os.ReadFile(s.Configuration)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

// replicas runs `doctor replicas` on a service.
func replicas(t *testing.T, s *parts.Service, healthy bool, flags ...string) []examined {
	t.Helper()
	return doctor(t, s, healthy, append([]string{"replicas", "--ops", "http://" + s.Ops, "--grpc", s.GRPC}, flags...)...)
}

// TestDoctorReplicas_ChecksDecisions: with keys in the places that each configuration
// names.
func TestDoctorReplicas_ChecksDecisions(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	for name, of := range map[string]struct{ configuration, state, word string }{
		"headers":     {"", "ok", "an unknown key: denied (unknown_key); no key: denied (missing_key)"},
		"other keys":  {"keys: {brand: acme, environments: [prod]}", "ok", "an unknown key: denied (unknown_key)"},
		"basic":       {"credentials: [{header: authorization, scheme: Basic}]", "ok", "an unknown key: denied (unknown_key)"},
		"query":       {"credentials: [{query: api_key}]", "ok", "an unknown key: denied (unknown_key)"},
		"cookie":      {"credentials: [{cookie: session}]", "ok", "an unknown key: denied (unknown_key)"},
		"rules alone": {"routes: [{match: /orders, resource: orders}]", "ok", "an unknown key: denied (unknown_key); no key: denied (missing_key)"},
		"statuses":    {"denials: {overrides: {invalid_key: {status: 404}, missing_key: {status: 403}}}", "ok", "an unknown key: denied (unknown_key)"},
		"shadow mode": {"routes: [{match: /, resource: all, mode: shadow, until: 2099-01-31}]", "ok", "no key: allowed, since shadow mode is on"},
		"no keys":     {"routes: [{match: /, anonymous: true}]", "warning", "an unknown key: allowed (anonymous)"},
	} {
		t.Run(name, func(t *testing.T) {
			s := parts.StartService(t, of.configuration)
			results := replicas(t, s, true, "--config-digest", digestOf(t, s))
			wantExamined(t, results, "replica "+s.Ops, "ok", "it is serving")
			wantExamined(t, results, "checks at "+s.GRPC, of.state, of.word)
		})
	}
}

// TestDoctorReplicas_AKeyThatExists: one that is allowed, and one that is denied.
func TestDoctorReplicas_AKeyThatExists(t *testing.T) {
	s := parts.StartService(t, "")
	file := filepath.Join(t.TempDir(), "api.key")
	if err := os.WriteFile(file, []byte(s.NewKey("--scope", "orders:read").Key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantExamined(t, replicas(t, s, true, "--key-file", file, "--request", "GET https://api.example.com/orders/1"), "checks at "+s.GRPC, "ok", "the given key: allowed (granted)")
	wantExamined(t, replicas(t, s, false, "--key-file", file, "--request", "DELETE https://api.example.com/orders/1"), "checks at "+s.GRPC, "failed", "the given key: denied (scope_missing)")
}

// TestDoctorReplicas_ARefusedReloadIsAFailure: reported as soon as the replica has read
// the configuration, whatever the fault.
func TestDoctorReplicas_ARefusedReloadIsAFailure(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	s := parts.StartService(t, "log: {level: info}")
	good := digestOf(t, s)
	for _, faulty := range []string{"routes: [{match: 'GET orders{', resource: orders}]", "credentials: [{header: 'a b'}]", "routes: ["} {
		if err := os.WriteFile(s.Configuration, []byte(faulty), 0o600); err != nil {
			t.Fatal(err)
		}
		results := replicas(t, s, false, "--config-digest", digestOf(t, s), "--wait", "20s")
		wantExamined(t, results, "replica "+s.Ops, "ok", "it is serving")
		wantExamined(t, results, "replica "+s.Ops+": configuration_refused", "failed", "")
	}
	// The log contains the refusals, which the fixture's check of the log would treat as
	// errors.
	if err := os.WriteFile(s.Configuration, []byte("log: {level: info}"), 0o600); err != nil {
		t.Fatal(err)
	}
	replicas(t, s, true, "--config-digest", good, "--wait", "20s")
	wantExamined(t, replicas(t, s, false, "--config-digest", strings.Repeat("0", 64)), "replica "+s.Ops, "failed", "it has not read the configuration of this release")
}

// TestDoctorReplicas_SpeaksTLSAsGatewaysDo.
func TestDoctorReplicas_SpeaksTLSAsGatewaysDo(t *testing.T) {
	a := parts.NewAuthority(t)
	server, gateway, other := a.Issue(t.TempDir(), "extauthz.example.com"), a.Issue(t.TempDir(), "gateway.example.com"), a.Issue(t.TempDir(), "other.example.com")
	s := parts.StartService(t, fmt.Sprintf(`grpc: {tls: {cert_file: %q, key_file: %q, client_ca_file: %q, allowed_sans: [gateway.example.com]}}`, server.CertFile, server.KeyFile, a.CAFile))
	at := "checks at " + s.GRPC
	shown := []string{"--tls-cert", gateway.CertFile, "--tls-key", gateway.KeyFile}
	wantExamined(t, replicas(t, s, true, append(shown, "--tls-ca", a.CAFile, "--tls-name", "extauthz.example.com")...), at, "ok", "denied (unknown_key)")
	wantExamined(t, replicas(t, s, true, append(shown, "--tls-ca", server.CertFile)...), at, "ok", "denied (unknown_key)")
	wantExamined(t, replicas(t, s, false, append(shown, "--tls-ca", gateway.CertFile)...), at, "failed", "no answer")
	wantExamined(t, replicas(t, s, false, append(shown, "--tls-ca", a.CAFile, "--tls-name", "elsewhere.example.com")...), at, "failed", "no answer")
	for _, wrong := range [][]string{nil, {"--tls-ca", a.CAFile}, {"--tls-ca", a.CAFile, "--tls-cert", other.CertFile, "--tls-key", other.KeyFile}} {
		for _, r := range replicas(t, s, false, wrong...) {
			if r.Name == at && (r.State != "failed" || !strings.Contains(r.Remedy, "--tls-ca")) {
				t.Errorf("%v: %+v", wrong, r)
			}
		}
	}
}

// TestDoctorReplicas_ReportsWhatDoesNotAnswer.
func TestDoctorReplicas_ReportsWhatDoesNotAnswer(t *testing.T) {
	s := parts.StartService(t, "")
	unused := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	wantExamined(t, replicas(t, s, false, "--ops", "http://"+unused), "replica "+unused, "failed", "/readyz is not answered: ")
	wantExamined(t, replicas(t, s, false, "--grpc", unused), "checks at "+unused, "failed", "an unknown key: no answer")
	wantExamined(t, replicas(t, s, false, "--grpc", "extauthz.invalid:9001"), "extauthz.invalid:9001", "failed", "no replica has this name in the DNS")
	wantExamined(t, replicas(t, s, false, "--grpc", s.Ops), "checks at "+s.Ops, "failed", "an unknown key: no answer")
	wantExamined(t, replicas(t, s, false, "--ops", "http://"+s.Admin), "replica "+s.Admin, "failed", "this is no extauthz")
}

package e2e

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// TestRecord_HostileValuesAreContained: whatever was written into the database, the
// service sends no header or byte that Envoy refuses or that an upstream reads as another
// header. Envoy checks it (validate_mutations).
func TestRecord_HostileValuesAreContained(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres and Envoy")
	}
	dsn := parts.StartPostgres(t).NewDatabase(t)
	service := parts.StartService(t, fmt.Sprintf("database: {driver: postgres, dsn: %q}\nidentity: {metadata_headers: [tier]}", dsn))
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	hostile := []string{"a\r\nx-auth-admin: yes", "\x01\x7f", "100% \u00fc\u2028", strings.Repeat("x", 8<<10), strings.Repeat("\u00fc", 8<<10), " ", "a\n\n"}
	keys := parts.SeedKeys(t, dsn, len(hostile))
	for i, text := range hostile {
		prefix := keys[i][:strings.LastIndexByte(keys[i], '_')]
		meta := strings.NewReplacer("\r", `\r`, "\n", `\n`, "\x01", `\u0001`).Replace(text)
		if _, err := db.Exec("UPDATE api_keys SET name = $1, user_id = $1, environment = $1, id = $2, metadata = $3 WHERE key_prefix = $4",
			text, fmt.Sprint(text, i), `{"tier":"`+meta+`"}`, prefix); err != nil {
			t.Fatal(err)
		}
	}
	service.Stop() // the service searches for keys that bypassed the triggers at its start
	service.Restart()
	for _, version := range parts.Versions() {
		s := &stack{t: t, Service: service, upstream: parts.StartUpstream(t)}
		s.gateway = startGateway(t, version, service.GRPC, s.upstream.Address, failClosed, failClosed+"\n                      validate_mutations: true")
		for i, text := range hostile {
			a := s.ask("GET", "/orders", "x-api-key: "+keys[i])
			s.allowed(a)
			if strings.Contains(a.body, "x-auth-admin") && !strings.Contains(a.body, "%0Ax-auth-admin") || !strings.Contains(a.body, "x-auth-scopes: orders:read\r\n") {
				t.Errorf("%.20q: the upstream got %.500s", text, a.body)
			}
			s.denied(s.ask("POST", "/orders", "x-api-key: "+keys[i]), 403, "scope_missing")
		}
	}
	service.Stop()
}

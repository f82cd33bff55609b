package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/printer"
	"extauthz/e2e/parts"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares a text with testdata/NAME.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: run with -update if this is meant:\n%s", path, got)
	}
}

// on80 returns what show prints on a terminal of 80 columns.
func on80(t *testing.T, show func(c *cobra.Command) error) string {
	t.Helper()
	return parts.OnTerminal(t, 80, func(tty *os.File) {
		c := &cobra.Command{}
		c.SetOut(tty)
		if err := show(c); err != nil {
			t.Fatal(err)
		}
	})
}

// fromNow returns the time in so many days and a few hours, which the output rounds away.
func fromNow(days int) *time.Time {
	t := time.Now().AddDate(0, 0, days).Add(2 * time.Hour)
	return &t
}

func exampleKeys() []adminapi.Key {
	return []adminapi.Key{
		{ID: "0198c0de-0000-7000-8000-000000000001", Prefix: "ak_live_4fJ9xQ2b", UserID: "alice@example.com", Name: "laptop in the office", Status: "active", Environment: "live",
			Scopes: []string{"invoices/eu/archive:read", "orders:read"}, Roles: []string{"reader"}, ExpiresAt: fromNow(30), CreatedAt: *fromNow(-400), Usage: &adminapi.Usage{Count: 12, LastUsedAt: fromNow(-3)}},
		{ID: "0198c0de-0000-7000-8000-000000000002", Prefix: "ak_live_7gK2yR5c", UserID: "bob", Name: "ci", Status: "unreadable", Environment: "live", CreatedAt: *fromNow(-10), Unreadable: "scopes"},
		{ID: "0198c0de-0000-7000-8000-000000000003", Prefix: "ak_test_1aB3cD5e", UserID: "acme-0198c0de-5f6a", Name: "evil\x1b[2J\nname", Status: "revoked", Environment: "test", Project: "acme", Rate: "100/s",
			Scopes: []string{"*:read"}, ExpiresAt: fromNow(-5), RevokedAt: fromNow(-4), CreatedAt: *fromNow(-365), AllowedCIDRs: []string{"192.0.2.0/24"}},
	}
}

func TestListing_FitsEightyColumns(t *testing.T) {
	g := &globals{color: "never", form: printer.Table}
	for name, show := range map[string]func(c *cobra.Command) error{
		"keys.txt": func(c *cobra.Command) error { return keyListing(g).show(c, g, exampleKeys()) },
		"none.txt": func(c *cobra.Command) error { return keyListing(g).show(c, g, nil) },
		"roles.txt": func(c *cobra.Command) error {
			return roleListing(g).show(c, g, []adminapi.Role{{Name: "reader", UpdatedAt: *fromNow(-3), Scopes: []string{"invoices:read", "orders:read", "reports/eu/archive:read"}, Description: "reads everything that accounting needs"},
				{Name: "a-role-with-quite-a-long-name", UpdatedAt: *fromNow(-300), Unreadable: "scopes: no list"}})
		},
		"audit.txt": func(c *cobra.Command) error {
			return auditListing(g).show(c, g, []adminapi.AuditEntry{
				{At: *fromNow(-4), ActorName: "first administrator", Action: "key.create", Prefix: "ak_live_4fJ9xQ2b", UserID: "alice@example.com",
					Detail: map[string]string{"active": "false -> true", "name": " -> laptop", "environment": " -> live"}},
				{At: *fromNow(-5), ActorName: "ops", Action: "role.delete", Role: "a-role-with-quite-a-long-name-that-goes-on", Detail: map[string]string{"scopes": "orders:read -> "}},
				{At: *fromNow(-800), ActorName: "retention", Action: "purge", Detail: map[string]string{"revoked_keys": "500"}}})
		},
		"odd.txt": func(c *cobra.Command) error {
			key := exampleKeys()[2]
			return faultyKeyListing().show(c, g, faultsOf(&key))
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := on80(t, show)
			for line := range strings.Lines(got) {
				if n := len([]rune(line)) - 1; n > 80 {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			golden(t, name, got)
		})
	}
}

func TestListing_OtherFormsHaveEverything(t *testing.T) {
	keys := exampleKeys()
	printed := func(form printer.Form) string {
		g := &globals{color: "auto", form: form}
		var b bytes.Buffer
		c := &cobra.Command{}
		c.SetOut(&b)
		if err := keyListing(g).show(c, g, keys); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if got := printed(printer.Name); got != "ak_live_4fJ9xQ2b\nak_live_7gK2yR5c\nak_test_1aB3cD5e\n" {
		t.Errorf("names: %q", got)
	}
	wide := printed(printer.Wide)
	for _, want := range []string{keys[0].ID, "invoices/eu/archive:read orders:read reader", "192.0.2.0/24", "100/s", keys[0].ExpiresAt.Local().Format("2006-01-02 15:04:05") + " (in 30d)", "12"} {
		if !strings.Contains(wide, want) {
			t.Errorf("-o wide has no %q:\n%s", want, wide)
		}
	}
	if got := printed(printer.Table); strings.Contains(got, "…") || strings.Contains(got, "\x1b") {
		t.Errorf("what goes to a file is cut or has control characters:\n%s", got)
	}
	if got := printed(printer.YAML); !strings.HasPrefix(got, "- id: 0198c0de-0000-7000-8000-000000000001\n  prefix: ak_live_4fJ9xQ2b\n  user_id: alice@example.com\n") {
		t.Errorf("yaml:\n%s", got)
	}
	if got := printed(printer.JSON); !strings.HasPrefix(got, "[\n  {\n    \"id\": \"0198c0de-0000-7000-8000-000000000001\",\n    \"prefix\": \"ak_live_4fJ9xQ2b\",\n") {
		t.Errorf("json:\n%s", got)
	}
}

func TestChanges_AreReadable(t *testing.T) {
	for want, detail := range map[string]map[string]string{
		"": nil,
		"name=laptop, scopes=a:b c:d, active=false -> true": {"active": "false -> true", "scopes": " -> a:b c:d", "name": " -> laptop"},
		"reason=lost, rate=10/s -> 20/s":                    {"rate": "10/s -> 20/s", "reason": "lost"},
	} {
		if got := changes(detail); got != want {
			t.Errorf("%v: %q, not %q", detail, got, want)
		}
	}
}

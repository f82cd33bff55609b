package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/models"
)

func TestCopyEnd_DatabaseOfAText(t *testing.T) {
	for text, want := range map[string]string{
		"extauthz-data/extauthz.db": models.SQLite, "/var/lib/a b=c.db": models.SQLite, "host.db": models.SQLite,
		"postgres://u:p@h/d": models.Postgres, "postgresql://h/d": models.Postgres, "host=h user=u password=p": models.Postgres, "dbname = d": models.Postgres,
	} {
		e := copyEndpoint{name: "to", dsn: text}
		if c, err := e.config(&globals{}); err != nil || c.Driver != want || c.DSN != text {
			t.Errorf("%s: got %s, %v", text, c.Driver, err)
		}
		file := filepath.Join(t.TempDir(), "dsn")
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		e = copyEndpoint{name: "to", file: file}
		if c, err := e.config(&globals{}); err != nil || c.Driver != want || c.DSN != text {
			t.Errorf("%s in a file: got %s, %v", text, c.Driver, err)
		}
	}
}

// TestMigrateCopy_RefusalsHoldNoPassword: a fault of a data source is reported in one
// line that does not contain its text.
func TestMigrateCopy_RefusalsHoldNoPassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dsn")
	if err := os.WriteFile(file, []byte("postgress://u:geheim@h/d\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "target.db")
	for name, flags := range map[string][]string{
		"another database":  {"--from", "mysql://u:geheim@h/d", "--to", target},
		"a typing error":    {"--from-file", file, "--to", target},
		"no URL":            {"--from", "postgres://u:geheim@h:port/d", "--to", target},
		"no server":         {"--from", "postgres://u:geheim@127.0.0.1:1/d", "--to", target},
		"keywords":          {"--from", "host=127.0.0.1 port=1 user=u password=geheim", "--to", target},
		"both":              {"--from", "postgres://u:geheim@h/d", "--from-file", file, "--to", target},
		"no flag":           {},
		"an empty file":     {"--from-file", empty, "--to", target},
		"no such file":      {"--from", filepath.Join(t.TempDir(), "none.db"), "--to", target},
		"no such text file": {"--from-file", filepath.Join(t.TempDir(), "none"), "--to", target},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			root := newRoot()
			root.SetOut(&out)
			root.SetErr(&out)
			root.SetArgs(append([]string{"migrate", "copy"}, flags...))
			err := root.ExecuteContext(t.Context())
			if err == nil || strings.Contains(err.Error()+out.String(), "geheim") || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, %s", err, out.String())
			}
			if _, err := os.Stat(target); err == nil {
				t.Error("a target was made")
			}
		})
	}
}

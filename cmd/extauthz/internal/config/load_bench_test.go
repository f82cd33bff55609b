package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkLoad_TenThousandRules measures the work that a start and a reload do for a
// large configuration: reading it, finding warnings, and compiling the table.
func BenchmarkLoad_TenThousandRules(b *testing.B) {
	var text strings.Builder
	text.WriteString("routes:\n")
	for i := range 2500 {
		fmt.Fprintf(&text, `  - {match: "GET api-%[2]d.example.com/v1/service-%[1]d/orders/{id}", resource: "orders/{id}"}
  - {match: "POST api-%[2]d.example.com/v1/service-%[1]d/orders", resource: orders}
  - {match: "api-%[2]d.example.com/v1/service-%[1]d/{collection}/{id}/items", resource: items}
  - {match: "/v1/service-%[1]d/static/", anonymous: true}
`, i, i%50)
	}
	path := filepath.Join(b.TempDir(), "extauthz.yaml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c, err := Load(Options{Path: path, Explicit: true})
		if err != nil {
			b.Fatal(err)
		}
		if t, err := c.RouteTable(); err != nil || len(t.Rules()) != 10_000 || len(c.Warnings(time.Now())) != 0 {
			b.Fatal(err, c.Warnings(time.Now())[:1])
		}
	}
}

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"extauthz/authz"
)

// generated compares the part of a page below a mark with want. With -update it writes
// want there instead.
func generated(t *testing.T, page, want string) {
	t.Helper()
	const mark = "<!-- generated: go test ./cmd/extauthz -run TestGenerated -update -->\n"
	path := filepath.Join(root, page)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	written, _, found := strings.Cut(string(text), mark)
	if !found {
		t.Fatalf("%s has no line %q", page, mark)
	}
	want = written + mark + want
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if string(text) != want {
		t.Errorf("%s differs from the code: run go test ./cmd/extauthz -run TestGenerated -update", page)
	}
}

// TestGenerated_ReasonsAreThoseOfTheCode compares docs/reasons.md with the code.
func TestGenerated_ReasonsAreThoseOfTheCode(t *testing.T) {
	var b strings.Builder
	b.WriteString("\n| reason | code | status | title | text for the client |\n|---|---|---|---|---|\n")
	for _, r := range authz.Reasons() {
		fmt.Fprintf(&b, "| `%s` | `%s` | %d | %s | %s |\n", r, r.Code(), r.Status(), r.Title(), r.Detail())
	}
	generated(t, "docs/reasons.md", b.String())
}

// TestGenerated_MetricsAreThoseOfTheCode compares docs/metrics.md with the code.
func TestGenerated_MetricsAreThoseOfTheCode(t *testing.T) {
	metrics := metricsInSource(t)
	if len(metrics) < 35 {
		t.Fatalf("only %d metrics were found", len(metrics))
	}
	alerts := alertsByMetric(t, metrics)
	var b strings.Builder
	b.WriteString("\n| metric | type | labels | | alerts |\n|---|---|---|---|---|\n")
	for _, m := range metrics {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), m.help, strings.Join(alerts[m.name], ", "))
	}
	generated(t, "docs/metrics.md", b.String())
}

type metric struct {
	name, kind, help string
	labels           []string
}

// metricsInSource finds every metric by the literals that define it: prometheus.…Opts,
// and calls such as desc("name", "help", "label") and gauge("name", help, labels).
func metricsInSource(t *testing.T) []metric {
	t.Helper()
	found := map[string]metric{}
	for _, folder := range []string{"authz", "cachesvc", "cmd", "envoy", "inbound", "models"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, m := range metricsOf(file) {
				m.labels = append(m.labels, found[m.name].labels...)
				slices.Sort(m.labels)
				m.labels = slices.Compact(m.labels)
				found[m.name] = m
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var all []metric
	for _, m := range found {
		if m.help == "" || m.kind == "" {
			t.Errorf("%s: type %q, help %q: metricsOf does not understand how it is defined", m.name, m.kind, m.help)
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return all
}

func metricsOf(file *ast.File) (metrics []metric) {
	texts, labels := namedTexts(file), namedLabels(file)
	options := func(e ast.Expr) (metric, bool) {
		c, ok := e.(*ast.CompositeLit)
		if !ok {
			return metric{}, false
		}
		selector, ok := c.Type.(*ast.SelectorExpr)
		if !ok || !strings.HasSuffix(selector.Sel.Name, "Opts") {
			return metric{}, false
		}
		m := metric{kind: strings.ToLower(strings.TrimSuffix(selector.Sel.Name, "Opts"))}
		for _, element := range c.Elts {
			pair, ok := element.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			switch pair.Key.(*ast.Ident).Name {
			case "Name":
				m.name = textOf(pair.Value, texts)
			case "Help":
				m.help = textOf(pair.Value, texts)
			case "ConstLabels":
				m.labels = keysOf(pair.Value, labels)
			}
		}
		return m, strings.HasPrefix(m.name, "extauthz_")
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		if m, ok := options(call.Args[0]); ok {
			if len(call.Args) > 1 {
				m.labels = append(m.labels, keysOf(call.Args[1], labels)...)
			}
			metrics = append(metrics, m)
			return true
		}
		function, ok := call.Fun.(*ast.Ident)
		if !ok || len(call.Args) < 2 {
			return true
		}
		name, help := textOf(call.Args[0], nil), textOf(call.Args[1], texts)
		switch {
		case name == "" || help == "":
		case function.Name == "desc":
			m := metric{name: "extauthz_" + name, kind: kindBySuffix(name), help: help}
			for _, label := range call.Args[2:] {
				m.labels = append(m.labels, textOf(label, texts))
			}
			metrics = append(metrics, m)
		case strings.HasPrefix(name, "extauthz_"):
			m := metric{name: name, kind: kindBySuffix(name), help: help}
			for _, argument := range call.Args[2:] {
				m.labels = append(m.labels, keysOf(argument, labels)...)
			}
			metrics = append(metrics, m)
		}
		return true
	})
	return metrics
}

func kindBySuffix(name string) string {
	if strings.HasSuffix(name, "_total") {
		return "counter"
	}
	return "gauge"
}

// textOf returns the text of a literal, a sum of literals or a constant of the file, else
// "".
func textOf(e ast.Expr, named map[string]ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		if err != nil {
			return ""
		}
		return text
	case *ast.BinaryExpr:
		return textOf(e.X, named) + textOf(e.Y, named)
	case *ast.Ident:
		if value, ok := named[e.Name]; ok {
			return textOf(value, nil)
		}
	}
	return ""
}

// keysOf returns the names in prometheus.Labels{…} or in []string{…}.
func keysOf(e ast.Expr, named map[string]ast.Expr) (keys []string) {
	if name, ok := e.(*ast.Ident); ok && named[name.Name] != nil {
		e = named[name.Name]
	}
	c, ok := e.(*ast.CompositeLit)
	if !ok {
		return nil
	}
	for _, element := range c.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			element = pair.Key
		}
		if text := textOf(element, nil); text != "" {
			keys = append(keys, text)
		}
	}
	return keys
}

// namedTexts returns the constants and variables of a file that hold a literal text.
func namedTexts(file *ast.File) map[string]ast.Expr {
	return literals(file, func(e ast.Expr) bool {
		literal, ok := e.(*ast.BasicLit)
		return ok && literal.Kind == token.STRING
	})
}

// namedLabels returns the variables of a file that hold prometheus.Labels or a list of
// names.
func namedLabels(file *ast.File) map[string]ast.Expr {
	return literals(file, func(e ast.Expr) bool { _, ok := e.(*ast.CompositeLit); return ok })
}

func literals(file *ast.File, wanted func(ast.Expr) bool) map[string]ast.Expr {
	values := map[string]ast.Expr{}
	note := func(name, value ast.Expr) {
		if ident, ok := name.(*ast.Ident); ok && wanted(value) {
			values[ident.Name] = value
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i := range min(len(n.Lhs), len(n.Rhs)) {
				note(n.Lhs[i], n.Rhs[i])
			}
		case *ast.ValueSpec:
			for i := range min(len(n.Names), len(n.Values)) {
				note(n.Names[i], n.Values[i])
			}
		}
		return true
	})
	return values
}

// alertsByMetric returns, for each metric, the alerts whose expression uses it, as links
// to their runbooks.
func alertsByMetric(t *testing.T, metrics []metric) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "helm/extauthz/files/alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	used := map[string][]string{}
	for _, m := range metrics {
		expression := regexp.MustCompile(`\b` + m.name + `(_bucket|_count|_sum)?\b`)
		for _, group := range file.Groups {
			for _, rule := range group.Rules {
				if rule.Alert != "" && expression.MatchString(rule.Expr) {
					used[m.name] = append(used[m.name], fmt.Sprintf("[%s](troubleshooting.md#%s)", rule.Alert, strings.ToLower(rule.Alert)))
				}
			}
		}
	}
	return used
}

// TestDocuments_TheReadmesFiguresAreMeasured: each figure in the README is also on the
// page with the measurement, so a new measurement has to change both.
func TestDocuments_TheReadmesFiguresAreMeasured(t *testing.T) {
	texts := documents(t)
	for _, c := range []struct {
		page, row string // row: an expression whose groups are the figures
		want      string // the text of the README, with %s for each figure
	}{
		{"docs/benchmarks.md", `\| 1,000,000 keys, allow, saturated, uniform \|[^*]*\*\*([0-9.]+) `, "%s of the CPU of an empty grpc-go server"},
		{"docs/benchmarks.md", `\| 1,000,000: 36-byte user, 20-byte name, 3 scopes \| \*\*([0-9]+)\*\*`, "a million keys in %s MiB"},
		{"docs/revocation-measured.md", `\| nothing \| ([0-9,]+) \| 0 \| 0 \| ([0-9.]+ ms) \| ([0-9.]+ ms) \|`, "after %s revocations|%s (p99)|%s (maximum)"},
	} {
		found := regexp.MustCompile(c.row).FindStringSubmatch(texts[c.page])
		if found == nil {
			t.Errorf("%s has no row %s", c.page, c.row)
			continue
		}
		for i, want := range strings.Split(c.want, "|") {
			if want = strings.Replace(want, "%s", found[i+1], 1); !strings.Contains(texts["README.md"], want) {
				t.Errorf("README.md does not say %q, as measured in %s", want, c.page)
			}
		}
	}
}

package chart

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"extauthz/e2e/parts"
)

const (
	chartDir  = "../../helm/extauthz"
	goldenDir = "../testdata/chart"
	namespace = "extauthz"
)

var update = flag.Bool("update", false, "write what is rendered and made into the files that it is compared with")

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	parts.RemoveBuild()
	os.Exit(code)
}

// scenarios returns the names of the documented installations.
func scenarios(tb testing.TB) (names []string) {
	tb.Helper()
	files, err := filepath.Glob(chartDir + "/ci/*-values.yaml")
	if err != nil || len(files) < 10 {
		tb.Fatalf("%d scenarios: %v", len(files), err)
	}
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), "-values.yaml"))
	}
	return names
}

func valuesFile(scenario string) string { return chartDir + "/ci/" + scenario + "-values.yaml" }

// render renders a chart as `helm install extauthz -n extauthz` would.
func render(tb testing.TB, chart string, args ...string) string {
	tb.Helper()
	out, errOut, err := parts.Helm(tb, "", append([]string{"template", "extauthz", chart, "-n", namespace}, args...)...)
	if err != nil {
		tb.Fatalf("helm template %s: %v: %s", strings.Join(args, " "), err, errOut)
	}
	return out
}

// object is a Kubernetes object, decoded from YAML.
type object map[string]any

func (o object) kind() string { return o.text("kind") }
func (o object) name() string { return o.text("metadata", "name") }

// at returns the value at a path of field names; nil if it does not exist.
func (o object) at(path ...string) any {
	var v any = map[string]any(o)
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func (o object) text(path ...string) string {
	s, _ := o.at(path...).(string)
	return s
}

// items returns a list of objects within an object.
func (o object) items(path ...string) (all []object) {
	list, _ := o.at(path...).([]any)
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			all = append(all, m)
		}
	}
	return all
}

func objects(tb testing.TB, documents string) (all []object) {
	tb.Helper()
	for d := yaml.NewDecoder(strings.NewReader(documents)); ; {
		var o map[string]any
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			tb.Fatal(err)
		}
		if o != nil {
			all = append(all, o)
		}
	}
}

// find returns the object of a kind and name.
func find(tb testing.TB, all []object, kind, name string) object {
	tb.Helper()
	for _, o := range all {
		if o.kind() == kind && o.name() == name {
			return o
		}
	}
	tb.Fatalf("no %s %s was rendered", kind, name)
	return nil
}

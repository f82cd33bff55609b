package chart

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// randomValue matches the value of a Secret that the chart makes, which differs each
// time.
var randomValue = regexp.MustCompile(`(?m)^(  (?:admin\.key|pepper|sealing\.key|database\.password|database\.dsn|redis\.password): )[A-Za-z0-9+/=]{40,}$`)

// TestScenarios_RenderAsBefore: the golden file of each documented installation shows the
// effect of a change of the chart (-update writes it).
func TestScenarios_RenderAsBefore(t *testing.T) {
	for _, scenario := range scenarios(t) {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			got := randomValue.ReplaceAllString(render(t, chartDir, "-f", valuesFile(scenario)), "${1}RANDOM")
			for name, indent := range map[string]string{"alerts.yaml": "  ", "dashboard.json": "    "} { // they are tested elsewhere
				got = strings.ReplaceAll(got, indented(t, chartDir+"/files/"+name, indent), indent+"# files/"+name+"\n")
			}
			golden(t, goldenDir+"/"+scenario+".yaml", got)
		})
	}
}

// indented returns a file as a template indents it in an object.
func indented(t *testing.T, path, indent string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return indent + strings.ReplaceAll(string(text), "\n", "\n"+indent)
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	file := filepath.Join(t.TempDir(), "got")
	if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
		t.Fatal(err)
	}
	diff, _ := exec.Command("diff", "-u", path, file).CombinedOutput() // exit status 1: they differ
	t.Errorf("%s is not what is rendered (go test ./e2e/chart -update writes it):\n%.4000s", path, diff)
}

// TestScenarios_AreValidInKubernetes validates strictly, by the schemas of the oldest and
// the newest supported release, and those of the custom kinds.
func TestScenarios_AreValidInKubernetes(t *testing.T) {
	custom := customSchemas(t)
	rendered := t.TempDir()
	for _, scenario := range scenarios(t) {
		if err := os.WriteFile(rendered+"/"+scenario+".yaml", []byte(render(t, chartDir, "-f", valuesFile(scenario))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conforms(t, rendered, custom)
}

// customSchemas writes a JSON schema for each kind that the definitions of custom
// kinds describe, and returns their folder.
func customSchemas(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(parts.ChartPart(t, "custom.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, o := range objects(t, string(text)) {
		if o.kind() != "CustomResourceDefinition" {
			continue
		}
		group, _, _ := strings.Cut(o.text("spec", "group"), ".")
		for _, v := range o.items("spec", "versions") {
			schema, ok := v.at("schema", "openAPIV3Schema").(map[string]any)
			if !ok {
				continue
			}
			properties, _ := schema["properties"].(map[string]any)
			for _, name := range []string{"apiVersion", "kind", "metadata"} { // some definitions leave out what every object has
				properties[name] = map[string]any{}
			}
			strict(schema)
			text, err := json.Marshal(schema)
			if err != nil {
				t.Fatal(err)
			}
			name := strings.ToLower(o.text("spec", "names", "kind")) + "-" + group + "-" + v.text("name") + ".json"
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// strict makes a schema refuse unknown fields, as the API does on request, and removes
// Kubernetes' own keywords from it.
func strict(schema map[string]any) {
	properties, _ := schema["properties"].(map[string]any)
	if free, _ := schema["x-kubernetes-preserve-unknown-fields"].(bool); len(properties) > 0 && !free && schema["additionalProperties"] == nil {
		schema["additionalProperties"] = false
	}
	if any, _ := schema["x-kubernetes-int-or-string"].(bool); any {
		delete(schema, "type")
	}
	for _, p := range properties {
		if p, ok := p.(map[string]any); ok {
			strict(p)
		}
	}
	for _, name := range []string{"items", "additionalProperties"} {
		if p, ok := schema[name].(map[string]any); ok {
			strict(p)
		}
	}
}

// TestChart_LintAndItsOwnTestsPass runs helm lint for each scenario, and helm-unittest
// for the suites in the chart's folder.
func TestChart_LintAndItsOwnTestsPass(t *testing.T) {
	for _, scenario := range scenarios(t) {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			out, errOut, err := parts.Helm(t, "", "lint", "--strict", chartDir, "-f", valuesFile(scenario))
			if err != nil || strings.Contains(errOut, "funcMap fail") {
				t.Errorf("helm lint: %v\n%s%s", err, out, errOut)
			}
		})
	}
	t.Run("unittest", func(t *testing.T) {
		t.Parallel()
		said, err := exec.Command(parts.ChartPart(t, "helm-unittest"), chartDir).CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, said)
		}
	})
}

// undocumented matches a row of README.md whose last cell is empty.
var undocumented = regexp.MustCompile(`(?m)^\| [A-Za-z.]+ \|.*\|  \|$`)

// TestValues_AreDocumented: README.md is what helm-docs makes of the comments in
// values.yaml, every value has a comment, and the schema has each value and no other.
func TestValues_AreDocumented(t *testing.T) {
	made := filepath.Join(t.TempDir(), "extauthz")
	if err := os.CopyFS(made, os.DirFS(chartDir)); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(parts.ChartPart(t, "helm-docs"), "--chart-search-root", made, "--sort-values-order", "file").CombinedOutput()
	if err != nil || strings.Contains(string(said), "level=warning") {
		t.Fatalf("helm-docs: %v\n%s", err, said)
	}
	readme, err := os.ReadFile(made + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range undocumented.FindAllString(string(readme), -1) {
		t.Errorf("no comment: %s", row)
	}
	golden(t, chartDir+"/README.md", string(readme))
}

// TestSchema_IsTheServicesOwn: values under config are validated by the service's schema,
// and no level of the values accepts an unknown name.
func TestSchema_IsTheServicesOwn(t *testing.T) {
	text, err := os.ReadFile(chartDir + "/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	said, errOut, err := parts.NewPod(t).Run("config", "schema")
	if err != nil {
		t.Fatalf("%v: %s", err, errOut)
	}
	var own map[string]any
	if err := json.Unmarshal([]byte(said), &own); err != nil {
		t.Fatal(err)
	}
	delete(own, "$schema")
	schema["$defs"] = map[string]any{"config": own}
	made, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, chartDir+"/values.schema.json", string(made)+"\n")
	closed(t, "values", schema)
}

// closed fails if a schema with named properties accepts others too.
func closed(t *testing.T, path string, schema map[string]any) {
	t.Helper()
	properties, ok := schema["properties"].(map[string]any)
	if ok && schema["additionalProperties"] != false && path != "values.global" { // other charts use it too
		t.Errorf("%s takes unknown names", path)
	}
	for name, p := range properties {
		if p, ok := p.(map[string]any); ok {
			closed(t, path+"."+name, p)
		}
	}
}

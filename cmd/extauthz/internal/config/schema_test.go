package config

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// violations checks a value against that part of JSON Schema that Schema uses.
func violations(s map[string]any, v any, at string) []string {
	var found []string
	bad := func(format string, args ...any) { found = append(found, at+": "+fmt.Sprintf(format, args...)) }
	switch v := v.(type) {
	case map[string]any:
		if s["type"] != "object" {
			bad("is an object")
			return found
		}
		properties, _ := s["properties"].(map[string]any)
		names, _ := s["propertyNames"].(map[string]any)
		for name, value := range v {
			p, ok := properties[name].(map[string]any)
			if !ok {
				p, ok = s["additionalProperties"].(map[string]any)
			}
			if !ok && s["additionalProperties"] != false {
				continue // any name is allowed
			}
			if enum, limited := names["enum"].([]any); !ok || limited && !slices.Contains(enum, any(name)) {
				bad("unknown %s", name)
				continue
			}
			found = append(found, violations(p, value, at+"."+name)...)
		}
	case []any:
		items, ok := s["items"].(map[string]any)
		if !ok {
			bad("is a list")
			return found
		}
		for i, value := range v {
			found = append(found, violations(items, value, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case string:
		pattern, _ := s["pattern"].(string)
		enum, limited := s["enum"].([]any)
		if s["type"] != "string" || !regexp.MustCompile(pattern).MatchString(v) || limited && !slices.Contains(enum, any(v)) {
			bad("%q", v)
		}
	case bool:
		if s["type"] != "boolean" {
			bad("is a boolean")
		}
	case float64:
		low, hasLow := s["minimum"].(float64)
		high, hasHigh := s["maximum"].(float64)
		if s["type"] != "number" && (s["type"] != "integer" || v != float64(int64(v))) || hasLow && v < low || hasHigh && v > high {
			bad("%v", v)
		}
	}
	return found
}

func schema(t *testing.T) map[string]any {
	t.Helper()
	var s map[string]any
	if err := json.Unmarshal(Schema(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// plain converts YAML to values for a JSON schema, in which dates are texts.
func plain(t *testing.T, text string) any {
	t.Helper()
	text = regexp.MustCompile(`until: ([^,}\s]+)`).ReplaceAllString(text, `until: "$1"`)
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSchema_AcceptsWhatLoads(t *testing.T) {
	s := schema(t)
	for _, text := range []string{documented(t), rich} {
		load(t, text)
		if v := violations(s, plain(t, text), "$"); len(v) > 0 {
			t.Errorf("refused: %q", v)
		}
	}
}

func TestSchema_RefusesWhatDoesNotLoad(t *testing.T) {
	s := schema(t)
	for _, text := range []string{
		"databse: {}", "grpc: {tls: {certfile: x}}", "log: {level: loud}", "log: {level: 3}", "usage: {flush_threshold: 0}",
		"client_address: {trusted_hops: 17}", "debug_headers: maybe", "cache: {ttl: {scope: 5 minutes}}", "keys: {environments: live}",
		"routes: [{match: /a, resorce: a}]", "routes: [{match: /a, resource: a, until: soon}]", "denials: {overrides: {granted: {}}}",
		"denials: {overrides: {throttled: {status: 200}}}", "usage: {flush_threshold: 1.5}",
	} {
		problems(t, text)
		if len(violations(s, plain(t, text), "$")) == 0 {
			t.Errorf("accepted: %s", text)
		}
	}
}

// leaves collects the schemas of all settings, by dotted name.
func leaves(s map[string]any, prefix string, out map[string]map[string]any) {
	properties, _ := s["properties"].(map[string]any)
	for name, p := range properties {
		p, _ := p.(map[string]any)
		out[join(prefix, name)] = p
		leaves(p, join(prefix, name), out)
	}
}

func TestSchema_MatchesTheStruct(t *testing.T) {
	s := schema(t)
	out := map[string]map[string]any{}
	leaves(s, "", out)
	names := settingNames(reflect.TypeFor[Config](), "")
	slices.Sort(names)
	if got := slices.Sorted(maps.Keys(out)); !slices.Equal(got, names) {
		t.Errorf("schema has %v\nstruct has %v", got, names)
	}
	if d, _ := out["log.level"]["description"].(string); !strings.HasPrefix(d, "Least level") {
		t.Errorf("description of log.level = %q", d)
	}
	for name, want := range map[string]any{
		"cache.ttl.user_list": "30m", "cache.feed.poll": "250ms", "cache.local.max_keys": 1e6, "context_extensions": true, "default_route": "",
	} {
		if got := out[name]["default"]; got != want {
			t.Errorf("default of %s = %v, want %v", name, got, want)
		}
	}
	// The stated defaults must themselves be a valid configuration.
	doc := map[string]any{}
	for name, p := range s["properties"].(map[string]any) {
		if d, ok := p.(map[string]any)["default"]; ok {
			doc[name] = d
		}
	}
	if v := violations(s, doc, "$"); len(v) > 0 {
		t.Errorf("its defaults break it: %q", v)
	}
}

// TestSchema_DescriptionsAreDocComments: they equal the comments that Go's own parser
// finds.
func TestSchema_DescriptionsAreDocComments(t *testing.T) {
	docs := map[string]string{}
	for _, name := range []string{"config.go", "policy.go", "cache.go", "retention.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					for _, name := range f.Names {
						docs[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
					}
				}
			}
			return false
		})
	}
	if got := descriptions(); !maps.Equal(got, docs) {
		t.Errorf("got %v\nwant %v", got, docs)
	}
}

package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated part of docs/settings.md anew")

const (
	settingsPage = "../../../../docs/settings.md"
	// settingsMark is the line below which the page is generated.
	settingsMark = "<!-- generated: go test ./cmd/extauthz/internal/config -run TestReference -update -->\n"
)

// TestReference_IsWhatTheSchemaSays compares docs/settings.md with the settings: type,
// bounds, default, what a change needs, and the description. Run it with -update to write
// the page.
func TestReference_IsWhatTheSchemaSays(t *testing.T) {
	page, err := os.ReadFile(settingsPage)
	if err != nil {
		t.Fatal(err)
	}
	written, _, found := strings.Cut(string(page), settingsMark)
	if !found {
		t.Fatalf("%s has no line %q", settingsPage, settingsMark)
	}
	want := written + settingsMark + settingsReference(t)
	if *update {
		if err := os.WriteFile(settingsPage, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if string(page) != want {
		t.Errorf("%s differs from the schema: run go test ./cmd/extauthz/internal/config -run TestReference -update", settingsPage)
	}
}

// described is the part of JSON Schema that the page shows.
type described struct {
	Type        string
	Description string
	Pattern     string
	Default     any
	Enum        []string
	Minimum     *float64
	Maximum     *float64
	Items       *described
	Properties  map[string]*described
	// Additional is the schema of a map's values, or false.
	Additional json.RawMessage `json:"additionalProperties"`
}

// settingsReference returns one section for each section of the configuration.
func settingsReference(t *testing.T) string {
	var schema described
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n## Top level\n")
	writeSection(&b, reflect.TypeFor[Config](), &schema, "", 2)
	return b.String()
}

// writeSection writes a table of the settings of a section, then its sections.
func writeSection(b *strings.Builder, t reflect.Type, schema *described, name string, level int) {
	var rows, sections strings.Builder
	for _, f := range fieldsOf(t) {
		setting, s := join(name, f.name), schema.Properties[f.name]
		if isSection(f.typ) {
			fmt.Fprintf(&sections, "\n%s %s\n%s\n", strings.Repeat("#", level), setting, escaped(s.Description))
			writeSection(&sections, f.typ, s, setting, level+1)
			continue
		}
		writeSetting(&rows, f.typ, s, setting, setting)
	}
	if rows.Len() > 0 {
		b.WriteString("\n| setting | type | default | a change needs | |\n|---|---|---|---|---|\n" + rows.String())
	}
	b.WriteString(sections.String())
}

// writeSetting writes the row of a setting, and a row for each part of an entry if it is
// a list or map. A change of any part is a change of the setting top.
func writeSetting(rows *strings.Builder, t reflect.Type, s *described, name, top string) {
	fmt.Fprintf(rows, "| `%s` | %s | %s | %s | %s |\n", name, typeText(t, s, name), defaultText(s), changeText(top), escaped(s.Description))
	switch {
	case t.Kind() == reflect.Slice && isSection(t.Elem()):
		writeEntries(rows, t.Elem(), s.Items, name+"[]", top)
	case t.Kind() == reflect.Map && isSection(t.Elem()):
		var values described
		if json.Unmarshal(s.Additional, &values) == nil {
			writeEntries(rows, t.Elem(), &values, name+".CODE", top)
		}
	}
}

func writeEntries(rows *strings.Builder, t reflect.Type, s *described, name, top string) {
	for _, f := range fieldsOf(t) {
		writeSetting(rows, f.typ, s.Properties[f.name], name+"."+f.name, top)
	}
}

// changeText returns what a change needs, by the same list that Diff uses.
func changeText(setting string) string {
	switch {
	case slices.ContainsFunc(reloadable, func(r string) bool { return within(setting, r) }):
		return "reload"
	case readByConnections(fromFiles, fromFiles, setting):
		return "restart; nothing, if read from a file"
	}
	return "restart"
}

// fromFiles is a configuration in which every secret that can come from a file does.
var fromFiles = func() *Config {
	c := &Config{}
	c.Database.DSNFile, c.Database.ListenDSNFile = "f", "f"
	c.Cache.Redis.PasswordFile, c.Cache.Redis.SentinelPasswordFile = "f", "f"
	return c
}()

// typeText returns type, unit and bounds.
func typeText(t reflect.Type, s *described, name string) string {
	var text string
	switch {
	case t.Kind() == reflect.Slice:
		if isSection(t.Elem()) {
			return "list of sections"
		}
		return "list of " + typeText(t.Elem(), s.Items, name)
	case t.Kind() == reflect.Map:
		return "map"
	case t == durationType:
		text = "duration"
	case t == dateType:
		text = "date or time"
	case t == secretType, t == dsnType:
		text = "text, secret"
	case s.Type == "string":
		text = "text"
	default:
		text = s.Type
	}
	if len(s.Enum) > 0 {
		words := slices.DeleteFunc(slices.Clone(s.Enum), func(w string) bool { return w == "" })
		return "`" + strings.Join(words, "`, `") + "`"
	}
	for suffix, unit := range map[string]string{"_bytes": "bytes", "_mib": "MiB"} {
		if strings.HasSuffix(name, suffix) {
			text += ", " + unit
		}
	}
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		text += fmt.Sprintf(", %v to %v", int64(*s.Minimum), int64(*s.Maximum))
	case s.Minimum != nil:
		text += fmt.Sprintf(", at least %v", int64(*s.Minimum))
	}
	return text
}

// defaultText returns a default as a file would have it, or "" if there is none.
func defaultText(s *described) string {
	switch d := s.Default.(type) {
	case nil:
		return ""
	case string:
		if d == "" || strings.HasPrefix(d, "0001-") { // the zero time
			return ""
		}
		return "`" + d + "`"
	case float64:
		if d == float64(int64(d)) {
			return fmt.Sprintf("`%d`", int64(d))
		}
		return fmt.Sprintf("`%v`", d)
	default:
		text, err := json.Marshal(d)
		if err != nil || string(text) == "[]" || string(text) == "{}" || string(text) == "null" {
			return ""
		}
		return "`" + string(text) + "`"
	}
}

// escaped prepares a text for a cell of a table, so that names with <> or | stay
// readable.
func escaped(text string) string {
	return strings.NewReplacer("|", `\|`, "<", `\<`, "*", `\*`, "_", `\_`).Replace(text)
}

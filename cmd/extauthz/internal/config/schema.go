package config

import (
	"embed"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// The doc comments in these files are the descriptions in the schema. Readers of the code
// and authors of configurations thus read the same text.
//
//go:embed config.go policy.go cache.go retention.go
var sources embed.FS

const (
	durationPattern = `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h|d|w))+$`
	datePattern     = `^[0-9]{4}-[0-9]{2}-[0-9]{2}(T.+)?$`
)

// Schema returns the JSON schema (2020-12) of the configuration file. Names, types,
// descriptions, defaults and bounds come from the tree of structs.
func Schema() []byte {
	s := schemaOf(reflect.ValueOf(Defaults()).Elem(), descriptions(), false)
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "Configuration of extauthz"
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // can't happen with maps of texts and numbers
	}
	return append(text, '\n')
}

// schemaOf describes a section, whose defaults v holds. Elements of lists and maps have
// no defaults.
func schemaOf(v reflect.Value, docs map[string]string, element bool) map[string]any {
	properties := map[string]any{}
	for _, f := range fieldsOf(v.Type()) {
		value := v.Field(f.index)
		s := settingSchema(value, f.tag, docs, element)
		if !isSection(f.typ) && !element {
			s["default"] = defaultOf(value)
			if words, ok := s["enum"].([]string); ok && s["default"] == "" {
				s["enum"] = append(words, "") // "" is allowed too: Load then chooses
			}
		}
		description := docs[f.owner.Name()+"."+f.goes]
		if low := f.tag.Get("min"); f.typ == durationType && low != "" {
			description += " At least " + low + "."
		}
		s["description"] = description
		properties[f.name] = s
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

func settingSchema(v reflect.Value, tag reflect.StructTag, docs map[string]string, element bool) map[string]any {
	t := v.Type()
	switch {
	case isSection(t):
		return schemaOf(v, docs, element)
	case t.Kind() == reflect.Slice:
		return map[string]any{"type": "array", "items": settingSchema(reflect.Zero(t.Elem()), tag, docs, true)}
	case t.Kind() == reflect.Map:
		s := map[string]any{"type": "object", "additionalProperties": settingSchema(reflect.Zero(t.Elem()), tag, docs, true)}
		if isSection(t.Elem()) {
			s["propertyNames"] = map[string]any{"enum": deniedCodes()}
		}
		return s
	}
	s := map[string]any{"type": "string"}
	switch {
	case t == durationType:
		s["pattern"] = durationPattern
	case t == dateType:
		s["pattern"] = datePattern
	case t.Kind() == reflect.Bool:
		s["type"] = "boolean"
	case t.Kind() == reflect.Int:
		s["type"] = "integer"
	case t.Kind() == reflect.Float64:
		s["type"] = "number"
	}
	if enum := tag.Get("enum"); enum != "" {
		s["enum"] = strings.Split(enum, ",")
	}
	for name, bound := range map[string]string{"minimum": tag.Get("min"), "maximum": tag.Get("max")} {
		if f, err := strconv.ParseFloat(bound, 64); err == nil {
			s[name] = f
		}
	}
	return s
}

// defaultOf returns a default as the file would have it.
func defaultOf(v reflect.Value) any {
	switch value := v.Interface().(type) {
	case time.Duration:
		return shortDuration(value)
	case Secret, DSN:
		return "" // secrets have no default
	case []Credential:
		list := make([]map[string]string, 0, len(value))
		for _, c := range value {
			entry := map[string]string{"header": c.Header}
			if c.Scheme != "" {
				entry["scheme"] = c.Scheme
			}
			list = append(list, entry)
		}
		return list
	default:
		return value
	}
}

// shortDuration writes 5m where time.Duration would write 5m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// descriptions returns the doc comment of every field, by "Type.Field". It reads the
// sources line by line, which is enough after gofmt; go/parser would make the binary 0.4
// MB larger.
func descriptions() map[string]string {
	docs := map[string]string{}
	for _, name := range []string{"config.go", "policy.go", "cache.go", "retention.go"} {
		text, err := sources.ReadFile(name)
		if err != nil {
			panic(fmt.Sprintf("embedded %s: %v", name, err))
		}
		var owner string
		var doc []string
		for line := range strings.SplitSeq(string(text), "\n") {
			words := strings.Fields(line)
			switch {
			case line == "}":
				owner = ""
			case strings.HasPrefix(line, "type ") && strings.HasSuffix(line, " struct {"):
				owner, doc = words[1], nil
			case owner == "" || len(words) == 0:
				doc = nil
			case words[0] == "//":
				doc = append(doc, words[1:]...)
			default: // names of fields; a comma follows all but the last
				for i, more := 0, true; more; i++ {
					name, comma := strings.CutSuffix(words[i], ",")
					docs[owner+"."+name], more = strings.Join(doc, " "), comma
				}
				doc = nil
			}
		}
	}
	return docs
}

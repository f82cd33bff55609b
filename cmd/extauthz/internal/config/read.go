package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"extauthz/cmd/extauthz/internal/duration"
)

// reader checks one layer against the tree of structs before the layer is merged. It
// reports faulty values and leaves them out, so that the rest can be validated as well.
type reader struct {
	source  string // name of the file or variable, or "command line"
	lines   bool   // whether errors name line numbers
	origins origins
	faults  *faults
}

// faults collects problems, each with the setting that it is about.
type faults struct {
	problems []error
	settings []string
}

func (f *faults) add(origin, setting, format string, args ...any) {
	f.settings = append(f.settings, setting)
	line := strings.Map(func(r rune) rune { // names come from the file, and a problem must stay one line
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, origin+": "+fmt.Sprintf(format, args...))
	f.problems = append(f.problems, errors.New(line))
}

// about reports whether there is a problem with the setting, or with one above or below
// it.
func (f *faults) about(setting string) bool {
	for _, s := range f.settings {
		if within(s, setting) || within(setting, s) {
			return true
		}
	}
	return false
}

// of returns the problems with the named settings, and those without a setting, such as a
// file that can't be parsed. It returns all problems if settings is nil.
func (f *faults) of(settings []string) (problems []error) {
	for i, problem := range f.problems {
		about := func(s string) bool { return within(f.settings[i], s) || within(s, f.settings[i]) }
		if settings == nil || f.settings[i] == "" || slices.ContainsFunc(settings, about) {
			problems = append(problems, problem)
		}
	}
	return problems
}

func (r *reader) origin(n *yaml.Node) string {
	if r.lines {
		return r.source + ":" + strconv.Itoa(n.Line)
	}
	return r.source
}

func (r *reader) fault(n *yaml.Node, setting, format string, args ...any) (any, bool) {
	r.faults.add(r.origin(n), setting, format, args...)
	return nil, false
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// document reads a whole YAML document for a value of type t. ok is false if the document
// sets nothing.
func (r *reader) document(text []byte, t reflect.Type, setting string) (any, bool) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc, next yaml.Node
	err := decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, false
	}
	if err == nil {
		if err = decoder.Decode(&next); err == nil {
			return r.fault(&next, setting, "a second YAML document: write everything into one, without ---")
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		n := yaml.Node{Line: 1}
		what := err.Error()
		if m := yamlError.FindStringSubmatch(strings.ReplaceAll(what, "\n", " ")); m != nil {
			what = m[2]
			if line, err := strconv.Atoi(m[1]); err == nil {
				n.Line = line
			}
		}
		return r.fault(&n, setting, "not valid YAML: %s", what)
	}
	return r.value(doc.Content[0], t, setting)
}

// value converts a node to what koanf merges: maps, lists and plain values. ok is false
// if the node sets nothing: it is null or faulty.
func (r *reader) value(n *yaml.Node, t reflect.Type, setting string) (v any, ok bool) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return nil, false
	}
	r.origins[setting] = r.origin(n)
	switch {
	case isSection(t):
		return r.section(n, t, setting)
	case t.Kind() == reflect.Map:
		return r.mapping(n, t, setting)
	case t.Kind() == reflect.Slice:
		return r.list(n, t, setting)
	case n.Kind != yaml.ScalarNode:
		return r.fault(n, setting, "%s: one value is expected, this is a %s", setting, kindName(n))
	}
	v, err := scalar(n, t)
	if err != nil {
		return r.fault(n, setting, "%s: %v", setting, err)
	}
	return v, true
}

// pairs refuses duplicate names, and calls each for every other entry of the mapping.
func (r *reader) pairs(n *yaml.Node, setting string, each func(key, value *yaml.Node)) bool {
	if n.Kind != yaml.MappingNode {
		what := setting
		if what == "" {
			what = "the file"
		}
		r.fault(n, setting, "%s: a mapping (name: value) is expected, this is a %s", what, kindName(n))
		return false
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := join(setting, key.Value)
		if line, twice := seen[key.Value]; twice {
			where := ""
			if r.lines {
				where = " (first in line " + strconv.Itoa(line) + ")"
			}
			// This problem names no setting, so the first value is still validated.
			r.fault(key, "", "%s is set twice%s: remove one", name, where)
			continue
		}
		seen[key.Value] = key.Line
		each(key, value)
	}
	return true
}

func (r *reader) section(n *yaml.Node, t reflect.Type, setting string) (any, bool) {
	out := map[string]any{}
	ok := r.pairs(n, setting, func(key, value *yaml.Node) {
		name := join(setting, key.Value)
		f, known := fieldNamed(t, key.Value)
		if !known {
			r.fault(key, name, "unknown setting %s: %s", name, suggest(t, setting, key.Value))
			return
		}
		if v, ok := r.value(value, f.typ, name); ok {
			out[key.Value] = v
		}
	})
	return out, ok
}

func (r *reader) mapping(n *yaml.Node, t reflect.Type, setting string) (any, bool) {
	out := map[string]any{}
	ok := r.pairs(n, setting, func(key, value *yaml.Node) {
		if v, ok := r.value(value, t.Elem(), join(setting, key.Value)); ok {
			out[key.Value] = v
		}
	})
	return out, ok
}

func (r *reader) list(n *yaml.Node, t reflect.Type, setting string) (any, bool) {
	if n.Kind != yaml.SequenceNode {
		return r.fault(n, setting, "%s: a list is expected, such as [one, two]; this is a %s", setting, kindName(n))
	}
	out := make([]any, 0, len(n.Content))
	for i, element := range n.Content {
		name := fmt.Sprintf("%s[%d]", setting, i)
		v, ok := r.value(element, t.Elem(), name)
		if !ok && !r.faults.about(name) {
			r.fault(element, name, "%s is empty: remove it", name)
		}
		if !ok { // an empty element keeps the indexes of those after it
			v = reflect.Zero(t.Elem()).Interface()
			if isSection(t.Elem()) {
				v = map[string]any{}
			}
		}
		out = append(out, v)
	}
	return out, true
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "mapping"
	case yaml.SequenceNode:
		return "list"
	default:
		return "single value"
	}
}

// scalar converts one value. Types that parse their own text get it unchanged. The error
// does not repeat a secret.
func scalar(n *yaml.Node, t reflect.Type) (any, error) {
	text := n.Value
	switch t {
	case durationType:
		d, err := duration.Parse(text)
		if err != nil {
			return nil, err
		}
		return d, nil
	case dateType:
		if err := new(Date).UnmarshalText([]byte(text)); err != nil {
			return nil, fmt.Errorf("%q is not a date: %w", text, err)
		}
		return text, nil
	case secretType, dsnType:
		return text, nil
	}
	switch t.Kind() {
	case reflect.Bool:
		if text != "true" && text != "false" {
			return nil, fmt.Errorf("%q is neither true nor false", text)
		}
		return text == "true", nil
	case reflect.Int:
		i, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", text)
		}
		return i, nil
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%q is not a number", text)
		}
		return f, nil
	default:
		if n.ShortTag() == "!!bool" {
			return nil, fmt.Errorf("a text is expected: write %q in quotes if it is meant", text)
		}
		return text, nil
	}
}

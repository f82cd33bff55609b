package config

import (
	"reflect"
	"strings"
	"time"
)

// field is one field of a struct in the tree: a setting or a section.
type field struct {
	name  string // as the file has it
	index int
	typ   reflect.Type
	tag   reflect.StructTag
	owner reflect.Type
	goes  string // the name in Go
}

// fieldsOf returns the settings and sections of a section, in the order of the struct.
func fieldsOf(t reflect.Type) []field {
	var fs []field
	for i := range t.NumField() {
		f := t.Field(i)
		if name := f.Tag.Get("koanf"); name != "" {
			fs = append(fs, field{name: name, index: i, typ: f.Type, tag: f.Tag, owner: t, goes: f.Name})
		}
	}
	return fs
}

func fieldNamed(t reflect.Type, name string) (field, bool) {
	for _, f := range fieldsOf(t) {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	dateType     = reflect.TypeFor[Date]()
	secretType   = reflect.TypeFor[Secret]()
	dsnType      = reflect.TypeFor[DSN]()
)

// isSection reports whether a type is a section, not a single value that is a struct.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != dateType && t != secretType && t != dsnType
}

// settingType finds a setting by its dotted name. It does not look into lists and maps,
// which variables and flags set as a whole.
func settingType(name string) (reflect.Type, bool) {
	t := reflect.TypeFor[Config]()
	for part := range strings.SplitSeq(name, ".") {
		if !isSection(t) {
			return nil, false
		}
		f, ok := fieldNamed(t, part)
		if !ok {
			return nil, false
		}
		t = f.typ
	}
	return t, true
}

// settingNames returns every dotted name below t, including those of sections.
func settingNames(t reflect.Type, prefix string) []string {
	var names []string
	for _, f := range fieldsOf(t) {
		name := join(prefix, f.name)
		names = append(names, name)
		if isSection(f.typ) {
			names = append(names, settingNames(f.typ, name)...)
		}
	}
	return names
}

func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}

// origins maps a setting to the place that set it: "extauthz.yaml:12",
// "EXTAUTHZ_DATABASE__DSN" or "command line".
type origins map[string]string

// of returns the origin of a setting, or of the innermost section or list around it.
func (o origins) of(setting string) string {
	for {
		if origin, ok := o[setting]; ok {
			return origin
		}
		i := strings.LastIndexAny(setting, ".[")
		if i < 0 {
			return "defaults"
		}
		setting = setting[:i]
	}
}

// within reports whether setting a is b, or is below b.
func within(a, b string) bool {
	rest, ok := strings.CutPrefix(a, b)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

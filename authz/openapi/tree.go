package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// object is a mapping of a document.
type object map[string]any

// parse reads JSON or YAML. No member may occur twice: parsers differ in which of two
// security lists they use. Its error is one line.
func parse(document []byte) (object, error) {
	var root any
	if json.Valid(document) {
		if err := unique(json.NewDecoder(bytes.NewReader(document)), ""); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(document, &root); err != nil {
			return nil, err
		}
	} else if err := yaml.Unmarshal(document, &root); err != nil {
		if several, ok := errors.AsType[*yaml.TypeError](err); ok {
			err = errors.New(several.Errors[0])
		}
		return nil, err
	}
	o, ok := objectOf(root)
	if !ok || o == nil {
		return nil, errors.New("it has no fields")
	}
	return o, nil
}

// unique refuses two members of one name, as YAML's parser does.
func unique(d *json.Decoder, where string) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	opened, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		at := where
		if opened == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			at = fmt.Sprint(where, "/", name)
			if seen[at] {
				return fmt.Errorf("%s occurs twice", at)
			}
			seen[at] = true
		}
		if err := unique(d, at); err != nil {
			return err
		}
	}
	_, err = d.Token() // the end
	return err
}

// objectOf returns value as a mapping; nil if it is null or missing. In YAML, names may
// be numbers.
func objectOf(value any) (object, bool) {
	switch v := value.(type) {
	case nil:
		return nil, true
	case map[string]any:
		return v, true
	case map[any]any:
		o := make(object, len(v))
		for name, member := range v {
			o[fmt.Sprint(name)] = member
		}
		return o, true
	}
	return nil, false
}

// object, list and text return value as the type that they are named after, or the zero
// value if it is null or missing. They report a problem if it is anything else.
func (r *reader) object(where string, value any) object {
	o, ok := objectOf(value)
	if !ok {
		r.problem("%s has to be a mapping", where)
	}
	return o
}

func (r *reader) list(where string, value any) []any {
	l, ok := value.([]any)
	if !ok && value != nil {
		r.problem("%s has to be a list", where)
	}
	return l
}

func (r *reader) text(where string, value any) string {
	s, ok := value.(string)
	if !ok && value != nil {
		r.problem("%s has to be a text: put it in quotes", where)
	}
	return s
}

// maxReferences is how many references may follow one another.
const maxReferences = 16

// follow returns the mapping at a place, or the one that it refers to within the
// document; ok is false if a problem was reported.
func (r *reader) follow(where string, value any) (o object, ok bool) {
	for range maxReferences {
		if o, ok = objectOf(value); !ok {
			r.problem("%s has to be a mapping", where)
			return nil, false
		}
		reference, there := o["$ref"]
		if !there {
			return o, true
		}
		for name := range o {
			if name != "$ref" && name != "summary" && name != "description" && !strings.HasPrefix(name, "x-") {
				r.problem("%s has %q beside $ref: write one or the other", where, name)
				return nil, false
			}
		}
		to, isText := reference.(string)
		fragment, within := strings.CutPrefix(to, "#")
		if isText && !within {
			r.problem("%s refers to another document (%s): bundle them into one file", where, to)
			return nil, false
		}
		if value, there = r.pointed(fragment); !isText || !there {
			r.problem("%s refers to %v, which is not there", where, reference)
			return nil, false
		}
	}
	r.problem("%s: more than %d references follow one another", where, maxReferences)
	return nil, false
}

// pointed returns what a JSON pointer in a fragment (RFC 6901, 6) names.
func (r *reader) pointed(fragment string) (any, bool) {
	pointer, err := url.PathUnescape(fragment)
	if err != nil || pointer != "" && pointer[0] != '/' {
		return nil, false
	}
	var at any = map[string]any(r.root)
	for i, token := range strings.Split(pointer, "/") {
		if i == 0 {
			continue // before the first slash
		}
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		if list, ok := at.([]any); ok {
			n, err := strconv.Atoi(token)
			if err != nil || n < 0 || n >= len(list) {
				return nil, false
			}
			at = list[n]
			continue
		}
		o, _ := objectOf(at)
		var ok bool
		if at, ok = o[token]; !ok {
			return nil, false
		}
	}
	return at, true
}

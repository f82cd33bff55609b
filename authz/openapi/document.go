// Package openapi makes rules of API descriptions (OpenAPI 3.0 to 3.2): what an
// operation's security requirements list is what a key needs for it.
//
// Nothing that a description leaves out opens anything. Without security, or with
// requirements that no API key can meet, an operation is denied; what a path
// template can't be matched by exactly refuses the document.
package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"extauthz/authz"
)

// Options says how a document is read.
type Options struct {
	Name string // of the document, in rules and errors
	// Sources are where keys may stand. A security scheme that looks elsewhere
	// can't be met by an API key.
	Sources []authz.CredentialSource
	// AllowAnonymous lets an explicit "security: []" make an operation anonymous;
	// else it is denied.
	AllowAnonymous bool
}

// Read returns a rule for each operation at each of its servers, ordered by path
// and method, and notes on what is denied or anonymous by the document, one line
// each. Its error joins one error a problem, each one line. References to other
// documents are refused. It reads nothing but document.
func Read(document []byte, o Options) (rules []authz.RouteConfig, notes []string, err error) {
	if json.Valid(document) {
		if err := unique(json.NewDecoder(bytes.NewReader(document)), ""); err != nil {
			return nil, nil, err
		}
	}
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		var external *openapi3.DisallowedExternalRefError
		if errors.As(err, &external) {
			return nil, nil, fmt.Errorf("%s refers to another document: bundle them into one file", external.Ref)
		}
		return nil, nil, fmt.Errorf("is no OpenAPI document: %s", firstLine(err))
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.") {
		return nil, nil, fmt.Errorf("is OpenAPI %q: write it in 3.0, 3.1 or 3.2", doc.OpenAPI)
	}
	r := &reader{Options: o, doc: doc}
	r.known("the document", doc.Extensions)
	items := doc.Paths.Map()
	for _, path := range slices.Sorted(maps.Keys(items)) {
		r.item(path, items[path])
	}
	r.note(r.unsaid, "denied, since nothing is said of their security")
	r.note(r.unmet, "denied, since no API key can meet what they ask for")
	r.note(r.optional, "a key is asked for, though their security is optional ({})")
	if o.AllowAnonymous {
		r.note(r.open, "anonymous (security: [])")
	} else {
		r.note(r.open, "denied, though their security is []: openapi.allow_anonymous would open them")
	}
	return r.rules, r.notes, errors.Join(r.problems...)
}

// unique refuses two members of one name, of which the loader would take the last:
// nobody knows which of two security lists was meant. YAML's parser does so itself.
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
				return fmt.Errorf("is no OpenAPI document: %s stands there twice", at)
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

// firstLine is the loader's error; of its two, about a document that is neither
// JSON nor YAML, the latter, since JSON is YAML.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	if _, yaml, ok := strings.Cut(line, "yaml error: "); ok {
		return yaml
	}
	return line
}

// reader is one reading of one document.
type reader struct {
	Options
	doc      *openapi3.T
	rules    []authz.RouteConfig
	notes    []string
	problems []error

	unsaid, unmet, optional, open []string // operations
}

func (r *reader) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf(format, args...))
}

// note tells what holds for operations, a few of them by name.
func (r *reader) note(operations []string, what string) {
	const named = 5
	if len(operations) == 0 {
		return
	}
	more := ""
	if len(operations) > named {
		more = fmt.Sprintf(" and %d more", len(operations)-named)
		operations = operations[:named]
	}
	r.notes = append(r.notes, what+": "+strings.Join(operations, ", ")+more)
}

// known refuses fields that the specification doesn't have: a misspelt
// "security" would leave an operation with the document's.
func (r *reader) known(where string, extensions map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(extensions)) {
		if !strings.HasPrefix(name, "x-") {
			r.problem("%s has a field %q, which OpenAPI does not know: correct or remove it", where, name)
		}
	}
}

func (r *reader) item(path string, item *openapi3.PathItem) {
	if item == nil {
		return
	}
	r.known(path, item.Extensions)
	template, err := pathPattern(path)
	if err != nil {
		r.problems = append(r.problems, err)
		return
	}
	operations := item.Operations()
	for _, method := range slices.Sorted(maps.Keys(operations)) {
		operation := operations[method]
		name := method + " " + path
		r.known(name, operation.Extensions)
		servers := r.doc.Servers
		if len(item.Servers) > 0 {
			servers = item.Servers
		}
		if operation.Servers != nil && len(*operation.Servers) > 0 {
			servers = *operation.Servers
		}
		bases, err := basesOf(servers)
		if err != nil {
			r.problem("%s: %w", name, err)
			continue
		}
		asks, ok := r.asks(name, operation)
		if !ok {
			continue
		}
		for _, base := range bases {
			asks.Match = method + " " + base + template
			r.rules = append(r.rules, asks)
		}
	}
}

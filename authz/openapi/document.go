package openapi

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"extauthz/authz"
)

// Options defines how a document is read.
type Options struct {
	Name string // of the document, in rules and errors
	// Sources are where keys may be. No API key can meet a security scheme that looks
	// elsewhere.
	Sources []authz.CredentialSource
	// AllowAnonymous lets an explicit "security: []" make an operation anonymous;
	// else it is denied.
	AllowAnonymous bool
}

// Read returns a rule for each operation at each of its servers, ordered by path and
// method. It also returns notes, one line each, on operations that are denied or
// anonymous because of the document. Its error joins one error for each problem, each one
// line. References to other documents are refused: Read reads nothing but document.
func Read(document []byte, o Options) (rules []authz.RouteConfig, notes []string, err error) {
	root, err := parse(document)
	if err != nil {
		return nil, nil, fmt.Errorf("is no OpenAPI document: %w", err)
	}
	switch version, ok := root["openapi"].(string); {
	case !ok:
		return nil, nil, errors.New(`has no text "openapi" with its version: write it in 3.0, 3.1 or 3.2`)
	case !strings.HasPrefix(version, "3."):
		return nil, nil, fmt.Errorf("is OpenAPI %q: write it in 3.0, 3.1 or 3.2", version)
	}
	r := &reader{Options: o, root: root, schemes: map[string]bool{}}
	r.known("the document", root, documentFields)
	schemes := r.object("components.securitySchemes", r.object("components", root["components"])["securitySchemes"])
	for _, name := range slices.Sorted(maps.Keys(schemes)) {
		r.schemes[name] = r.reads("the security scheme "+name, schemes[name])
	}
	paths := r.object("paths", root["paths"])
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if !strings.HasPrefix(path, "x-") {
			r.item(path, paths[path])
		}
	}
	r.note(r.unspecified, "denied, since nothing is said of their security")
	r.note(r.unmet, "denied, since no API key can meet what they ask for")
	r.note(r.optional, "a key is required, though their security is optional ({})")
	if o.AllowAnonymous {
		r.note(r.open, "anonymous (security: [])")
	} else {
		r.note(r.open, "denied, though their security is []: openapi.allow_anonymous would open them")
	}
	return r.rules, r.notes, errors.Join(r.problems...)
}

// reader is one reading of one document.
type reader struct {
	Options
	root     object
	schemes  map[string]bool // security schemes, and whether a key can meet them
	rules    []authz.RouteConfig
	notes    []string
	problems []error

	unspecified, unmet, optional, open []string // operations
}

func (r *reader) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf(format, args...))
}

// note adds a note that applies to the operations, and names a few of them.
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

// The fields of OpenAPI 3.0 to 3.2, except those that begin with "x-".
var (
	documentFields  = []string{"$self", "components", "externalDocs", "info", "jsonSchemaDialect", "openapi", "paths", "security", "servers", "tags", "webhooks"}
	itemFields      = []string{"$ref", "additionalOperations", "description", "parameters", "servers", "summary"} // and methods
	operationFields = []string{"callbacks", "deprecated", "description", "externalDocs", "operationId", "parameters", "requestBody", "responses", "security", "servers", "summary", "tags"}
	methods         = []string{"delete", "get", "head", "options", "patch", "post", "put", "query", "trace"}
)

// known refuses fields that the specification doesn't have: if "security" is misspelt in
// an operation, the document's own would apply.
func (r *reader) known(where string, o object, fields ...[]string) {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if !strings.HasPrefix(name, "x-") && !slices.Contains(slices.Concat(fields...), name) {
			r.problem("%s has a field %q, which OpenAPI does not know: correct or remove it", where, name)
		}
	}
}

func (r *reader) item(path string, value any) {
	item, ok := r.follow(path, value)
	if !ok || item == nil {
		return
	}
	r.known(path, item, itemFields, methods)
	template, err := pathPattern(path)
	if err != nil {
		r.problems = append(r.problems, err)
		return
	}
	for _, method := range methods {
		r.operation(strings.ToUpper(method), path, template, item, item[method])
	}
	more := r.object(path+": additionalOperations", item["additionalOperations"])
	for _, method := range slices.Sorted(maps.Keys(more)) {
		if slices.Contains(methods, strings.ToLower(method)) {
			r.problem("%s: additionalOperations has %q, which is a field of its own", path, method)
			continue
		}
		r.operation(method, path, template, item, more[method])
	}
}

// encodedField is this service's own field of an operation or a path: with allow,
// encoded characters in its parameters are data.
const encodedField = "x-extauthz-encoded"

// encodedAllowed reads encodedField of an operation, else of its path.
func encodedAllowed(operation, item object) (bool, error) {
	value, there := operation[encodedField]
	if !there {
		value, there = item[encodedField]
	}
	switch {
	case !there || value == "refuse":
		return false, nil
	case value == "allow":
		return true, nil
	}
	return false, fmt.Errorf("%s is %v: write allow or refuse", encodedField, value)
}

// operation makes the rules of one operation; value is nil where there is none.
func (r *reader) operation(method, path, template string, item object, value any) {
	name := method + " " + path
	operation := r.object(name, value)
	if operation == nil {
		return
	}
	r.known(name, operation, operationFields)
	var servers []any
	for _, of := range []object{operation, item, r.root} {
		if servers = r.list(name+": servers", of["servers"]); len(servers) > 0 {
			break
		}
	}
	bases, err := r.basesOf(name, servers)
	if err != nil {
		r.problem("%s: %w", name, err)
		return
	}
	rule, ok := r.securityRule(name, operation)
	if !ok {
		return
	}
	if rule.Encoded, err = encodedAllowed(operation, item); err != nil {
		r.problem("%s: %w", name, err)
		return
	}
	for _, base := range bases {
		rule.Match = method + " " + base + template
		r.rules = append(r.rules, rule)
	}
}

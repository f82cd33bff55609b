package envoy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"extauthz/authz"
)

// Override changes one denial; empty fields leave it as it is.
type Override struct {
	Status  int // 400 to 599
	Title   string
	Detail  string
	Headers map[string]string // added, or instead of ours; names in lower case
}

// reservedHeaders are Envoy's or the connection's own.
var reservedHeaders = []string{"connection", "content-length", "content-type", "grpc-message", "grpc-status", "host",
	"keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}

// validate holds an override to what Envoy passes on without harm: it sends any
// status it gets, 200 too, and without validate_mutations CR LF in a header
// really ends a line.
func (o Override) validate(code string) (problems []error) {
	fail := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("denial override %s: %w", code, fmt.Errorf(format, args...)))
	}
	if !slices.ContainsFunc(authz.Reasons(), func(r authz.Reason) bool { return r.Code() == code && r.Status() >= 400 }) {
		fail("there is no such code")
	}
	if o.Status != 0 && (o.Status < 400 || o.Status > 599) {
		fail("status %d: write one from 400 to 599", o.Status)
	}
	if !utf8.ValidString(o.Title) || !utf8.ValidString(o.Detail) {
		fail("title and detail must be UTF-8")
	}
	for name, value := range o.Headers {
		if err := CheckOverrideHeader(name, value); err != nil {
			fail("header %q: %w", name, err)
		}
	}
	return problems
}

// CheckOverrideHeader returns why a denial can't have a header; nil: it can.
func CheckOverrideHeader(name, value string) error {
	switch {
	case !ValidHeaderName(name):
		return errors.New("write a lower-case header name")
	case slices.Contains(reservedHeaders, name):
		return errors.New("the gateway or the service sets it: remove it")
	case !plainValue(value):
		return errors.New("write a value of printable ASCII")
	}
	return nil
}

// CheckRealm returns why a WWW-Authenticate can't have a realm; nil: it can.
func CheckRealm(realm string) error {
	if strings.ContainsAny(realm, "\"\\") || !plainText(realm) {
		return errors.New("write printable ASCII without quotes, backslashes and %")
	}
	return nil
}

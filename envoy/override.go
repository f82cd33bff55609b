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
	Headers map[string]string // added, or replacing the service's own; names in lower case
}

// reservedHeaders are set by Envoy or this service, or belong to the connection.
var reservedHeaders = []string{"connection", "content-length", "content-type", "grpc-message", "grpc-status", "host",
	"keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}

// validate accepts only what Envoy passes on without harm. Envoy sends any status that it
// gets, even 200. Without validate_mutations, CR LF in a header really ends a line.
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

// CheckOverrideHeader returns why a denial can't have this header, or nil if it can.
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

// CheckRealm returns why WWW-Authenticate can't have this realm, or nil if it can.
func CheckRealm(realm string) error {
	if strings.ContainsAny(realm, "\"\\") || !plainText(realm) {
		return errors.New("write printable ASCII without quotes, backslashes and %")
	}
	return nil
}

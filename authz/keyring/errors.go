package keyring

import (
	"errors"
	"strings"
)

// Errors of the service, in addition to authz's ErrNotFound, ErrConflict,
// ErrPreconditionFailed and ErrIdempotencyReuse. Each is wrapped with its subject.
var (
	// ErrForbidden: the principal lacks the permission, or its grants do not
	// cover the key. The text names what is missing.
	ErrForbidden = errors.New("not allowed")
	// ErrInvalid is found in every [*ValidationError].
	ErrInvalid = errors.New("invalid request")
	// ErrRevoked: revocation is final, so the key can be neither updated nor rotated.
	ErrRevoked = errors.New("the key is revoked, which is final: issue a new one")
	// ErrDisabled: a disabled key can't be rotated.
	ErrDisabled = errors.New("the key is disabled: enable it first")
	// ErrExpired: an expired key can't be rotated.
	ErrExpired = errors.New("the key has expired: give it a later expiry first, or issue a new one")
	// ErrSuperseded: the key was rotated and its successor is live.
	ErrSuperseded = errors.New("the key was rotated already: rotate its successor, or revoke that one alone first")
	// ErrAdministratorKey: an administrator's key is changed with the administrator alone.
	ErrAdministratorKey = errors.New("it is an administrator's key: rotate, disable or remove the administrator")
	// ErrFamilyFull: two members of the key's family are live already.
	ErrFamilyFull = errors.New("two keys of this rotation family are live already: revoke or disable one of them first")
)

// FieldError is what is wrong with one field, for people.
type FieldError struct {
	Field   string // "user_id", "metadata.owner", "allowed_cidrs[3]"
	Message string // "must be ..."
}

// ValidationError holds everything that is wrong with a request, in the order
// of its fields. errors.Is finds ErrInvalid in it.
type ValidationError struct{ Fields []FieldError }

// Error names all fields on one line.
func (e *ValidationError) Error() string {
	var b strings.Builder
	b.WriteString(ErrInvalid.Error())
	for i, f := range e.Fields {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(f.Field + " " + f.Message)
	}
	return b.String()
}

// Unwrap makes errors.Is(err, ErrInvalid) true.
func (e *ValidationError) Unwrap() error { return ErrInvalid }

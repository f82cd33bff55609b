package administrators

import "errors"

// Errors of the service, in addition to those of keyring and authz. Each is wrapped with
// its subject.
var (
	// ErrLastOwner: after the change no administrator could manage all keys, or none for
	// long.
	ErrLastOwner = errors.New("no working administrator would be left: make another owner first, or rotate the administrator's key instead of ending it (`extauthz admin recover` helps where there is none)")
	// ErrNone: the key is of no administrator.
	ErrNone = errors.New("the key belongs to no administrator: make one with `extauthz admins create`, and use its key")
	// ErrRoleUsed: a management role that administrators have can't be deleted.
	ErrRoleUsed = errors.New("administrators have the management role: give them another one first")
)

package administrators

import (
	"context"

	"extauthz/authz"
)

// Store keeps administrators. Look-ups that find nothing are authz.ErrNotFound.
type Store interface {
	// ChangeAdministration calls fn with the administration as it is, and writes what it
	// returns in one transaction; it returns the written keys, created ones first. Until
	// the transaction ends no other change of the database's administration begins. fn's
	// error rolls everything back and is returned as it is; fn may be called again after
	// a conflict between transactions. A taken prefix is authz.ErrConflict.
	ChangeAdministration(ctx context.Context, fn func(authz.Administration) (authz.AdministrationChange, error)) ([]authz.Record, error)
	// Administration returns the administration as it is.
	Administration(ctx context.Context) (authz.Administration, error)
	// AdministratorOf returns the administrator that a rotation family belongs to, with
	// those of its roles that are not built in, and no keys.
	AdministratorOf(ctx context.Context, family string) (authz.Administration, error)
	// KeyByRef finds a key by its id or prefix, whatever its owner.
	KeyByRef(ctx context.Context, ref string) (authz.Record, error)
	// HasAdministrator reports whether there is one with a key that is not revoked, in
	// whatever state.
	HasAdministrator(ctx context.Context) (bool, error)
}

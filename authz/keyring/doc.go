// Package keyring is the keys service: it issues, lists, updates, enables, disables,
// rotates and revokes API keys, and keeps the roles that they share. The same rules apply
// to every caller: the management API, and the command line through it.
//
// The contract: a change and its audit row are stored in one transaction, or neither is.
// After the commit, and before the method returns, the [Notifier] is called, so that the
// next check on this replica uses the new state. A call that changes nothing writes
// nothing. A key leaves this package once, in [Created], and is part of no error, log
// line or audit row.
//
// # Who may do what
//
// A caller is a [Principal]: package administrators makes it of an administrator. Its
// permissions define which operations it may call (see [Permission]); its grants define on
// which keys:
//
//	operation        permission        besides, of the key
//	create           keys:create       rights covered, project within
//	get, list        keys:read         project within; get of the caller's own key: always
//	usage            usage:read        the same
//	update, enable   keys:update       rights before and after covered, projects
//	                                   before and after within
//	disable          keys:update       project within
//	revoke           keys:revoke       project within, of each member of the family
//	rotate           keys:rotate       rights covered, project within
//	roles: change    roles:create, …   scopes before and after covered, all projects
//	roles: get, list roles:read        -
//	audit            audit:read        all projects, or one key within
//
// "Rights" are a key's scopes and the scopes of its roles. They are covered if the caller's
// grants allow all of them. A project is within if the grants name it or hold "*". A key of
// any other project does not exist for the caller.
//
// Rotation requires that all rights are covered, because its answer is a secret that has
// them. An update requires it, because it could give others what the caller does not have
// itself. Revoking and disabling only take away. Roles affect every project, so a change of
// a role requires all projects.
//
// Keys carry no rights over keys: scopes on the reserved resource are refused, and so is
// every change of an administrator's key ([ErrAdministratorKey]). A key that has such
// scopes from a former release can only be ended.
//
// # What it does not do
//
// It decides no request (authz does), stores nothing itself (a [Store] does),
// keeps no cache, and knows no HTTP: errors are sentinels and
// [*ValidationError], mapped to statuses elsewhere.
package keyring

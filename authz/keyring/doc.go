// Package keyring is the keys service: it issues, lists, updates, enables, disables,
// rotates and revokes API keys, keeps the roles that they share, and makes the first
// administrator. The same rules apply to every caller: the management API, and the
// command line through it.
//
// The contract: a change and its audit row are stored in one transaction, or neither is.
// After the commit, and before the method returns, the [Notifier] is called, so that the
// next check on this replica uses the new state. A call that changes nothing writes
// nothing. A key leaves this package once, in [Created], and is part of no error, log
// line or audit row.
//
// # Who may do what
//
// A caller is a [Principal]. Its own scopes on the reserved resource define which
// operations it may call (see [Permission]); its grants define on which keys:
//
//	operation        own scope         besides, of the key                        the caller's own key
//	create           keys:create       rights covered, project within             -
//	get, list        keys:read         project within                             get: always
//	usage            usage:read        project within                             always
//	update, enable   keys:update       rights before and after covered, projects  the same
//	                                   before and after within
//	disable          keys:update       reserved scopes covered, project within    always
//	revoke           keys:revoke       the same, of each member of the family     always
//	rotate           keys:rotate       rights covered, project within             always, for no
//	                                                                              longer than before
//	roles: change    roles:create, …   scopes before and after covered, all projects
//	roles: get, list roles:read        -
//	audit            audit:read        all projects, or one key within
//
// "Rights" are a key's scopes, the scopes of its roles, and what it may itself grant.
// They are covered if the caller's grants allow all of them. Scopes on the reserved
// resource are covered only if the grants name that resource literally, so "*:*" makes no
// administrator. A project is within if the grants name it or hold "*". A key of any
// other project does not exist for the caller.
//
// Rotation requires that all rights are covered, because its answer is a secret that has
// them. An update requires it, because it could give others what the caller does not have
// itself. Revoking and disabling only take away, so they require it for reserved scopes
// only: no administrator can lock out one with wider grants. Roles affect every project,
// so a change of a role requires all projects.
//
// # What it does not do
//
// It decides no request (authz does), stores nothing itself (a [Store] does),
// keeps no cache, and knows no HTTP: errors are sentinels and
// [*ValidationError], mapped to statuses elsewhere.
package keyring

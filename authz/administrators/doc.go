// Package administrators keeps those who manage keys: it creates, changes, disables,
// removes and recovers administrators, issues and rotates their keys, and keeps their
// management roles. It says who a caller of the management API is, as a
// [keyring.Principal].
//
// An administrator has management roles (sets of permissions, see [Roles]), grants (which
// scopes, projects and users it may act on), networks, and an end. Its [Power] is all of
// these together. It is authenticated by a rotation family of API keys. They carry no rights
// over keys; package keyring refuses to change them, and refuses scopes on the reserved
// resource, so this package is the only place where power over keys changes.
//
// # The rule
//
// There is one, the function judge, which is called in the transaction of each change:
//
//	Every administrator that is different after the change (its row, its keys, or its
//	power because of a role) must have been within the caller's power before, and be
//	within it afterwards.
//
// It compares states and not operations, so a new operation is held to it by itself.
// Power includes networks and the end: an administrator until Friday makes none beyond
// Friday, and one of the office none for elsewhere. Two exceptions take power away only:
// to take one out of service (disable, remove, end a key) the caller's permissions and
// grants have to cover it, not networks and end; and an administrator may always end
// itself. An operation needs a permission besides, but for one's own key.
//
// A second rule keeps the service manageable: a change must not lower the best standing of
// an administrator with a key that works: may create keys; may do and grant everything;
// the same without an end. The caller's power is read in the transaction too, so two
// administrators that end each other at the same time do not both succeed.
//
// Every new permission has to be one that grants limit, or an operation that requires
// access to all projects: an owner of one project has all permissions.
//
// # What it does not do
//
// It stores nothing itself (a [Store] does), verifies no key (authz does), and knows no
// HTTP. Errors are those of keyring and authz, and [ErrLastOwner].
package administrators

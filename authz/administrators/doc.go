// Package administrators is the service for the identities that manage keys. It creates,
// changes, disables, removes and recovers administrators, issues and rotates their keys, and
// stores their management roles. For a caller of the management API it returns the
// [keyring.Principal].
//
// An administrator has management roles (sets of permissions, see [Roles]), grants (which
// scopes, projects and users it may act on), networks, and an end. Its [Power] is all of
// these together. A rotation family of API keys authenticates it. These keys carry no rights
// over keys. Package keyring refuses to change them, and refuses scopes on the reserved
// resource, so power over keys changes only in this package.
//
// # The rule
//
// The function judge is called in the transaction of each change:
//
//	Every administrator that is different after the change (its row, its keys, or its
//	power because of a role) must have been within the caller's power before, and be
//	within it afterwards.
//
// It compares states and not operations, so it also applies to an operation that does not
// know of it. Power includes networks and the end: an administrator that ends on Friday
// makes none that ends later, and one that is limited to the office makes none for other
// networks. There are two exceptions, which only take power away. To take an administrator
// out of service (disable, remove, end a key), the caller's permissions and grants have to
// cover the administrator's, but not networks and end. An administrator may always end
// itself. Each operation also needs a permission, unless it concerns the caller's own key.
//
// A second rule keeps the service manageable. Among the administrators with a key that
// works, a change must not lower the best standing. From the lowest to the highest: may
// create keys; may do and grant everything; the same without an end. The caller's power is
// read in the transaction too, so two administrators that end each other at the same time do
// not both succeed.
//
// Every new permission has to be one that grants limit, or an operation that requires
// access to all projects: an owner of one project has all permissions.
//
// # What it does not do
//
// It stores nothing itself (a [Store] does), verifies no key (authz does), and knows no
// HTTP. Errors are those of keyring and authz, and [ErrLastOwner].
package administrators

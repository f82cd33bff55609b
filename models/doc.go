// Package models stores keys, roles, audit entries, usage and the change feed, through
// GORM, in embedded SQLite or in Postgres. Both pass the same conformance suite.
//
// Triggers in the database, not this package, give every change that matters to decisions
// its version and its row in the outbox. So changes by hand-written SQL count too. Times
// are UTC with microseconds. Errors name the subject of a row, never its contents.
//
// The package makes no decisions and caches nothing.
package models

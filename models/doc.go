// Package models keeps keys, roles, audit, usage and the change feed in a
// database through GORM: SQLite, embedded, or Postgres. Both pass one
// conformance suite.
//
// Triggers, not this package, give every decision-relevant change its version and
// its row in the outbox, so that SQL typed by hand counts too. Times are UTC with
// microseconds. Errors name the subject of a row, never its contents.
//
// It judges nothing and caches nothing.
package models

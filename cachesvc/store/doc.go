// Package store is the contract of a generic store for cached bytes. Each entry has a
// lifetime, many entries can be dropped at once by a tag, and a store reports figures.
// Package memory implements the contract; package storetest holds the conformance suite
// that every implementation passes.
//
// The package knows nothing of keys, users or scopes. It does not promise that values are
// up to date: any entry may be gone at any time, and the set of a tag may be incomplete.
// A caller that needs more keeps versions in the values.
package store

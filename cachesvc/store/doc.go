// Package store is the contract of a generic store for cached bytes: core
// operations with a lifetime each, tags by which many entries are dropped at
// once, and figures. Package memory implements it; package storetest holds the
// conformance suite that every implementation passes.
//
// It knows nothing of keys, users or scopes, and promises nothing about being
// up to date: any entry may be gone at any time, and a tag set need not be
// whole. A caller that needs more keeps versions in the values.
package store

// Package storetest is the conformance suite of package store: every
// implementation passes it. It starts no store and knows none.
package storetest

// Package storetest is the conformance suite of package store, which every implementation
// passes. It starts no store and knows no implementation.
package storetest

// Package cachetest is the test environment of the cache's packages: a database with
// versions and a change feed, and a shared store, both in memory. The connections to them
// can be made slow, made to fail, and made to lose answers.
package cachetest

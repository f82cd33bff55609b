// Command echo is an upstream for tests: it answers every request with exactly the
// request that it received. It decides nothing and keeps nothing.
package main

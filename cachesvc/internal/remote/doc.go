// Package remote gives access to a store that all replicas share (Redis) without ever
// depending on it: each call has a budget, a breaker keeps calls away from a store that
// does not answer, and writes wait in a bounded queue, so that no caller waits for them.
//
// What the store loses costs time and nothing else, and what it returns is not trusted:
// package seal and package freshness decide about that.
package remote

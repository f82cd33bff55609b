// Package remote gives access to a store that all replicas share (Redis) without ever
// depending on it: each call has a budget, a breaker keeps calls away from a store that
// does not answer, and writes wait in a bounded queue, so that no caller waits for them.
//
// Data that the store loses costs time and nothing else. Data that it returns is not
// trusted: packages seal and freshness decide whether it may be used.
package remote

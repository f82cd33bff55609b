// Package remote gives access to a store that all replicas share (Redis), without
// depending on it. Each call has a budget. A breaker keeps calls away from a store that
// does not answer. Writes wait in a bounded queue, so that no caller waits for them.
//
// Data that the store loses costs time and nothing else. Data that it returns is not
// trusted: packages seal and freshness decide whether it may be used.
package remote

// Command echo is an upstream for trials: it answers every request with exactly
// what reached it. It decides nothing and keeps nothing.
package main

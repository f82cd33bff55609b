// Package memory is a store in process: bounded by entries, of which the least
// recently used go first, under one lock. It is for values that are asked for by
// people and now and then, not for the path of a check (cachesvc's L1 is).
package memory

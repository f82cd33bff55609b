// Package memory is a store in process: bounded by entries, of which the least recently
// used go first, under one lock. It is for values that people read now and then, not for
// the path of a check (cachesvc's L1 is).
package memory

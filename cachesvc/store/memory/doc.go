// Package memory is a store in process. It has a bounded number of entries, of which it
// evicts the least recently used first, and one lock. It is for values that people read
// now and then, not for checks, which use cachesvc's L1.
package memory

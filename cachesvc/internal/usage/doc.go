// Package usage counts the uses of keys in process and writes the counts to the database.
// As long as the process lives, each use is written exactly once. If the process is
// killed, at most the uses of the last seconds are lost.
//
// A [Recorder] turns counts into batches (counter.go, batch.go). A batch keeps its source
// and sequence wherever it goes, and the database adds a batch once. So every step may be
// repeated, by any replica and in any order. The order within a step is: write, wait for
// the answer, only then forget. Batches that the database does not accept are copied to
// the shared store (journal.go) and moved to a file (spool.go).
//
// Counting takes no lock that all keys share, does no I/O, and allocates only for a key's
// first use.
package usage

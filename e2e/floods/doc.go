// Package floods attacks each listener of the real binary, in a process without the race
// detector, and measures its memory while clients of the same and of the other listeners
// continue.
package floods

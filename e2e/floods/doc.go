// Package floods attacks each listener of the real binary, which is built without the
// race detector. It measures the binary's memory while clients of the same and of the
// other listeners continue.
package floods

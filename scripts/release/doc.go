// Command release builds the artifacts that are published for a commit: archives of the
// binary, image tarballs, the chart, an SBOM of each binary and image, and their
// checksums. The same commit, Go and roots of trust give the same bytes: every timestamp
// is the commit's, and owners, order and modes are fixed. It needs no network once the
// modules are in Go's cache. With a key it signs the checksums, offline, and the
// signature has the same bytes each time. It uploads nothing.
package main

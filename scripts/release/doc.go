// Command release builds the artifacts that are published for a commit: archives of the
// binary, image tarballs, the chart, an SBOM of each binary and image, and their
// checksums. From the same commit, Go and roots of trust it makes the same bytes, without
// network once the modules are in Go's cache: every timestamp in them is the commit's,
// and owners, order and modes are fixed. With a key it signs the checksums, offline and
// with the same bytes each time. It uploads nothing.
package main

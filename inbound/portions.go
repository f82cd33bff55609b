package inbound

import (
	"bytes"
	"io"
)

// portions passes on, in portions, what a reader returns. Only one goroutine may read at
// a time.
//
// The size of a portion is determined after the read and not before it, since a read
// waits: a thousand connections that began to wait while nothing was held may receive 16
// KiB each at the same moment.
type portions struct {
	rest []byte // read, and not passed on yet
	err  error  // of the read that returned the rest
}

// read does a Read on from. most returns how many of the available bytes are passed on
// now, at least 1.
func (r *portions) read(p []byte, from io.Reader, most func(int) int) (int, error) {
	if len(r.rest) == 0 {
		n, err := from.Read(p)
		if n == 0 {
			return n, err
		}
		first := most(n)
		if first == n {
			return n, err
		}
		r.rest, r.err = bytes.Clone(p[first:n]), err
		return first, nil
	}
	if len(p) == 0 {
		return 0, nil
	}
	n := copy(p[:most(min(len(p), len(r.rest)))], r.rest)
	if r.rest = r.rest[n:]; len(r.rest) > 0 {
		return n, nil
	}
	err := r.err
	r.rest, r.err = nil, nil
	return n, err
}

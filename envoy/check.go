package envoy

import (
	"sync"

	"google.golang.org/grpc/mem"

	"extauthz/authz"
)

// check is the memory of one check, used again for others: what was asked, and
// what is told.
type check struct {
	request authz.Request
	scratch authz.Scratch // where the key is read into; what is told of it is copied
	answer  answer
	wire    wireRequest
	data    mem.Buffer // the request's bytes, whose texts request borrows; nil: none
}

var checks = sync.Pool{New: func() any { return new(check) }}

func takeCheck() *check {
	c := checks.Get().(*check)
	c.request.Scratch = &c.scratch
	return c
}

// mostHeaders is for how many headers a check keeps memory: a message of 1 MiB can
// hold 100,000.
const mostHeaders = 1000

// release ends whatever borrowed from the check.
func (c *check) release() {
	c.request.Reset()
	c.answer.reset()
	c.wire.reset()
	if c.data != nil {
		c.data.Free()
		c.data = nil
	}
	if cap(c.request.Headers) <= mostHeaders && cap(c.wire.sent) <= mostHeaders {
		checks.Put(c)
	}
}

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
	answer  answer
	wire    wireRequest
	data    mem.Buffer // the request's bytes, whose texts request borrows; nil: none
}

var checks = sync.Pool{New: func() any { return new(check) }}

func takeCheck() *check { return checks.Get().(*check) }

// release ends whatever borrowed from the check.
func (c *check) release() {
	c.request.Reset()
	c.answer.reset()
	c.wire.reset()
	if c.data != nil {
		c.data.Free()
		c.data = nil
	}
	checks.Put(c)
}

package envoy

import (
	"context"
	"sync"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/mem"

	"extauthz/authz"
)

// check is the memory of one check, used again for others: what was asked, and
// what is answered.
type check struct {
	request authz.Request
	scratch authz.Scratch // where the key is read into; what is sent of it is copied
	answer  answer

	form    form
	message *authv3.CheckRequest // formMessage
	wire    wireRequest          // formBytes
	data    mem.Buffer           // formBytes: the request's bytes, whose texts request borrows; nil: none
	call    httpCall             // formHTTP
}

// form is how a gateway forwards what is asked for.
type form uint8

const (
	formBytes   form = iota // a CheckRequest's bytes
	formMessage             // a CheckRequest that protobuf has decoded
	formHTTP                // a request over HTTP
)

// read brings what is asked for into c.request, from the form that it came in. It is false
// where the gateway did not forward what has to be judged.
func (c *check) read(ctx context.Context, p *policy) bool {
	switch c.form {
	case formMessage:
		decode(&c.request, c.message)
		return true
	case formHTTP:
		return c.call.read(ctx, p, &c.request)
	default:
		return c.wire.read(&c.request, &p.headers, p.encoder.holds, c.data.ReadOnlyData())
	}
}

var checks = sync.Pool{New: func() any { return new(check) }}

func takeCheck() *check {
	c := checks.Get().(*check)
	c.request.Scratch = &c.scratch
	return c
}

// maxHeaders is for how many headers a check keeps memory: a message of 1 MiB can
// hold 100,000.
const maxHeaders = 1000

// release ends whatever borrowed from the check.
func (c *check) release() {
	c.request.Reset()
	c.answer.reset()
	c.wire.reset()
	c.form, c.message, c.call = formBytes, nil, httpCall{}
	if c.data != nil {
		c.data.Free()
		c.data = nil
	}
	if cap(c.request.Headers) <= maxHeaders && cap(c.wire.sent) <= maxHeaders {
		checks.Put(c)
	}
}

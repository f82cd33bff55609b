package envoy

import (
	"context"
	"sync"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/mem"

	"extauthz/authz"
)

// check is the memory of one check: the request and the answer. It is reused for other
// checks.
type check struct {
	request authz.Request
	scratch authz.Scratch // the key is read into it; the parts of it that are sent are copied
	answer  answer

	form    form
	message *authv3.CheckRequest // formMessage
	wire    wireRequest          // formBytes
	data    mem.Buffer           // formBytes: the bytes from which request borrows its texts; nil: none
	call    httpCall             // formHTTP
}

// form is the form in which a gateway forwards a request.
type form uint8

const (
	formBytes   form = iota // a CheckRequest's bytes
	formMessage             // a CheckRequest that protobuf has decoded
	formHTTP                // a request over HTTP
)

// read reads the forwarded request into c.request. It returns false if the gateway
// forwarded no request that can be judged.
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

// maxHeaders bounds the headers for which a released check keeps its memory: a message of
// 1 MiB can hold 100,000.
const maxHeaders = 1000

// release lets the check be reused. Texts that are borrowed from it are invalid from then
// on.
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

package floods

import (
	"bytes"
	"crypto/tls"
	"net"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer sends any HTTP/2 frames.
type peer struct {
	net.Conn
	*http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer
	next    uint32
}

func (f *field) clientTLS() *tls.Config {
	pair, err := tls.LoadX509KeyPair(f.tls.CertFile, f.tls.KeyFile)
	must(err)
	return &tls.Config{RootCAs: f.tls.Pool, ServerName: "localhost", Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
}

// speak opens a connection to gRPC and exchanges prefaces. It returns nil if that fails.
func (f *field) speak(settings ...http2.Setting) *peer {
	c := f.dial(f.GRPC)
	if c == nil {
		return nil
	}
	if f.tls != nil {
		c = tls.Client(c, f.clientTLS())
	}
	p := &peer{Conn: c, Framer: http2.NewFramer(c, c), next: 1}
	p.encoder = hpack.NewEncoder(&p.block)
	if _, err := c.Write([]byte(http2.ClientPreface)); err != nil || p.WriteSettings(settings...) != nil {
		_ = c.Close()
		return nil
	}
	return p
}

const checkMethod = "/envoy.service.auth.v3.Authorization/Check"

// headers encodes the headers of a call, followed by more fields.
func (p *peer) headers(method string, more ...hpack.HeaderField) []byte {
	p.block.Reset()
	for _, h := range append([]hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: method},
		{Name: ":authority", Value: "extauthz"}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"}}, more...) {
		must(p.encoder.WriteField(h))
	}
	return p.block.Bytes()
}

// call begins a call and returns its stream.
func (p *peer) call(block []byte, end bool) (uint32, error) {
	id := p.next
	p.next += 2
	return id, p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: end})
}

// message returns the beginning of a gRPC message: its prefix with the length, and this
// many bytes of it.
func message(length, there int) []byte {
	b := make([]byte, 5+there)
	b[1], b[2], b[3], b[4] = byte(length>>24), byte(length>>16), byte(length>>8), byte(length)
	return b
}

// send sends bytes in DATA frames of at most size.
func (p *peer) send(id uint32, b []byte, size int, end bool) error {
	for len(b) > 0 {
		n := min(size, len(b))
		if err := p.WriteData(id, end && n == len(b), b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

package floods

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
)

// calls begins calls on a connection, each with a message in frames of a size, and waits
// until the connection is closed. It first sends a part of each message, and the rest
// once the service has had time to widen the stream's window for it.
func (f *field) calls(n int, message []byte, frame int) {
	p := f.speak()
	if p == nil {
		return
	}
	first := min(len(message), 8<<10)
	go func() {
		var begun []uint32
		for range n {
			id, err := p.call(p.headers(checkMethod), false)
			if err != nil || p.send(id, message[:first], frame, false) != nil {
				return
			}
			begun = append(begun, id)
		}
		if first == len(message) {
			return
		}
		time.Sleep(300 * time.Millisecond)
		for _, id := range begun {
			if p.send(id, message[first:], frame, false) != nil {
				return
			}
		}
	}()
	f.untilClosed(p)
}

// whole sends checks without a key as fast as possible, and reads the answers.
func (f *field) whole(body, n int) {
	request := checkRequest("none")
	request.Attributes.Request.Http.Body = strings.Repeat("x", body)
	b, err := proto.Marshal(request)
	must(err)
	b = append(message(len(b), 0), b...)
	p := f.speak()
	if p == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range n {
			if id, err := p.call(p.headers(checkMethod), false); err != nil || p.send(id, b, 16<<10, true) != nil {
				return
			}
		}
	}()
	go func() { <-done; time.Sleep(100 * time.Millisecond); _ = p.Close() }()
	f.untilClosed(p)
}

func (f *field) notTaken(settings http2.Setting) {
	b, err := proto.Marshal(checkRequest("none"))
	must(err)
	b = append(message(len(b), 0), b...)
	p := f.speak(settings)
	if p == nil {
		return
	}
	go func() {
		for f.ctx.Err() == nil {
			if id, err := p.call(p.headers(checkMethod), false); err != nil || p.send(id, b, 16<<10, true) != nil {
				return
			}
		}
	}()
	f.untilClosed(p)
}

func (f *field) notRead(method string) {
	b, err := proto.Marshal(checkRequest("none"))
	must(err)
	b = append(message(len(b), 0), b...)
	p := f.speak(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	if p == nil {
		return
	}
	_ = p.WriteWindowUpdate(0, 1<<30)
	for f.ctx.Err() == nil {
		if id, err := p.call(p.headers(method), false); err != nil || p.send(id, b, 16<<10, true) != nil {
			break
		}
	}
	_ = p.Close()
}

func (f *field) bomb(name, value string, times int) {
	p := f.speak()
	if p == nil {
		return
	}
	go func() {
		for range 1000 {
			fields := make([]hpack.HeaderField, times)
			for i := range fields {
				fields[i] = hpack.HeaderField{Name: name, Value: value}
			}
			if _, err := p.call(p.headers(checkMethod, fields...), false); err != nil {
				return
			}
		}
	}()
	f.untilClosed(p)
}

func (f *field) echoed() {
	p := f.speak()
	if p == nil {
		return
	}
	p.block.Reset()
	for f.ctx.Err() == nil {
		p.block.Reset()
		for _, h := range []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/"}, {Name: ":authority", Value: "x"},
			{Name: "content-type", Value: strings.Repeat("\x01", 3900)}} {
			must(p.encoder.WriteField(h))
		}
		if _, err := p.call(p.block.Bytes(), false); err != nil {
			break
		}
	}
	_ = p.Close()
}

func (f *field) endless() {
	p := f.speak()
	if p == nil {
		return
	}
	fields := make([]hpack.HeaderField, 3500)
	for i := range fields {
		fields[i] = hpack.HeaderField{Name: "a", Value: ""}
	}
	block := bytes.Clone(p.headers(checkMethod, fields...))
	go func() {
		if p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:100]}) != nil {
			return
		}
		for rest := block[100:]; len(rest) > 0; {
			n := min(len(rest), 1000)
			if p.WriteContinuation(1, false, rest[:n]) != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	f.untilClosed(p)
}

func (f *field) resets() {
	p := f.speak()
	if p == nil {
		return
	}
	go func() {
		for f.ctx.Err() == nil {
			id, err := p.call(p.headers(checkMethod), false)
			if err != nil || p.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
	}()
	f.untilClosed(p)
}

func (f *field) pings() {
	p := f.speak()
	if p == nil {
		return
	}
	for f.ctx.Err() == nil {
		if p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 1 << 31}) != nil || p.WritePing(false, [8]byte{}) != nil {
			break
		}
	}
	_ = p.Close()
}

// silent opens connections, and sends the same text on each and then nothing.
func (f *field) silent(address string, n int, text string) {
	f.crowd(n, func() {
		c := f.dial(address)
		if c == nil {
			return
		}
		_, _ = io.WriteString(c, text)
		wait(f.ctx, c)
		f.refused.Add(1)
		_ = c.Close()
	})
}

// wait reads a byte a second of the answer until the other side closes.
func wait(ctx context.Context, c net.Conn) {
	for one := make([]byte, 1); ctx.Err() == nil; {
		if _, err := c.Read(one); err != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// slow sends a byte a second.
func (f *field) slow(address, text string) {
	f.crowd(2000, func() {
		c := f.dial(address)
		if c == nil {
			return
		}
		defer func() { _ = c.Close() }()
		for i := range len(text) {
			if _, err := c.Write([]byte(text[i : i+1])); err != nil {
				f.refused.Add(1)
				return
			}
			select {
			case <-f.ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
	})
}

func (f *field) handshakes() {
	c := f.dial(f.GRPC)
	if c == nil {
		return
	}
	s := tls.Client(c, &tls.Config{RootCAs: f.tls.Pool, ServerName: "localhost", NextProtos: []string{"h2"}})
	_ = s.HandshakeContext(f.ctx)
	_ = c.Close()
}

func head(n int) string {
	return "GET /check HTTP/1.1\r\nhost: x\r\nx-long: " + strings.Repeat("x", n)
}

func smallHeaders(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%x:\r\n", i)
	}
	return b.String()
}

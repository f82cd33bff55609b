package envoy

import (
	"context"
	"sync"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// wireCodec passes Check's messages as bytes, which Service decodes and encodes itself.
// It leaves all other messages (health, reflection) to protobuf. Decoding and encoding by
// protobuf takes most of the CPU that an empty server spends on a check.
type wireCodec struct{ encoding.CodecV2 }

func newWireCodec() wireCodec { return wireCodec{encoding.GetCodecV2(proto.Name)} }

// Unmarshal keeps the bytes of a CheckRequest until the check is released.
func (w wireCodec) Unmarshal(data mem.BufferSlice, v any) error {
	c, ok := v.(*check)
	if !ok {
		return w.CodecV2.Unmarshal(data, v)
	}
	if c.data != nil { // a second message, although a call may have only one: gRPC ends the call
		c.data.Free()
	}
	if data.Len() > largestBuffer {
		c.data = mem.SliceBuffer(data.Materialize())
	} else {
		c.data = data.MaterializeToBuffer(mem.DefaultBufferPool())
	}
	return nil
}

// largestBuffer is the second largest buffer size of gRPC's pool. The largest is 1 MiB: a
// message that is a little larger than largestBuffer would hold such a buffer.
const largestBuffer = 32 << 10

// Marshal passes an answer's bytes to gRPC, which then frees them.
func (w wireCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(mem.Buffer); ok {
		return mem.BufferSlice{b}, nil
	}
	return w.CodecV2.Marshal(v)
}

// wireServiceDesc is the Authorization service with its messages as bytes.
var wireServiceDesc = grpc.ServiceDesc{
	ServiceName: authv3.Authorization_ServiceDesc.ServiceName,
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Check", Handler: checkWire}},
	Metadata:    authv3.Authorization_ServiceDesc.Metadata,
}

// checkWire is Service.Check for bytes. There are no interceptors.
func checkWire(srv any, ctx context.Context, receive func(any) error, _ grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // gRPC's order
	c := takeCheck()
	defer c.release()
	if err := receive(c); err != nil {
		return nil, err
	}
	return srv.(*Service).checkWire(ctx, c)
}

func (s *Service) checkWire(ctx context.Context, c *check) (mem.Buffer, error) {
	c.form = formBytes
	if err := s.handleRPC(ctx, c); err != nil {
		return nil, err
	}
	b := answerBuffers.Get(answerSize)
	*b = c.answer.appendWire((*b)[:0])
	return mem.NewBuffer(b, answerBuffers), nil
}

// answerSize is the size in bytes that most answers fit in. It is above the size up to
// which gRPC does not reuse a buffer (1 KiB).
const answerSize = 2 << 10

var answerBuffers mem.BufferPool = &buffers{}

// buffers is a pool of buffers for answers. gRPC's own pool clears each buffer that it
// returns, which is not needed here.
type buffers struct{ sync.Pool }

func (p *buffers) Get(length int) *[]byte {
	if b, ok := p.Pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, length)
	return &b
}

// Put drops buffers that an unusual answer made large.
func (p *buffers) Put(b *[]byte) {
	if cap(*b) <= 4*answerSize {
		p.Pool.Put(b)
	}
}

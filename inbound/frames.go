package inbound

import "encoding/binary"

// The frames of HTTP/2 (RFC 9113) that matter here.
const (
	frameData, frameHeaders, frameReset, frameContinuation = 0x0, 0x1, 0x3, 0x9
	flagEndStream, flagEndHeaders                          = 0x1, 0x4

	frameHeaderSize = 9
	prefaceSize     = len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
)

// The cost of a stream in memory. Measured with grpc-go 1.85 (docs/limits.md).
const (
	// streamCost is that of a call whose headers were received: its state, contexts and
	// timers, the goroutine and its stack.
	streamCost = 16 << 10
	// dataCost is the cost of a DATA frame in addition to its bytes, since each frame is
	// a buffer of its own.
	dataCost = 128
	// blockCost is the memory that a byte of headers can take while the block is
	// incomplete: an indexed field of one byte becomes a field of two strings. maxBlock
	// is the most memory that the limit of a header list allows for one block.
	blockCost, maxBlock = 128, 512 << 10
)

// frames splits one direction of a connection into frames, and keeps only their
// headers.
type frames struct {
	skip   int // bytes to skip: the preface, or the rest of a frame
	header [frameHeaderSize]byte
	have   int // how many bytes of the header have been read
}

type frame struct {
	kind, flags byte
	length      int
	stream      uint32
}

// next returns the next frame that begins in p, and the bytes behind its header. ok is
// false if p has no complete header.
func (f *frames) next(p []byte) (fr frame, rest []byte, ok bool) {
	n := min(f.skip, len(p))
	f.skip -= n
	p = p[n:]
	h := p
	if f.have > 0 || len(p) < frameHeaderSize {
		n = copy(f.header[f.have:], p)
		f.have += n
		p = p[n:]
		if f.have < frameHeaderSize {
			return fr, nil, false
		}
		h, f.have = f.header[:], 0
	} else {
		p = p[frameHeaderSize:]
	}
	fr = frame{kind: h[3], flags: h[4], length: int(h[0])<<16 | int(h[1])<<8 | int(h[2]), stream: binary.BigEndian.Uint32(h[5:]) &^ (1 << 31)}
	f.skip = fr.length
	return fr, p, true
}

// within reports whether the last frame is incomplete.
func (f *frames) within() bool { return f.skip > 0 || f.have > 0 }

// stream is one call.
type stream struct {
	since    int64 // clock of its headers
	held     int64 // bytes
	complete bool  // the client has sent all of it
	reset    bool  // by the client; the handler may still be running
}

// streams are the open calls of a connection. Its Conn's mu guards them.
type streams struct {
	in, out frames
	open    map[uint32]stream
	last    uint32 // highest id that the client has used

	block      uint32 // the stream whose headers are incomplete; 0: none
	blockHeld  int64  // bytes held for these headers
	blockSince int64
	partial    int64 // clock of the beginning of an incomplete frame; 0: none
}

func newStreams() *streams {
	return &streams{in: frames{skip: prefaceSize}, open: map[uint32]stream{}}
}

// received processes bytes from the client, and returns how many more bytes are held.
func (s *streams) received(p []byte, now int64) (more int64) {
	began := false
	for len(p) > 0 {
		began = began || s.in.skip > 0 && s.in.skip <= len(p) // a frame ends, and the next one begins
		f, rest, ok := s.in.next(p)
		if !ok {
			break
		}
		p = rest
		more += s.takes(f, now)
	}
	switch {
	case !s.in.within():
		s.partial = 0
	case began || s.partial == 0:
		s.partial = now
	}
	return more
}

func (s *streams) takes(f frame, now int64) (more int64) {
	switch f.kind {
	case frameHeaders:
		st, open := s.open[f.stream]
		switch {
		case open: // trailers
			more = int64(f.length)
		case f.stream%2 == 1 && f.stream > s.last:
			s.last, st.since = f.stream, now
			more = streamCost + int64(f.length)
		default:
			return 0 // no valid stream: gRPC ends the connection
		}
		st.held += more
		st.complete = st.complete || f.flags&flagEndStream != 0
		s.open[f.stream] = st
		s.block, s.blockSince = f.stream, now
		more += s.headers(f)
	case frameContinuation:
		if f.stream == s.block && s.block != 0 {
			more = s.headers(f)
		}
	case frameData:
		if st, open := s.open[f.stream]; open {
			more = bufferOf(f.length)
			st.held += more
			st.complete = st.complete || f.flags&flagEndStream != 0
			s.open[f.stream] = st
		}
	case frameReset:
		if st, open := s.open[f.stream]; open {
			st.reset, st.complete = true, true
			s.open[f.stream] = st
		}
	}
	return more
}

// headers counts a block of headers for as long as it is not complete.
func (s *streams) headers(f frame) (more int64) {
	if f.flags&flagEndHeaders != 0 {
		more = -s.blockHeld
		s.block, s.blockHeld = 0, 0
		return more
	}
	more = min(int64(f.length)*blockCost, maxBlock-s.blockHeld)
	s.blockHeld += more
	return more
}

// bufferOf returns the memory of a DATA frame: a buffer, in one of grpc-go's sizes, and
// the frame's part of the message that is assembled from the buffers.
func bufferOf(length int) int64 {
	switch {
	case length <= 1<<10:
		return int64(2*length) + dataCost
	case length <= 4<<10:
		return 4<<10 + int64(length) + dataCost
	default:
		return 16<<10 + int64(length) + dataCost
	}
}

// sent processes bytes to the client, and returns how many held bytes are freed. used
// reports whether the message of an answer is among them.
func (s *streams) sent(p []byte) (freed int64, used bool) {
	for len(p) > 0 {
		f, rest, ok := s.out.next(p)
		if !ok {
			break
		}
		p = rest
		used = used || f.kind == frameData
		if f.kind == frameReset || f.kind <= frameHeaders && f.flags&flagEndStream != 0 {
			freed += s.end(f.stream)
		}
	}
	return freed, used
}

func (s *streams) end(id uint32) (freed int64) {
	held := s.open[id].held
	delete(s.open, id)
	return held
}

// sweep forgets the streams that the client has reset. Until then they count, so that a
// client that resets its calls at once can't have more running than one that lets them
// end.
func (s *streams) sweep() (freed int64) {
	for id, st := range s.open {
		if st.reset {
			freed += s.end(id)
		}
	}
	return freed
}

// unfinished returns the clock of the beginning of a frame or block of headers that the
// client has not completed; 0 if there is none.
func (s *streams) unfinished() int64 {
	if s.block != 0 {
		return s.blockSince
	}
	return s.partial
}

// stuck returns the bytes that are held because of the client, and since when. They are
// those of incomplete calls, and of calls whose answer the client has not read.
func (s *streams) stuck(now int64) (bytes, since int64) {
	since = now
	if s.blockHeld > 0 {
		bytes, since = s.blockHeld, s.blockSince
	}
	for _, st := range s.open {
		if !st.complete || s.partial != 0 || now-st.since > int64(stuckTime) {
			bytes += st.held
			since = min(since, st.since)
		}
	}
	return bytes, since
}

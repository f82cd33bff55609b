package envoy

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"extauthz/authz"
)

// Numbers of the CheckRequest fields that are read (envoy/service/auth/v3 and
// config/core/v3). A map's entry and a HeaderValue have the same first two fields.
const (
	checkAttributes = 1

	attributesSource, attributesRequest, attributesExtensions, attributesRouteMetadata = 1, 4, 10, 13

	requestHTTP = 2

	httpMethod, httpHeaders, httpPath, httpHost, httpScheme, httpHeaderMap = 2, 3, 4, 5, 6, 13

	headerMapHeaders, headerRawValue = 1, 3

	peerAddress                                = 1
	addressSocket, addressPipe, addressOfEnvoy = 1, 2, 3
	socketAddress                              = 2
)

// wireRequest reads a CheckRequest from its bytes, with the same result as decode for one
// that protobuf has decoded. Repeated fields and messages are merged. Of a scalar and of
// a map's key, the last occurrence counts. Unknown fields are skipped. It reads only what
// decisions need, and copies nothing.
//
// Protobuf refuses some messages because of fields that are not read here, or because of
// texts that are not UTF-8. Such messages are decided about here all the same.
type wireRequest struct {
	request *authz.Request
	headers *headerSet
	holds   func(value string) bool // whether a header's value holds a key
	held    bool                    // a header that is not read holds a key
	all     bool                    // every header is read
	sent    []string                // parallel to request.Headers: a plain header's name as it was sent, or rawLine
	places  places                  // index of sent

	path, method, authority pseudo
	peer                    string
	metadata                *corev3.Metadata
}

// rawLine stands for a raw line in wireRequest.sent: several raw lines may have the same
// name. No plain header is mistaken for one, since names that begin with ":" are
// pseudo-headers.
const rawLine = ":"

// pseudo holds the values of a pseudo-header: that of its last raw line, and the plain
// one.
type pseudo struct {
	raw, plain string
	isRaw      bool
}

func (w *wireRequest) reset() {
	clear(w.sent)
	*w = wireRequest{sent: w.sent[:0]}
}

// read reads data into an empty r, which borrows its texts from data. It returns false if
// data is not a CheckRequest. If a header that decisions do not depend on holds a key, it
// reads all headers, so that it knows which of a name's values counts.
func (w *wireRequest) read(r *authz.Request, headers *headerSet, holds func(string) bool, data []byte) bool {
	w.headers, w.holds = headers, holds
	ok := w.readInto(r, data)
	if !w.held {
		return ok
	}
	w.reset()
	r.Reset()
	w.headers, w.all = headers, true
	return w.readInto(r, data)
}

func (w *wireRequest) readInto(r *authz.Request, data []byte) bool {
	w.request = r
	s := scanner{rest: data}
	for s.next() {
		if s.field == checkAttributes && !w.attributes(s.value) {
			return false
		}
	}
	if s.bad {
		return false
	}
	r.PathSanitised = true
	if w.path.isRaw {
		r.Path, r.PathSanitised = w.path.raw, false
	} else if r.Path == "" {
		r.Path = w.path.plain
	}
	w.method.into(&r.Method)
	w.authority.into(&r.Host)
	if w.peer != "" {
		r.Peer = peer(w.peer)
	}
	if w.metadata != nil {
		r.Route = gatewayRoute(w.metadata)
	}
	w.preferRaw()
	return true
}

func (p *pseudo) into(text *string) {
	if p.isRaw {
		*text = p.raw
	} else if *text == "" {
		*text = p.plain
	}
}

func (w *wireRequest) attributes(data []byte) bool {
	s := scanner{rest: data}
	for s.next() {
		ok := true
		switch s.field {
		case attributesSource:
			ok = w.source(s.value)
		case attributesRequest:
			ok = w.http(s.value)
		case attributesExtensions:
			var key, value []byte
			if key, value, _, ok = pair(s.value); ok {
				switch string(key) {
				case "resource":
					w.request.ContextResource = borrowed(value)
				case "action":
					w.request.ContextAction = borrowed(value)
				}
			}
		case attributesRouteMetadata:
			if len(s.value) > 0 { // sent only by gateways that are configured for it, so not worth decoding by hand
				if w.metadata == nil {
					w.metadata = &corev3.Metadata{}
				}
				ok = proto.UnmarshalOptions{Merge: true}.Unmarshal(s.value, w.metadata) == nil
			}
		}
		if !ok {
			return false
		}
	}
	return !s.bad
}

// source reads the peer's address. It is a oneof, of which the last member counts.
func (w *wireRequest) source(data []byte) bool {
	s := scanner{rest: data}
	for s.next() {
		if s.field != peerAddress {
			continue
		}
		address := scanner{rest: s.value}
		for address.next() {
			switch address.field {
			case addressPipe, addressOfEnvoy:
				w.peer = ""
			case addressSocket:
				socket := scanner{rest: address.value}
				for socket.next() {
					if socket.field == socketAddress {
						w.peer = borrowed(socket.value)
					}
				}
				if socket.bad {
					return false
				}
			}
		}
		if address.bad {
			return false
		}
	}
	return !s.bad
}

func (w *wireRequest) http(data []byte) bool {
	s := scanner{rest: data}
	for s.next() {
		if s.field == requestHTTP && !w.fields(s.value) {
			return false
		}
	}
	return !s.bad
}

func (w *wireRequest) fields(data []byte) bool {
	s, r := scanner{rest: data}, w.request
	for s.next() {
		switch s.field {
		case httpMethod:
			r.Method = borrowed(s.value)
		case httpPath:
			r.Path = borrowed(s.value)
		case httpHost:
			r.Host = borrowed(s.value)
		case httpScheme:
			r.Scheme = borrowed(s.value)
		case httpHeaders:
			name, value, _, ok := pair(s.value)
			if !ok {
				return false
			}
			w.header(borrowed(name), borrowed(value), false)
		case httpHeaderMap:
			if !w.lines(s.value) {
				return false
			}
		}
	}
	return !s.bad
}

// lines reads a HeaderMap, which Envoy sends with encode_raw_headers.
func (w *wireRequest) lines(data []byte) bool {
	s := scanner{rest: data}
	for s.next() {
		if s.field != headerMapHeaders {
			continue
		}
		name, value, raw, ok := pair(s.value)
		if !ok {
			return false
		}
		if len(raw) > 0 {
			value = raw
		}
		w.header(borrowed(name), borrowed(value), true)
	}
	return !s.bad
}

func (w *wireRequest) header(sent, value string, raw bool) {
	if sent != "" && sent[0] == ':' {
		w.pseudo(lowerName(sent), value, raw)
		return
	}
	name, ok := w.headers.find(sent)
	if !ok {
		if !w.all {
			w.held = w.held || w.holds(value)
			return
		}
		name = lowerName(sent)
	}
	r := w.request
	if raw {
		sent = rawLine
	} else if i := w.places.find(w.sent, sent); i >= 0 { // a map has a key once
		r.Headers[i].Value = value
		return
	}
	w.sent = append(w.sent, sent)
	w.places.add(w.sent)
	r.Headers = append(r.Headers, authz.Header{Name: name, Value: value, Sanitised: !raw})
}

func (w *wireRequest) pseudo(name, value string, raw bool) {
	var p *pseudo
	switch name {
	case ":path":
		p = &w.path
	case ":method":
		p = &w.method
	case ":authority":
		p = &w.authority
	default:
		return
	}
	if raw {
		p.raw, p.isRaw = value, true
	} else {
		p.plain = value
	}
}

// preferRaw drops plain headers whose names have raw lines too, since raw lines hold
// more.
func (w *wireRequest) preferRaw() {
	headers := w.request.Headers
	raw, plain := false, false
	for i := range headers {
		raw, plain = raw || !headers[i].Sanitised, plain || headers[i].Sanitised
	}
	if !raw || !plain { // Envoy sends only one of the two kinds
		return
	}
	lines := map[string]bool{}
	for i := range headers {
		if !headers[i].Sanitised {
			lines[headers[i].Name] = true
		}
	}
	w.request.Headers = slices.DeleteFunc(headers, func(h authz.Header) bool { return h.Sanitised && lines[h.Name] })
}

// pair reads an entry of a map of texts, or a HeaderValue.
func pair(data []byte) (key, value, raw []byte, ok bool) {
	// Nearly all entries have this form: a key and a value of less than 128 bytes each.
	if len(data) >= 2 && data[0] == entryKey<<3|2 && data[1] < 0x80 {
		if at := 2 + int(data[1]); len(data) >= at+2 && data[at+1] < 0x80 && len(data) == at+2+int(data[at+1]) {
			switch data[at] {
			case entryValue<<3 | 2:
				return data[2:at], data[at+2:], nil, true
			case headerRawValue<<3 | 2:
				return data[2:at], nil, data[at+2:], true
			}
		}
	}
	s := scanner{rest: data}
	for s.next() {
		switch s.field {
		case entryKey:
			key = s.value
		case entryValue:
			value = s.value
		case headerRawValue:
			raw = s.value
		}
	}
	return key, value, raw, !s.bad
}

// scanner iterates over the length-delimited fields of a message, and skips all others.
type scanner struct {
	rest  []byte
	field protowire.Number
	value []byte // within the message's bytes
	bad   bool   // the bytes are not a valid message
}

// next goes to the next field. It returns false at the end, and if the bytes are bad.
func (s *scanner) next() bool {
	for len(s.rest) > 0 {
		var kind protowire.Type
		n := 1
		if tag := s.rest[0]; tag < 0x80 && tag >= 1<<3 {
			s.field, kind = protowire.Number(tag>>3), protowire.Type(tag&7)
		} else if s.field, kind, n = protowire.ConsumeTag(s.rest); n < 0 {
			s.bad = true
			return false
		}
		s.rest = s.rest[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(s.field, kind, s.rest); n < 0 {
				s.bad = true
				return false
			}
			s.rest = s.rest[n:]
			continue
		}
		length, n := uint64(0), 1
		if len(s.rest) > 0 && s.rest[0] < 0x80 {
			length = uint64(s.rest[0])
		} else if length, n = protowire.ConsumeVarint(s.rest); n < 0 {
			s.bad = true
			return false
		}
		if length > uint64(len(s.rest)-n) {
			s.bad = true
			return false
		}
		s.value, s.rest = s.rest[n:n+int(length)], s.rest[n+int(length):]
		return true
	}
	return false
}

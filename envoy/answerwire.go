package envoy

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of the messages that an answer consists of: CheckResponse, its parts in
// envoy/service/auth/v3, and google.protobuf.Struct.
const (
	responseStatus, responseDenied, responseOK, responseMetadata, responseError = 1, 2, 3, 4, 5

	okHeaders, okRemove, okClientHeaders = 2, 5, 6

	deniedStatus, deniedHeaders, deniedBody = 1, 2, 3

	optionHeader, optionAppend, optionAction = 1, 2, 3

	structFields                         = 1
	valueNumber, valueText, valueStruct  = 2, 3, 5
	statusCode, entryKey, entryValue     = 1, 1, 2 // statusCode: in both kinds of status; the others: in a map's entry and in a HeaderValue
	overwriteIfExistsOrAdd               = 2
	optionTailSize                       = 4 // Append (an empty BoolValue: false) and AppendAction
	oneByteTag, numberSize, highestShort = 1, 8, 0x7f
)

// appendWire appends the bytes of the message that a.message returns. Envoy can't
// distinguish them from those that protobuf makes. It allocates nothing beyond b. All
// tags have one byte.
func (a *answer) appendWire(b []byte) []byte {
	if a.code == 0 {
		b = append(b, responseStatus<<3|2, 0)
	} else {
		b = append(b, responseStatus<<3|2, 2, statusCode<<3, byte(a.code)) // codes are under 128
	}
	switch {
	case a.allowed():
		b = appendHead(b, responseOK, headersSize(a.headers)+textsSize(a.remove)+headersSize(a.client))
		b = appendHeaders(b, okHeaders, a.headers)
		for _, name := range a.remove {
			b = appendText(b, okRemove, name)
		}
		b = appendHeaders(b, okClientHeaders, a.client)
	default:
		kind := byte(responseDenied)
		if a.error {
			kind = responseError
		}
		status, text := a.wireStatus(), a.wireBody()
		code := oneByteTag + protowire.SizeVarint(uint64(status))
		body := 0
		if text != "" {
			body = textSize(len(text))
		}
		b = appendHead(b, kind, textSize(code)+headersSize(a.headers)+body)
		b = appendHead(b, deniedStatus, code)
		b = binary.AppendUvarint(append(b, statusCode<<3), uint64(status))
		b = appendHeaders(b, deniedHeaders, a.headers)
		if text != "" {
			b = appendText(b, deniedBody, text)
		}
	}
	if len(a.facts) == 0 {
		return b
	}
	size := 0
	for i := range a.facts {
		size += textSize(factSize(&a.facts[i]))
	}
	if !a.rate.IsZero() {
		size += textSize(a.rateSize())
	}
	b = appendHead(b, responseMetadata, size)
	for i := range a.facts {
		b = appendFact(b, &a.facts[i])
	}
	if !a.rate.IsZero() {
		b = a.appendRate(b)
	}
	return b
}

// textSize is the size of a field with n bytes of content.
func textSize(n int) int {
	if n <= highestShort {
		return oneByteTag + 1 + n
	}
	return oneByteTag + protowire.SizeBytes(n)
}

func textsSize(texts []string) (size int) {
	for _, s := range texts {
		size += textSize(len(s))
	}
	return size
}

func appendHead(b []byte, field byte, n int) []byte {
	b = append(b, field<<3|2)
	if n <= highestShort {
		return append(b, byte(n))
	}
	return binary.AppendUvarint(b, uint64(n))
}

func appendText(b []byte, field byte, s string) []byte {
	return append(appendHead(b, field, len(s)), s...)
}

// pairSize is the size of a HeaderValue. An empty value is left out, as protobuf does.
func pairSize(h *header) int {
	size := textSize(len(h.name))
	if h.value != "" {
		size += textSize(len(h.value))
	}
	return size
}

func headersSize(headers []header) (size int) {
	for i := range headers {
		size += textSize(textSize(pairSize(&headers[i])) + optionTailSize)
	}
	return size
}

func appendHeaders(b []byte, field byte, headers []header) []byte {
	for i := range headers {
		h := &headers[i]
		pair := pairSize(h)
		b = appendHead(b, field, textSize(pair)+optionTailSize)
		b = appendHead(b, optionHeader, pair)
		b = appendText(b, entryKey, h.name)
		if h.value != "" {
			b = appendText(b, entryValue, h.value)
		}
		b = append(b, optionAppend<<3|2, 0, optionAction<<3, overwriteIfExistsOrAdd)
	}
	return b
}

// factSize is the size of an entry of a Struct with a text for a value.
func factSize(f *header) int { return textSize(len(f.name)) + textSize(textSize(len(f.value))) }

func appendFact(b []byte, f *header) []byte {
	b = appendHead(b, structFields, factSize(f))
	b = appendText(b, entryKey, f.name)
	b = appendHead(b, entryValue, textSize(len(f.value)))
	return appendText(b, valueText, f.value)
}

// The rate is a Struct of two entries. It is inside a Value, which is inside an entry of
// the metadata.
const rateCountSize = 2 + len(rateCount) + 2 + oneByteTag + numberSize

func (a *answer) rateStructSize() int {
	unit := header{rateUnit, rateUnits[a.rate.Per]}
	return textSize(rateCountSize) + textSize(factSize(&unit))
}

func (a *answer) rateSize() int {
	return textSize(len(rateFact)) + textSize(textSize(a.rateStructSize()))
}

func (a *answer) appendRate(b []byte) []byte {
	b = appendHead(b, structFields, a.rateSize())
	b = appendText(b, entryKey, rateFact)
	b = appendHead(b, entryValue, textSize(a.rateStructSize()))
	b = appendHead(b, valueStruct, a.rateStructSize())
	b = appendHead(b, structFields, rateCountSize)
	b = appendText(b, entryKey, rateCount)
	b = appendHead(b, entryValue, oneByteTag+numberSize)
	b = binary.LittleEndian.AppendUint64(append(b, valueNumber<<3|1), math.Float64bits(float64(a.rate.Count)))
	return appendFact(b, &header{rateUnit, rateUnits[a.rate.Per]})
}

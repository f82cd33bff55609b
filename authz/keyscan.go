package authz

import (
	"hash/crc32"
	"strings"
	"unsafe"
)

// maxKeyLength is the longest that a key can be: a brand and an environment of
// 16 characters each.
const maxKeyLength = 16 + 1 + 16 + 1 + keyTailLength

// Holds reports whether a text contains a whole key of this service, whatever surrounds
// the key: head, length, alphabet and checksum are as [KeyFormat.Parse] requires. Each
// character of the key may be percent-encoded, and the encoding may be encoded again. The
// time grows with the text alone: a text without the beginning of a key costs a search
// for the brand and one for each "%". Holds allocates only if parts of an encoding in the
// text are encoded themselves.
func (f *KeyFormat) Holds(text string) bool {
	if len(text) < f.shortest {
		return false
	}
	if f.holdsOnce(text) {
		return true
	}
	for range maxDecodings {
		if !encodesEncoding(text) {
			return false
		}
		text, _ = decodeOnce(text)
		if f.holdsOnce(text) {
			return true
		}
	}
	return false
}

// encodesEncoding reports whether a text may contain a percent-encoding once it is
// decoded. That is so if it has an encoded "%", or a "%" without two hexadecimal digits,
// since the digits may be encoded.
func encodesEncoding(text string) bool {
	for i := strings.IndexByte(text, '%'); i >= 0 && i < len(text); i++ {
		if text[i] == '%' {
			if c, ok := unescape(text[i:]); !ok || c == '%' {
				return true
			}
		}
	}
	return false
}

// holdsOnce finds keys in which each character is plain or encoded on its own.
func (f *KeyFormat) holdsOnce(text string) bool {
	for rest := text; ; {
		i := strings.Index(rest, f.stem)
		if i < 0 {
			break
		}
		if f.keyAt(rest[i:]) {
			return true
		}
		rest = rest[i+1:]
	}
	first := strings.IndexByte(text, '%')
	if first < 0 {
		return false
	}
	for i := first; i+2 < len(text); i++ {
		if text[i] == '%' && f.mayBeginEncoded(text[i+1], text[i+2]) && f.encodedStemAt(text, i) {
			return true
		}
	}
	return false
}

// mayBeginEncoded reports whether two hexadecimal digits encode a character of the stem,
// or a "%" that more digits follow. Nearly all encoded characters are neither.
func (f *KeyFormat) mayBeginEncoded(high, low byte) bool {
	b := hexValue[high]<<4 | hexValue[low]&15
	return f.inStem[b] || b == '%'
}

// hexValue is the value of a hexadecimal digit, and 0 for any other byte: bytes that
// pass because of that are decoded properly afterwards.
var hexValue = func() (values [256]byte) {
	for c := range values {
		if v := unhex(byte(c)); v >= 0 {
			values[c] = byte(v)
		}
	}
	return values
}()

// HeaderHolds is Holds for the value of a header: there a key may also be the
// user or the password of the scheme Basic, which base64 hides.
func (f *KeyFormat) HeaderHolds(value string) bool {
	return len(value) >= f.shortest && (f.Holds(value) || f.holdsInBasic(value))
}

// encodedStemAt reports whether text[i:] begins with the first encoded character of a
// key, and that character is in the stem. Keys with a plain stem are found by the stem.
func (f *KeyFormat) encodedStemAt(text string, i int) bool {
	b, n := decodedByte(text[i:])
	if n == 1 {
		return false
	}
	for j := 0; j < len(f.stem) && j <= i; j++ {
		if f.stem[j] == b && text[i-j:i] == f.stem[:j] && f.keyAt(text[i-j:]) {
			return true
		}
	}
	return false
}

// keyAt reports whether text begins with a whole key.
func (f *KeyFormat) keyAt(text string) bool {
	for _, head := range f.heads {
		if f.keyWithHeadAt(text, head) {
			return true
		}
	}
	return false
}

// keyWithHeadAt reports whether text begins with a whole key that has this head. It
// decodes the key into memory on the stack. hash/crc32, which Parse uses, would move that
// memory to the heap, since the CRC-32 by the processor's instructions lets its input
// escape.
func (f *KeyFormat) keyWithHeadAt(text, head string) bool {
	var key [maxKeyLength]byte
	whole := len(head) + keyTailLength
	for n := range whole {
		if text == "" {
			return false
		}
		b, length := decodedByte(text)
		switch {
		case n < len(head):
			if b != head[n] {
				return false
			}
		case n == len(head)+keyIDLength:
			if b != '_' {
				return false
			}
		case !isBase62Byte(b):
			return false
		}
		key[n], text = b, text[length:]
	}
	body := whole - keyChecksumLength
	sum := checksumDigits(crc32OnStack(key[:body]))
	return string(key[body:whole]) == string(sum[:])
}

func crc32OnStack(b []byte) uint32 {
	c := ^uint32(0)
	for _, x := range b {
		c = crc32.IEEETable[byte(c)^x] ^ c>>8
	}
	return ^c
}

// decodedByte returns the character that a text begins with and the length of its
// encoding: 1 for a plain one, 3 for "%61", 5 for "%2561" and so on. The text is not
// empty.
func decodedByte(text string) (b byte, length int) {
	b, length = text[0], 1
	for b == '%' && length+2 <= len(text) {
		hi, lo := unhex(text[length]), unhex(text[length+1])
		if hi < 0 || lo < 0 {
			break
		}
		b, length = byte(hi<<4|lo), length+2
	}
	return b, length
}

// holdsInBasic searches the decoded value of the scheme Basic. A gateway may have joined
// several lines with ",", and some upstreams skip a "," within base64. So the first part
// is also read to the end of the value, each further part only to its comma.
func (f *KeyFormat) holdsInBasic(value string) bool {
	first := true
	for value != "" {
		for value != "" && (value[0] == ' ' || value[0] == '\t') {
			value = value[1:]
		}
		part := value
		comma := strings.IndexByte(value, ',')
		if comma < 0 {
			value = ""
		} else {
			part, value = value[:comma], value[comma+1:]
		}
		if !isBasic(part) {
			continue
		}
		if first && comma >= 0 && f.holdsInBase64(part[len(basicScheme):], value) || f.holdsInBase64(part[len(basicScheme):], "") {
			return true
		}
		first = false
	}
	return false
}

const basicScheme = "basic"

// isBasic reports whether a value is of the scheme Basic, whatever character follows the
// scheme.
func isBasic(value string) bool {
	return len(value) > len(basicScheme) && strings.EqualFold(value[:len(basicScheme)], basicScheme)
}

// holdsInBase64 decodes text, followed by more, as the most lenient upstream would: both
// alphabets, with or without padding, other characters are skipped. It keeps only as much
// decoded text as a key needs.
func (f *KeyFormat) holdsInBase64(text, more string) bool {
	// This much decoded text is searched twice, since a key may lie across the border of
	// two searches, with each of its characters encoded twice.
	const overlap = 5 * maxKeyLength
	var decoded [3 * overlap]byte
	n, bits, have := 0, uint32(0), 0
	for {
		for i := range len(text) {
			v := base64Value(text[i])
			if v < 0 {
				continue
			}
			bits, have = bits<<6|uint32(v), have+6
			if have < 8 {
				continue
			}
			have -= 8
			decoded[n] = byte(bits >> have)
			if n++; n == len(decoded) {
				if f.Holds(unsafe.String(&decoded[0], n)) {
					return true
				}
				n = copy(decoded[:], decoded[n-overlap:])
			}
		}
		if text, more = more, ""; text == "" {
			return f.Holds(unsafe.String(&decoded[0], n))
		}
	}
}

func base64Value(c byte) int {
	switch {
	case c >= 'A' && c <= 'Z':
		return int(c - 'A')
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 26
	case c >= '0' && c <= '9':
		return int(c-'0') + 52
	case c == '+' || c == '-':
		return 62
	case c == '/' || c == '_':
		return 63
	}
	return -1
}

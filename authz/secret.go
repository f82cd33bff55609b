package authz

import (
	"fmt"
	"io"
	"log/slog"
	"unsafe"
)

const redacted = "[redacted]"

// Secret is a text that can't be printed: not by fmt, log/slog or
// encoding/json, not by any verb, and not from within a struct that hides it
// in an unexported field. The zero Secret is empty.
//
// It holds the string as pointer and length, since fmt prints unexported strings without
// calling their methods, but prints a pointer only as an address. It costs no allocation,
// and keeps the string alive as the string itself would.
type Secret struct {
	p *byte
	n int
}

// NewSecret hides s. It borrows s and copies nothing.
func NewSecret(s string) Secret { return Secret{unsafe.StringData(s), len(s)} }

// Reveal returns the text. Every call of it is a place to look at in a review.
func (s Secret) Reveal() string { return unsafe.String(s.p, s.n) }

// Len is the length in bytes.
func (s Secret) Len() int { return s.n }

// String returns a placeholder.
func (Secret) String() string { return redacted }

// GoString returns a placeholder.
func (Secret) GoString() string { return redacted }

// Format writes a placeholder, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns a placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a placeholder; encoding/json uses it too.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// DigestSize is how many bytes a [Digest] has.
const DigestSize = 32

// Digest is the 32-byte digest of a key, and as unprintable as a [Secret]. The
// zero Digest equals none.
//
// It points at its first byte. If a verb does not fit ("%s" of a struct that holds it),
// fmt prints an array behind a pointer in full, but prints only the address for a *byte.
type Digest struct{ p *byte }

// NewDigest hides b, which it copies.
func NewDigest(b [DigestSize]byte) Digest { return DigestOf(&b) }

// DigestOf hides b itself, which must not be changed any more.
func DigestOf(b *[DigestSize]byte) Digest { return Digest{&b[0]} }

// Bytes returns the digest; ok is false for the zero Digest.
func (d Digest) Bytes() (b [DigestSize]byte, ok bool) {
	if d.p == nil {
		return b, false
	}
	return [DigestSize]byte(unsafe.Slice(d.p, len(b))), true
}

// String returns a placeholder.
func (Digest) String() string { return redacted }

// GoString returns a placeholder.
func (Digest) GoString() string { return redacted }

// Format writes a placeholder, whatever the verb.
func (Digest) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns a placeholder.
func (Digest) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a placeholder; encoding/json uses it too.
func (Digest) MarshalText() ([]byte, error) { return []byte(redacted), nil }

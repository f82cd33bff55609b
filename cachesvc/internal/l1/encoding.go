package l1

import (
	"encoding/binary"
	"encoding/hex"
	"time"

	"extauthz/cachesvc/internal/freshness"
)

// decoder reads what the append functions wrote. Texts that it returns are parts of rest,
// unless they are copied into a scratch buffer.
type decoder struct{ rest string }

func (f *decoder) text(n int) string {
	s := f.rest[:n]
	f.rest = f.rest[n:]
	return s
}

func (f *decoder) byte() byte { return f.text(1)[0] }

func (f *decoder) uvarint() (n uint64) {
	for i := 0; ; i++ {
		b := f.rest[i]
		n |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			f.rest = f.rest[i+1:]
			return n
		}
	}
}

func (f *decoder) varint() int64 {
	n := f.uvarint()
	return int64(n>>1) ^ -int64(n&1)
}

func (f *decoder) plainText() string { return f.text(int(f.uvarint())) }

// textIn reads a text and copies it into r. If r is nil, the text is a part of rest.
func (f *decoder) textIn(r *scratch) string {
	if r == nil {
		return f.plainText()
	}
	return r.copyString(f.plainText())
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// An id is written as 16 bytes if it is a UUID in its usual text, else as text.
const idIsUUID = 1

func appendID(b []byte, s string) []byte {
	var id [16]byte
	if !parseUUID(&id, s) {
		return append(binary.AppendUvarint(b, uint64(len(s))<<1), s...)
	}
	return append(append(b, idIsUUID), id[:]...)
}

func (f *decoder) id(r *scratch) string {
	n := f.uvarint()
	if n != idIsUUID {
		return r.copyString(f.text(int(n >> 1)))
	}
	raw, text := f.text(16), r.bytesOf(36)
	for i := range uuidGroups {
		g := &uuidGroups[i]
		for at := range g.bytes {
			c := raw[g.from+at]
			text[g.at+2*at], text[g.at+2*at+1] = hexDigits[c>>4], hexDigits[c&15]
		}
		if g.at > 0 {
			text[g.at-1] = '-'
		}
	}
	return textOf(text)
}

const hexDigits = "0123456789abcdef"

// uuidGroups are the groups of digits in a UUID's text. Each has this many bytes of the
// UUID, beginning at byte from, and begins at position at of the text.
var uuidGroups = [...]struct{ from, bytes, at int }{{0, 4, 0}, {4, 2, 9}, {6, 2, 14}, {8, 2, 19}, {10, 6, 24}}

// parseUUID reads the form that [decoder.id] writes, and no other.
func parseUUID(id *[16]byte, s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return false
		}
	}
	for _, g := range uuidGroups {
		var digits [12]byte
		n := copy(digits[:], s[g.at:g.at+2*g.bytes])
		if _, err := hex.Decode(id[g.from:g.from+g.bytes], digits[:n]); err != nil {
			return false
		}
	}
	return true
}

// Times are kept to the nanosecond, whatever their year, and are read as UTC. Seconds
// count from a recent day, so that present times are short. Nanoseconds that are whole
// microseconds, as databases keep them, are written as microseconds.
const timesFrom = 1_735_689_600 // 2025-01-01

func appendTime(b []byte, t time.Time) []byte {
	b = binary.AppendVarint(b, t.Unix()-timesFrom)
	if n := uint64(t.Nanosecond()); n%1000 == 0 {
		return binary.AppendUvarint(b, n/1000<<1)
	} else {
		return binary.AppendUvarint(b, n<<1|1)
	}
}

func (f *decoder) time() time.Time {
	seconds, n := f.varint()+timesFrom, int64(f.uvarint())
	if n&1 == 0 {
		n = n >> 1 * 1000
	} else {
		n >>= 1
	}
	return time.Unix(seconds, n).UTC()
}

const (
	stampFound = byte(1) << iota
	stampShared
	stampOutsideLease
)

// appendStamp writes a stamp without Checked, which is 0 again in a value that is read.
func appendStamp(b []byte, s *freshness.Stamp) []byte {
	b = append(b, bit(s.Found, stampFound)|bit(s.Shared, stampShared)|bit(s.OutsideLease, stampOutsideLease))
	b = binary.AppendUvarint(b, s.Version)
	b = binary.AppendUvarint(b, s.Seq)
	b = binary.AppendUvarint(b, s.Generation)
	b = binary.AppendVarint(b, int64(s.AsOf))
	b = binary.AppendVarint(b, int64(s.Expires-s.AsOf))
	return binary.AppendVarint(b, int64(s.UsableUntil-s.Expires))
}

func (f *decoder) stamp(s *freshness.Stamp) {
	flags := f.byte()
	s.Found, s.Shared, s.OutsideLease = flags&stampFound != 0, flags&stampShared != 0, flags&stampOutsideLease != 0
	s.Version, s.Seq, s.Generation = f.uvarint(), f.uvarint(), f.uvarint()
	s.AsOf = time.Duration(f.varint())
	s.Expires = s.AsOf + time.Duration(f.varint())
	s.UsableUntil = s.Expires + time.Duration(f.varint())
}

func bit[T ~uint8 | ~uint32](on bool, of T) T {
	if on {
		return of
	}
	return 0
}

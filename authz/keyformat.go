package authz

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"regexp"
	"strings"
	"unsafe"
)

// The parts of a key: brand_environment_id_secretchecksum.
const (
	keyIDLength       = 8  // base62: 47 bits, enough for millions of keys; after a collision another id is tried
	keySecretLength   = 32 // base62: 190 bits
	keyChecksumLength = 6  // base62 of a CRC-32
	keyTailLength     = keyIDLength + 1 + keySecretLength + keyChecksumLength

	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// DefaultBrand is the first word of keys where none is configured.
const DefaultBrand = "ak"

// KeyFormatConfig defines how keys of this installation begin.
type KeyFormatConfig struct {
	Brand        string   // [a-z][a-z0-9]{0,15}; "" is DefaultBrand
	Environments []string // each [a-z][a-z0-9]{0,15}; if empty: live and test
}

// KeyFormat generates and parses keys of the form ak_live_<8 base62 id>_<32 base62
// secret><6 base62 CRC-32>. The checksum distinguishes truncated or mistyped keys, and
// most forgeries, from real ones without a look-up; it does not verify a key. A KeyFormat
// is immutable.
type KeyFormat struct {
	environments []string
	heads        []string  // such as "ak_live_", one for each environment
	stem         string    // "ak_": how all of them begin
	shortest     int       // length of a key with the shortest head
	inStem       [256]bool // whether a byte occurs in stem
}

var keyWord = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)

// NewKeyFormat returns the format, or an error that reports every problem at once.
func NewKeyFormat(c KeyFormatConfig) (*KeyFormat, error) {
	if c.Brand == "" {
		c.Brand = DefaultBrand
	}
	if len(c.Environments) == 0 {
		c.Environments = []string{"live", "test"}
	}
	var problems []error
	if !keyWord.MatchString(c.Brand) {
		problems = append(problems, fmt.Errorf("key brand %q: write 1 to 16 lower-case letters and digits, a letter first", c.Brand))
	}
	f := &KeyFormat{stem: c.Brand + "_", shortest: maxKeyLength}
	for i := range len(f.stem) {
		f.inStem[f.stem[i]] = true
	}
	seen := map[string]bool{}
	for _, e := range c.Environments {
		switch {
		case !keyWord.MatchString(e):
			problems = append(problems, fmt.Errorf("key environment %q: write 1 to 16 lower-case letters and digits, a letter first", e))
		case seen[e]:
			problems = append(problems, fmt.Errorf("key environment %q occurs twice: remove one", e))
		}
		seen[e] = true
		f.environments = append(f.environments, e)
		f.heads = append(f.heads, f.stem+e+"_")
		f.shortest = min(f.shortest, len(f.stem)+len(e)+1+keyTailLength)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return f, nil
}

// ParsedKey holds the parts of a key's text. Its strings borrow from the key.
type ParsedKey struct {
	Prefix      string // "ak_live_4fJ9xQ2b": public
	Environment string
}

// Generate makes a key from random, which must be crypto/rand.Reader outside
// of tests.
func (f *KeyFormat) Generate(environment string, random io.Reader) (key Secret, prefix string, err error) {
	for i, e := range f.environments {
		if e != environment {
			continue
		}
		head := f.heads[i]
		b := make([]byte, 0, len(head)+keyTailLength)
		b = append(b, head...)
		if b, err = appendRandom(b, keyIDLength, random); err != nil {
			return Secret{}, "", err
		}
		prefix = string(b)
		b = append(b, '_')
		if b, err = appendRandom(b, keySecretLength, random); err != nil {
			return Secret{}, "", err
		}
		sum := checksum(string(b))
		return NewSecret(string(append(b, sum[:]...))), prefix, nil
	}
	return Secret{}, "", fmt.Errorf("environment %q is not one of %q", environment, f.environments)
}

// appendRandom appends n base62 digits, each equally likely: bytes from 248 on
// are thrown away, since 248 is the largest multiple of 62 in a byte.
func appendRandom(b []byte, n int, random io.Reader) ([]byte, error) {
	var buf [64]byte
	for n > 0 {
		if _, err := io.ReadFull(random, buf[:]); err != nil {
			return nil, fmt.Errorf("random source: %w", err)
		}
		for _, r := range buf {
			if r < 248 && n > 0 {
				b = append(b, base62[r%62])
				n--
			}
		}
	}
	return b, nil
}

func checksum(s string) [keyChecksumLength]byte {
	return checksumDigits(crc32.ChecksumIEEE(unsafe.Slice(unsafe.StringData(s), len(s)))) // it only reads
}

func checksumDigits(c uint32) (sum [keyChecksumLength]byte) {
	for i := keyChecksumLength - 1; i >= 0; i-- {
		sum[i] = base62[c%62]
		c /= 62
	}
	return sum
}

// Parse reads a key; ok is false if the form or the checksum is wrong. It allocates
// nothing, and rejects input of the wrong length without reading it.
func (f *KeyFormat) Parse(key Secret) (p ParsedKey, ok bool) {
	s := key.Reveal()
	for i, head := range f.heads {
		if len(s) != len(head)+keyTailLength || s[:len(head)] != head {
			continue
		}
		prefix := len(head) + keyIDLength
		if s[prefix] != '_' || !isBase62(s[len(head):prefix]) || !isBase62(s[prefix+1:]) {
			return ParsedKey{}, false
		}
		body := len(s) - keyChecksumLength
		sum := checksum(s[:body])
		if s[body:] != string(sum[:]) {
			return ParsedKey{}, false
		}
		return ParsedKey{Prefix: s[:prefix], Environment: f.environments[i]}, true
	}
	return ParsedKey{}, false
}

// ValidPrefix reports whether prefix is of the form "ak_live_4fJ9xQ2b".
func (f *KeyFormat) ValidPrefix(prefix string) bool {
	for _, head := range f.heads {
		if len(prefix) == len(head)+keyIDLength && prefix[:len(head)] == head {
			return isBase62(prefix[len(head):])
		}
	}
	return false
}

// Mentions reports whether a text begins like the keys of one of the environments, and so
// is a key of this service, even if it is cut or mistyped.
func (f *KeyFormat) Mentions(value string) bool {
	for _, head := range f.heads {
		if strings.HasPrefix(value, head) {
			return true
		}
	}
	return false
}

// Environments returns the configured environments, the default one first.
func (f *KeyFormat) Environments() []string { return append([]string(nil), f.environments...) }

func isBase62(s string) bool {
	for i := range len(s) {
		if !isBase62Byte(s[i]) {
			return false
		}
	}
	return true
}

func isBase62Byte(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z'
}

package authz

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
)

// HashAlg names how a digest was made; it is the column hash_alg.
type HashAlg string

// The algorithms for keys that this service generates. They are fast, since such a key
// has 190 random bits and can't be guessed.
const (
	HashSHA256     HashAlg = "sha256"
	HashHMACSHA256 HashAlg = "hmac-sha256"
)

// Verifier is what verifies a key: a digest of the whole key. The zero Verifier
// verifies none.
type Verifier struct {
	Alg      HashAlg
	PepperID string // of HashHMACSHA256, "" otherwise
	Digest   Digest
}

// ParseDigest reads 64 hexadecimal digits. Its error does not repeat them.
func ParseDigest(text string) (Digest, error) {
	var b [32]byte
	if len(text) != 2*len(b) {
		return Digest{}, errors.New("digest: 64 hexadecimal digits are needed")
	}
	if _, err := hex.Decode(b[:], []byte(text)); err != nil {
		return Digest{}, errors.New("digest: 64 hexadecimal digits are needed")
	}
	return NewDigest(b), nil
}

// MinPepperLength is the shortest pepper in bytes: as long as the digest.
const MinPepperLength = 32

const maxStackMessage = 192 // longer keys are hashed too, with an allocation

// Pepper is a secret that is mixed into every digest and kept outside of the database. So
// a reader of the database can't test guessed keys against the digests.
//
// A writer can do more. Digests without a pepper can be made by any writer, and such a
// row is accepted unless [Peppers.Required] is set. Even then a writer can change the
// other columns of a row, for example raise its scopes or undo its revocation. But a
// writer can then neither make a digest nor take one from another row, since the digest
// covers the whole key with its prefix.
type Pepper struct {
	ID           string // derived from the bytes: the same pepper has the same id everywhere
	inner, outer *[sha256.BlockSize]byte
}

// NewPepper makes a pepper of at least MinPepperLength bytes.
func NewPepper(raw []byte) (Pepper, error) {
	if len(raw) < MinPepperLength {
		return Pepper{}, fmt.Errorf("pepper has %d bytes: at least %d are needed", len(raw), MinPepperLength)
	}
	key := raw
	if len(key) > sha256.BlockSize {
		h := sha256.Sum256(key)
		key = h[:]
	}
	p := Pepper{inner: new([sha256.BlockSize]byte), outer: new([sha256.BlockSize]byte)}
	copy(p.inner[:], key)
	copy(p.outer[:], key)
	for i := range p.inner {
		p.inner[i] ^= 0x36
		p.outer[i] ^= 0x5c
	}
	id := hmac.New(sha256.New, raw)
	id.Write([]byte("extauthz pepper id"))
	p.ID = hex.EncodeToString(id.Sum(nil)[:4])
	return p, nil
}

// mac is HMAC-SHA-256 (RFC 2104) with the pads made beforehand and the message
// on the stack: crypto/hmac allocates at each use.
func (p *Pepper) mac(message string) [32]byte {
	var stack [sha256.BlockSize + maxStackMessage]byte
	b := append(append(stack[:0], p.inner[:]...), message...)
	inner := sha256.Sum256(b)
	b = append(append(stack[:0], p.outer[:]...), inner[:]...)
	return sha256.Sum256(b)
}

// Peppers is the set of peppers in use. The first is current; the others still verify the
// digests that were made with them. Without any pepper, keys are stored as plain SHA-256.
// Such keys stay valid once there is a pepper, unless [Peppers.Required] is set.
type Peppers struct {
	all      []Pepper
	required bool     // a digest that was made without one of them is rejected
	decoy    Verifier // what a key without a record is compared with
}

// Required returns a copy of the set that rejects every digest that was made without one
// of its peppers. The set needs at least one pepper.
func (p *Peppers) Required() (*Peppers, error) {
	if len(p.all) == 0 {
		return nil, errors.New("peppers are required, and there is none: no key would be valid")
	}
	strict := *p
	strict.required = true
	return &strict, nil
}

// IDs returns the ids of all peppers, the current one first.
func (p *Peppers) IDs() []string {
	ids := make([]string, len(p.all))
	for i := range p.all {
		ids[i] = p.all[i].ID
	}
	return ids
}

// RejectsOthers reports whether the peppers are required.
func (p *Peppers) RejectsOthers() bool { return p.required }

// Rejects reports whether the verifier is rejected because it was made without a required
// pepper. It is false for a zero Verifier, which was not made at all.
func (p *Peppers) Rejects(v Verifier) bool {
	return p.required && v.Alg != "" && p.find(v) == nil
}

// NewPeppers makes a set; no pepper at all is allowed.
func NewPeppers(peppers []Pepper) (*Peppers, error) {
	seen := map[string]bool{}
	for _, p := range peppers {
		if p.inner == nil {
			return nil, errors.New("pepper is empty: make it with NewPepper")
		}
		if seen[p.ID] {
			return nil, fmt.Errorf("pepper %s occurs twice: remove one", p.ID)
		}
		seen[p.ID] = true
	}
	p := &Peppers{all: append([]Pepper(nil), peppers...)}
	p.decoy = p.Verifier(NewSecret("decoy"))
	return p, nil
}

// Verifier makes what is stored for a key.
func (p *Peppers) Verifier(key Secret) Verifier {
	if len(p.all) == 0 {
		return Verifier{Alg: HashSHA256, Digest: NewDigest(p.sum(key.Reveal()))}
	}
	return Verifier{Alg: HashHMACSHA256, PepperID: p.all[0].ID, Digest: NewDigest(p.all[0].mac(key.Reveal()))}
}

// Verify reports whether v was made from key. It compares in constant time. A zero
// Verifier (that of an unknown key), a rejected one and one whose pepper is missing take
// the same path as that of a known key. It allocates nothing.
func (p *Peppers) Verify(v Verifier, key Secret) bool {
	pepper := p.find(v)
	known := pepper != nil || v.Alg == HashSHA256 && !p.required
	if !known {
		v, pepper = p.decoy, p.find(p.decoy)
	}
	want, ok := v.Digest.Bytes()
	var got [32]byte
	if pepper != nil {
		got = pepper.mac(key.Reveal())
	} else {
		got = p.sum(key.Reveal())
	}
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1 && ok && known
}

// Known reports whether a key can be valid by this verifier: its pepper is available,
// or none is needed.
func (p *Peppers) Known(v Verifier) bool {
	return p.find(v) != nil || v.Alg == HashSHA256 && !p.required
}

func (p *Peppers) find(v Verifier) *Pepper {
	if v.Alg != HashHMACSHA256 {
		return nil
	}
	for i := range p.all {
		if p.all[i].ID == v.PepperID {
			return &p.all[i]
		}
	}
	return nil
}

// sum is SHA-256 of the key.
func (p *Peppers) sum(message string) [32]byte {
	var stack [maxStackMessage]byte
	return sha256.Sum256(append(stack[:0], message...))
}

// Current reports whether a verifier made now would have the same algorithm and pepper.
// It is false after the current pepper changed, until the key is stored again.
func (p *Peppers) Current(v Verifier) bool {
	if len(p.all) == 0 {
		return v.Alg == HashSHA256
	}
	return v.Alg == HashHMACSHA256 && v.PepperID == p.all[0].ID
}

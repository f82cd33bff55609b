package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// MinKeyBytes is the length of the shortest sealing key.
const MinKeyBytes = 32

// Key seals values in the shared store. A client that can write there but does not have
// the key can neither make nor change a sealed value. A Key is immutable, and does not
// print its secret.
type Key struct {
	id     string
	secret []byte
}

// NewKey makes a key from at least MinKeyBytes random bytes.
func NewKey(raw []byte) (Key, error) {
	if len(raw) < MinKeyBytes {
		return Key{}, fmt.Errorf("sealing key has %d bytes: at least %d are needed", len(raw), MinKeyBytes)
	}
	// Id and secret are derived separately, so that the id reveals nothing about the
	// secret.
	return Key{id: hex.EncodeToString(derive(raw, "extauthz sealing key id", "")[:4]), secret: derive(raw, "extauthz sealing key", "")}, nil
}

// String returns the key's id, for messages.
func (k Key) String() string { return k.id }

// GoString keeps the secret out of %#v.
func (k Key) GoString() string { return k.id }

func derive(secret []byte, purpose, of string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(purpose))
	mac.Write([]byte{0})
	mac.Write([]byte(of))
	return mac.Sum(nil)
}

// Keys are the keys in use. The first one seals, and all of them open. So a key can be
// replaced without a moment at which a value can't be read.
type Keys []Key

// ErrSeal is returned for a value that is not exactly what was sealed.
var ErrSeal = errors.New("not what was sealed")

// seal encrypts secret so that it opens only under the same name and with the same public
// part. Each name has a key of its own. So random nonces of 96 bits never come near the
// limit of 2^32 for one key.
func (k Keys) seal(name string, public, secret []byte) ([]byte, error) {
	aead, err := k[0].aead(name)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, secret, public), nil
}

// open decrypts what seal encrypted. id is the id of the key that sealed it.
func (k Keys) open(id, name string, public, sealed []byte) ([]byte, error) {
	for _, key := range k {
		if key.id != id {
			continue
		}
		aead, err := key.aead(name)
		if err != nil {
			return nil, err
		}
		secret, err := aead.Open(nil, nil, sealed, public)
		if err != nil {
			return nil, ErrSeal
		}
		return secret, nil
	}
	return nil, fmt.Errorf("sealing key %q is not among this replica's keys", id)
}

// IDs returns the public ids of the keys. The first is that of the key that seals.
func (k Keys) IDs() []string {
	ids := make([]string, len(k))
	for i, key := range k {
		ids[i] = key.id
	}
	return ids
}

// aead returns the cipher for one name. It puts a random nonce before what it seals (NIST
// SP 800-38D, 8.2.2).
func (k Key) aead(name string) (cipher.AEAD, error) {
	block, err := aes.NewCipher(derive(k.secret, "of one name", name))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

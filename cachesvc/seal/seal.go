package seal

import (
	"bytes"
	"encoding/json"
)

// Sealed is the seal of a value. A type that is sealed embeds it as its last field.
type Sealed struct {
	SealKey string `json:"seal_key,omitempty"`
	Seal    []byte `json:"seal,omitempty"`
}

// Seal encodes value with a seal that covers all of value and secret. secret is
// encrypted. part points to the Sealed within value, and is set. keys must not be empty.
func Seal(keys Keys, name string, value any, part *Sealed, secret []byte) ([]byte, error) {
	*part = Sealed{SealKey: keys[0].id}
	public, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	if part.Seal, err = keys.seal(name, public, secret); err != nil {
		return nil, err
	}
	return json.Marshal(value)
}

// Open decodes into value what [Seal] wrote under name, and returns the secret. It
// accepts only bytes identical to those that Seal writes: for another spelling, or a
// field that is not known, the error is [ErrSeal].
func Open(keys Keys, name string, data []byte, value any, part *Sealed) ([]byte, error) {
	if err := json.Unmarshal(data, value); err != nil {
		return nil, ErrSeal
	}
	again, err := json.Marshal(value)
	if err != nil || !bytes.Equal(again, data) {
		return nil, ErrSeal
	}
	seal := part.Seal
	part.Seal = nil
	public, err := json.Marshal(value)
	if err != nil {
		return nil, ErrSeal
	}
	return keys.open(part.SealKey, name, public, seal)
}

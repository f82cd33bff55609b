package seal

import (
	"bytes"
	"encoding/json"
)

// Sealed is the last part of a shared value.
type Sealed struct {
	SealKey string `json:"seal_key,omitempty"`
	Seal    []byte `json:"seal,omitempty"`
}

// Seal writes value with a seal over all of it. part is its sealed part.
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

// Open reads into value what sealValue wrote under name. It takes nothing
// but the very bytes that sealValue writes: another spelling, or a field that is
// not known here, is as if it were not there.
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

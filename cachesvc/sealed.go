package cachesvc

import (
	"bytes"
	"encoding/json"
)

// sealed is the last part of a shared value.
type sealed struct {
	SealKey string `json:"seal_key,omitempty"`
	Seal    []byte `json:"seal,omitempty"`
}

// sealValue writes value with a seal over all of it. part is its sealed part.
func sealValue(keys SealingKeys, name string, value any, part *sealed, secret []byte) ([]byte, error) {
	*part = sealed{SealKey: keys[0].id}
	public, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	if part.Seal, err = keys.seal(name, public, secret); err != nil {
		return nil, err
	}
	return json.Marshal(value)
}

// openValue reads into value what sealValue wrote under name. It takes nothing
// but the very bytes that sealValue writes: another spelling, or a field that is
// not known here, is as if it were not there.
func openValue(keys SealingKeys, name string, data []byte, value any, part *sealed) ([]byte, error) {
	if err := json.Unmarshal(data, value); err != nil {
		return nil, errSeal
	}
	again, err := json.Marshal(value)
	if err != nil || !bytes.Equal(again, data) {
		return nil, errSeal
	}
	seal := part.Seal
	part.Seal = nil
	public, err := json.Marshal(value)
	if err != nil {
		return nil, errSeal
	}
	return keys.open(part.SealKey, name, public, seal)
}

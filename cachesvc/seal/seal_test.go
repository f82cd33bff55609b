package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

// note is a value that is sealed.
type note struct {
	Owner string `json:"owner"`
	Count int    `json:"count"`
	Sealed
}

func key(t *testing.T, fill byte) Key {
	t.Helper()
	k, err := NewKey(bytes.Repeat([]byte{fill}, MinKeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestOpen_RefusesWhatWasNotSealedSo(t *testing.T) {
	old, present, other := key(t, 1), key(t, 2), key(t, 3)
	v := note{Owner: "alice", Count: 1}
	data, err := Seal(Keys{present, old}, "name", &v, &v.Sealed, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte("secret")) {
		t.Errorf("the secret can be read in %s", data)
	}
	alter := func(from, to string) []byte {
		altered := bytes.Replace(data, []byte(from), []byte(to), 1)
		if bytes.Equal(altered, data) {
			t.Fatalf("%q is not in %s", from, data)
		}
		return altered
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, data, "", " "); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		keys   Keys
		stored string // the name that it is opened under
		data   []byte
		opens  bool
	}{
		{"as it was", Keys{present, old}, "name", data, true},
		{"with the key in second place", Keys{other, present}, "name", data, true},
		{"without the key", Keys{old, other}, "name", data, false},
		{"under another name", Keys{present}, "name2", data, false},
		{"with another field", Keys{present}, "name", alter(`"count":1`, `"count":2`), false},
		{"with a field more", Keys{present}, "name", alter(`"count":1`, `"count":1,"admin":true`), false},
		{"in another spelling", Keys{present}, "name", indented.Bytes(), false},
		{"with another key's id", Keys{present, other}, "name", alter(present.String(), other.String()), false},
		{"cut off", Keys{present}, "name", data[:len(data)-1], false},
		{"empty", Keys{present}, "name", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got note
			secret, err := Open(c.keys, c.stored, c.data, &got, &got.Sealed)
			if c.opens != (err == nil) || c.opens && (string(secret) != "secret" || got.Owner != "alice" || got.Count != 1) {
				t.Errorf("%+v, %q, %v", got, secret, err)
			}
		})
	}
}

func TestNewKey_RefusesAShortOne(t *testing.T) {
	if _, err := NewKey(make([]byte, MinKeyBytes-1)); err == nil {
		t.Error("a short key is accepted")
	}
}

func TestKeys_NameAKeyThatIsMissing(t *testing.T) {
	v := note{}
	data, err := Seal(Keys{key(t, 1)}, "name", &v, &v.Sealed, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Keys{key(t, 2)}, "name", data, &v, &v.Sealed); err == nil || errors.Is(err, ErrSeal) {
		t.Errorf("%v: want an error that names the key", err)
	}
}

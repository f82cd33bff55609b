package l1

import (
	"encoding/binary"
	"strings"

	"extauthz/authz"
)

// RoleCodec encodes roles. There are few roles, so none of their values are interned.
type RoleCodec struct{}

var _ Codec[authz.Role] = RoleCodec{}

func (RoleCodec) append(b []byte, _ string, v *Value[authz.Role]) []byte {
	r := &v.Data
	b = appendText(appendText(b, r.Name), r.Description)
	b = appendScopes(b, r.Scopes)
	b = appendTime(appendTime(b, r.CreatedAt), r.UpdatedAt)
	return binary.AppendUvarint(b, r.Version)
}

func (RoleCodec) read(from string, v *Value[authz.Role]) {
	f := decoder{strings.Clone(from)}
	v.Data = authz.Role{Name: f.plainText(), Description: f.plainText(), Scopes: f.scopes(nil), CreatedAt: f.time(), UpdatedAt: f.time(), Version: f.uvarint()}
}

func (RoleCodec) release(string) {}

// appendScopes writes the number of actions first, so that reading allocates all of them
// at once.
func appendScopes(b []byte, scopes authz.Scopes) []byte {
	var actions int
	for i := range scopes {
		actions += len(scopes[i].Actions)
	}
	b = binary.AppendUvarint(b, uint64(len(scopes)))
	b = binary.AppendUvarint(b, uint64(actions))
	for i := range scopes {
		b = appendTexts(appendText(b, scopes[i].Resource), scopes[i].Actions)
	}
	return b
}

func readScopes(written string, r *scratch) authz.Scopes {
	f := decoder{written}
	return f.scopes(r)
}

// scopes reads scopes into r. If r is nil it allocates them, and their texts are parts of
// f.rest.
func (f *decoder) scopes(r *scratch) authz.Scopes {
	n, actions := int(f.uvarint()), int(f.uvarint())
	if n == 0 {
		return nil
	}
	var scopes authz.Scopes
	var all []string
	if r == nil {
		scopes, all = make(authz.Scopes, n), make([]string, actions)
	} else {
		scopes, all = r.scopes(n), r.texts(actions)
	}
	for i := range scopes {
		scopes[i].Resource = f.textIn(r)
		n := int(f.uvarint())
		for k := range n {
			all[k] = f.textIn(r)
		}
		scopes[i].Actions, all = all[:n:n], all[n:]
	}
	return scopes
}

func appendTexts(b []byte, texts []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, t := range texts {
		b = appendText(b, t)
	}
	return b
}

func readTexts(written string, r *scratch) []string {
	f := decoder{written}
	return f.texts(r)
}

// texts reads texts into r. If r is nil it allocates the slice, and the texts are parts
// of f.rest.
func (f *decoder) texts(r *scratch) (texts []string) {
	n := int(f.uvarint())
	switch {
	case n == 0:
		return nil
	case r == nil:
		texts = make([]string, n)
	default:
		texts = r.texts(n)
	}
	for i := range texts {
		texts[i] = f.textIn(r)
	}
	return texts
}

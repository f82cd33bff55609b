package cachesvc

import (
	"encoding/binary"
	"strings"

	"extauthz/authz"
)

// roleCodec writes roles for L1. Roles are few, and have nothing in common.
type roleCodec struct{}

var _ codec[authz.Role] = roleCodec{}

func (roleCodec) append(b []byte, _ string, v *value[authz.Role]) []byte {
	r := &v.data
	b = appendText(appendText(b, r.Name), r.Description)
	b = appendScopes(b, r.Scopes)
	b = appendTime(appendTime(b, r.CreatedAt), r.UpdatedAt)
	return binary.AppendUvarint(b, r.Version)
}

func (roleCodec) read(from string, v *value[authz.Role]) {
	f := fields{strings.Clone(from)}
	v.data = authz.Role{Name: f.plain(), Description: f.plain(), Scopes: f.scopes(nil), CreatedAt: f.time(), UpdatedAt: f.time(), Version: f.uvarint()}
}

func (roleCodec) release(string) {}

// appendScopes writes how many actions there are first, so that reading makes
// room for all of them once.
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

func readScopes(written string, r *room) authz.Scopes {
	f := fields{written}
	return f.scopes(r)
}

// scopes returns what stands in r; where r is nil, texts are parts of f's.
func (f *fields) scopes(r *room) authz.Scopes {
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
		scopes[i].Resource = f.kept(r)
		n := int(f.uvarint())
		for k := range n {
			all[k] = f.kept(r)
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

func readTexts(written string, r *room) []string {
	f := fields{written}
	return f.texts(r)
}

// texts is to r as scopes is.
func (f *fields) texts(r *room) (texts []string) {
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
		texts[i] = f.kept(r)
	}
	return texts
}

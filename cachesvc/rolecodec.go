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
	v.data = authz.Role{Name: f.plain(), Description: f.plain(), Scopes: f.scopes(), CreatedAt: f.time(), UpdatedAt: f.time(), Version: f.uvarint()}
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

func readScopes(written string) authz.Scopes {
	f := fields{written}
	return f.scopes()
}

// scopes returns texts that are parts of f's.
func (f *fields) scopes() authz.Scopes {
	n, actions := f.uvarint(), f.uvarint()
	if n == 0 {
		return nil
	}
	scopes, all := make(authz.Scopes, n), make([]string, 0, actions)
	for i := range scopes {
		scopes[i].Resource = f.plain()
		from := len(all)
		for range f.uvarint() {
			all = append(all, f.plain())
		}
		scopes[i].Actions = all[from:len(all):len(all)]
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

func readTexts(written string) []string {
	f := fields{written}
	return f.texts()
}

func (f *fields) texts() []string {
	n := f.uvarint()
	if n == 0 {
		return nil
	}
	texts := make([]string, n)
	for i := range texts {
		texts[i] = f.plain()
	}
	return texts
}

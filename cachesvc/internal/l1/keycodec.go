package l1

import (
	"encoding/binary"
	"net/netip"
	"time"
	"unsafe"

	"extauthz/authz"
)

// KeyCodec encodes keys. A field that was nil or empty is nil when it is read. Scopes,
// roles and settings are stored apart from the bytes, once for all keys that share them.
type KeyCodec struct {
	scopes   *interned[authz.Scopes]
	roles    *interned[[]string]
	settings *interned[setting]
}

// setting holds the fields that most keys of an organisation have in common.
type setting struct {
	environment, project string
	alg                  authz.HashAlg
	pepperID             string
	rate                 authz.Rate
	grants               authz.Grants
}

var _ Codec[Credential] = (*KeyCodec)(nil)

// NewKeyCodec returns the codec of one table.
func NewKeyCodec() *KeyCodec {
	return &KeyCodec{newInterned(readScopes), newInterned(readTexts), newInterned(readSetting)}
}

// Flags at the start of a key's bytes. They show which fields follow, and in which form.
const (
	keyActive = uint32(1) << iota
	keyScopes
	keyScopesCommon
	keyRoles
	keyRolesCommon
	keySettingCommon
	keyDigest
	keyOwnPrefix // the prefix is not the id under which the key is stored
	keyOwnVersion
	keyUpdated // the time of the update is not that of the creation
	keyExpires
	keyRevoked
	keyShadow
	keyShadowEnd
	keyShadowScopes
	keyRotated
	keyFamily
	keyNetworks
	keyMetadata
)

func (k *KeyCodec) append(b []byte, id string, v *Value[Credential]) []byte {
	r, verifier := &v.Data.Record, &v.Data.Verifier
	digest, hasDigest := verifier.Digest.Bytes()
	flags := bit(r.Active, keyActive) | bit(len(r.Scopes) > 0, keyScopes) | bit(len(r.Roles) > 0, keyRoles) |
		bit(hasDigest, keyDigest) | bit(r.Prefix != id, keyOwnPrefix) | bit(r.Version != v.Version, keyOwnVersion) |
		bit(!r.UpdatedAt.Equal(r.CreatedAt), keyUpdated) | bit(!r.ExpiresAt.IsZero(), keyExpires) |
		bit(!r.RevokedAt.IsZero(), keyRevoked) | bit(!r.ShadowUntil.IsZero(), keyShadow) | bit(!r.ShadowEnd.IsZero(), keyShadowEnd) |
		bit(len(r.ShadowScopes) > 0, keyShadowScopes) | bit(r.RotatedFrom != "", keyRotated) |
		bit(r.Family != "", keyFamily) | bit(len(r.AllowedCIDRs) > 0, keyNetworks) | bit(len(r.Metadata) > 0, keyMetadata)

	at := len(b)
	b = append(b, 0, 0, 0)
	var common bool
	if flags&keyScopes != 0 {
		b, common = appendCommon(b, k.scopes, func(b []byte) []byte { return appendScopes(b, r.Scopes) })
		flags |= bit(common, keyScopesCommon)
	}
	if flags&keyRoles != 0 {
		b, common = appendCommon(b, k.roles, func(b []byte) []byte { return appendTexts(b, r.Roles) })
		flags |= bit(common, keyRolesCommon)
	}
	b, common = appendCommon(b, k.settings, func(b []byte) []byte { return appendSetting(b, r, verifier) })
	flags |= bit(common, keySettingCommon)
	b[at], b[at+1], b[at+2] = byte(flags), byte(flags>>8), byte(flags>>16)

	if hasDigest {
		b = append(b, digest[:]...)
	}
	b = appendText(appendID(appendID(b, r.ID), r.UserID), r.Name)
	if flags&keyOwnPrefix != 0 {
		b = appendText(b, r.Prefix)
	}
	if flags&keyOwnVersion != 0 {
		b = binary.AppendUvarint(b, r.Version)
	}
	b = appendTime(b, r.CreatedAt)
	for _, t := range []struct {
		bit uint32
		at  *time.Time
	}{{keyUpdated, &r.UpdatedAt}, {keyExpires, &r.ExpiresAt}, {keyRevoked, &r.RevokedAt}, {keyShadow, &r.ShadowUntil}, {keyShadowEnd, &r.ShadowEnd}} {
		if flags&t.bit != 0 {
			b = appendTime(b, *t.at)
		}
	}
	if flags&keyShadowScopes != 0 { // few keys have them, and only for a while: interning is not worth it
		b = appendScopes(b, r.ShadowScopes)
	}
	if flags&keyRotated != 0 {
		b = appendID(b, r.RotatedFrom)
	}
	if flags&keyFamily != 0 {
		b = appendID(b, r.Family)
	}
	if flags&keyNetworks != 0 {
		b = appendNetworks(b, r.AllowedCIDRs)
	}
	if flags&keyMetadata != 0 {
		b = binary.AppendUvarint(b, uint64(len(r.Metadata)))
		for name, text := range r.Metadata {
			b = appendText(appendText(b, name), text)
		}
	}
	return b
}

func (k *KeyCodec) read(from string, v *Value[Credential]) {
	f := decoder{from}
	r, verifier, scratch := &v.Data.Record, &v.Data.Verifier, &v.scratch
	flags := f.keyFlags()
	if flags&keyScopes != 0 {
		r.Scopes = readCommon(&f, k.scopes, flags&keyScopesCommon != 0, scratch)
	}
	if flags&keyRoles != 0 {
		r.Roles = readCommon(&f, k.roles, flags&keyRolesCommon != 0, scratch)
	}
	s := readCommon(&f, k.settings, flags&keySettingCommon != 0, scratch)
	r.Environment, r.Project, r.Rate, r.Grants = s.environment, s.project, s.rate, s.grants
	verifier.Alg, verifier.PepperID = s.alg, s.pepperID
	if flags&keyDigest != 0 {
		digest := scratch.bytesOf(authz.DigestSize)
		copy(digest, f.text(authz.DigestSize))
		verifier.Digest = authz.DigestOf((*[authz.DigestSize]byte)(digest))
	}
	r.Active = flags&keyActive != 0
	r.ID, r.UserID, r.Name = f.id(scratch), f.id(scratch), scratch.copyString(f.plainText())
	if r.Prefix = v.id; flags&keyOwnPrefix != 0 {
		r.Prefix = scratch.copyString(f.plainText())
	}
	if r.Version = v.Version; flags&keyOwnVersion != 0 {
		r.Version = f.uvarint()
	}
	r.CreatedAt = f.time()
	if r.UpdatedAt = r.CreatedAt; flags&keyUpdated != 0 {
		r.UpdatedAt = f.time()
	}
	if flags&keyExpires != 0 {
		r.ExpiresAt = f.time()
	}
	if flags&keyRevoked != 0 {
		r.RevokedAt = f.time()
	}
	if flags&keyShadow != 0 {
		r.ShadowUntil = f.time()
	}
	if flags&keyShadowEnd != 0 {
		r.ShadowEnd = f.time()
	}
	if flags&keyShadowScopes != 0 {
		r.ShadowScopes = f.scopes(scratch)
	}
	if flags&keyRotated != 0 {
		r.RotatedFrom = f.id(scratch)
	}
	if flags&keyFamily != 0 {
		r.Family = f.id(scratch)
	}
	if flags&keyNetworks != 0 {
		r.AllowedCIDRs = f.networks(scratch)
	}
	if flags&keyMetadata != 0 {
		n := int(f.uvarint())
		r.Metadata = scratch.metadata(n)
		for range n {
			name := scratch.copyString(f.plainText())
			r.Metadata[name] = scratch.copyString(f.plainText())
		}
	}
}

func (k *KeyCodec) release(from string) {
	f := decoder{from}
	flags := f.keyFlags()
	if flags&keyScopes != 0 {
		releaseCommon(&f, k.scopes, flags&keyScopesCommon != 0)
	}
	if flags&keyRoles != 0 {
		releaseCommon(&f, k.roles, flags&keyRolesCommon != 0)
	}
	releaseCommon(&f, k.settings, flags&keySettingCommon != 0)
}

func (f *decoder) keyFlags() uint32 {
	s := f.text(3)
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16
}

func appendNetworks(b []byte, networks []netip.Prefix) []byte {
	b = binary.AppendUvarint(b, uint64(len(networks)))
	for _, n := range networks {
		raw, err := n.MarshalBinary()
		if err != nil { // this Go version returns none
			raw = nil
		}
		b = appendText(b, string(raw))
	}
	return b
}

// networks reads networks. One that can't be read becomes an invalid prefix, which
// contains no address.
func (f *decoder) networks(r *scratch) []netip.Prefix {
	networks := r.networks(int(f.uvarint()))
	for i := range networks {
		var n netip.Prefix
		if raw := f.plainText(); n.UnmarshalBinary(unsafe.Slice(unsafe.StringData(raw), len(raw))) != nil {
			n = netip.Prefix{}
		}
		networks[i] = n
	}
	return networks
}

func appendSetting(b []byte, r *authz.Record, v *authz.Verifier) []byte {
	b = appendText(appendText(b, r.Environment), r.Project)
	b = appendText(appendText(b, string(v.Alg)), v.PepperID)
	b = binary.AppendVarint(b, int64(r.Rate.Count))
	b = binary.AppendVarint(b, int64(r.Rate.Per))
	return appendTexts(appendTexts(appendScopes(b, r.Grants.Scopes), r.Grants.Projects), r.Grants.Users)
}

func readSetting(written string, r *scratch) (s setting) {
	f := decoder{written}
	s.environment, s.project = f.textIn(r), f.textIn(r)
	s.alg, s.pepperID = authz.HashAlg(f.textIn(r)), f.textIn(r)
	s.rate = authz.Rate{Count: int(f.varint()), Per: time.Duration(f.varint())}
	s.grants = authz.Grants{Scopes: f.scopes(r), Projects: f.texts(r), Users: f.texts(r)}
	return s
}

package keyring_test

import (
	"testing"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// TestUnreadable_CanBeEndedAlone: an unreadable key can be disabled and revoked, but not
// updated, enabled or rotated.
func TestUnreadable_CanBeEndedAlone(t *testing.T) {
	b := newBench(t)
	p := admin(t, "orders:*", "shop")
	damaged := func() authz.Record {
		rec := b.create(keyring.CreateRequest{Project: "shop", Scopes: scopes(t, "orders:read")}).Record
		for i, k := range b.fake().keys {
			if k.Record.ID == rec.ID {
				b.fake().keys[i].Record.Unreadable, b.fake().keys[i].Record.Scopes = "column scopes: x", nil
			}
		}
		return rec
	}
	key := damaged()
	for name, build := range map[string]func() error{
		"update": func() error {
			_, err := b.keys.Update(t.Context(), p, key.ID, keyring.Patch{Name: new("n2")})
			return err
		},
		"enable": func() error { _, err := b.keys.Enable(t.Context(), p, key.ID); return err },
		"rotate": func() error { _, err := b.keys.Rotate(t.Context(), p, key.ID, keyring.RotateOptions{}); return err },
	} {
		t.Run(name, func(t *testing.T) { wantErr(t, build(), authz.ErrUnreadable) })
	}
	if got := must(b.keys.Get(t.Context(), p, key.ID))(t); got.Unreadable == "" {
		t.Errorf("got %+v", got)
	}
	must(b.keys.Disable(t.Context(), p, key.ID))(t)
	must(b.keys.Revoke(t.Context(), p, []string{key.Prefix}, keyring.RevokeOptions{}))(t)
	if b.status(key.ID) != authz.StatusRevoked {
		t.Error("it is not revoked")
	}
	_, err := b.keys.Revoke(t.Context(), admin(t, "orders:*", "elsewhere"), []string{damaged().ID}, keyring.RevokeOptions{})
	wantErr(t, err, authz.ErrNotFound)
}

// TestUnreadable_RoleCanBeLeft: a key with a damaged role can still be revoked, and the
// role can be deleted.
func TestUnreadable_RoleCanBeLeft(t *testing.T) {
	b := newBench(t)
	must(b.keys.CreateRole(t.Context(), system, authz.Role{Name: "clerk", Scopes: scopes(t, "orders:read")}))(t)
	key := b.create(keyring.CreateRequest{Project: "shop", Roles: []string{"clerk"}}).Record
	role := b.fake().roles["clerk"]
	role.Unreadable, role.Scopes = "column scopes: x", nil
	b.fake().roles["clerk"] = role
	p := admin(t, "orders:*", "*")
	_, err := b.keys.Create(t.Context(), p, keyring.CreateRequest{UserID: "u", Name: "n", Roles: []string{"clerk"}})
	wantErr(t, err, authz.ErrUnreadable)
	_, err = b.keys.Rotate(t.Context(), p, key.ID, keyring.RotateOptions{})
	wantErr(t, err, authz.ErrUnreadable)
	_, err = b.keys.UpdateRole(t.Context(), p, "clerk", keyring.RolePatch{Description: new("d")})
	wantErr(t, err, authz.ErrUnreadable)
	must(b.keys.Revoke(t.Context(), p, []string{key.ID}, keyring.RevokeOptions{}))(t)
	wantErr(t, b.keys.DeleteRole(t.Context(), p, "clerk", 0), nil)
}

package keyring_test

import (
	"testing"

	"extauthz/authz/keyring"
)

const (
	composed   = "caf\u00e9"
	decomposed = "cafe\u0301"
)

func TestCreate_StoresOneFormOfASubject(t *testing.T) {
	b := newBench(t)
	rec := b.create(keyring.CreateRequest{UserID: decomposed, Name: decomposed}).Record
	if rec.UserID != composed || rec.Name != composed {
		t.Errorf("got %q and %q", rec.UserID, rec.Name)
	}
	got := must(b.keys.Update(t.Context(), system, rec.ID, keyring.Patch{Name: new("n" + decomposed)}))(t)
	if got.Name != "n"+composed {
		t.Errorf("got %q", got.Name)
	}
	first := must(b.keys.Create(t.Context(), system, keyring.CreateRequest{UserID: composed, Name: "n", IdempotencyKey: "i"}))(t)
	second := must(b.keys.Create(t.Context(), system, keyring.CreateRequest{UserID: decomposed, Name: "n", IdempotencyKey: "i"}))(t)
	if !second.Replayed || second.Record.ID != first.Record.ID {
		t.Error("the same request in another form made another key")
	}
	for _, user := range []string{" alice", "alice ", ".", "..", "a/../b", "al\u200bice", "\u3000"} {
		_, err := b.keys.Create(t.Context(), system, keyring.CreateRequest{UserID: user, Name: "n"})
		wantErr(t, err, keyring.ErrInvalid)
	}
	for _, name := range []string{" n", "n ", "n\u200b", "\t"} {
		_, err := b.keys.Update(t.Context(), system, rec.ID, keyring.Patch{Name: &name})
		wantErr(t, err, keyring.ErrInvalid)
	}
}

// TestRevokeUser_TakesIdsThatAreNoLongerMade: keys under ids that are refused today must
// still be revocable.
func TestRevokeUser_TakesIdsThatAreNoLongerMade(t *testing.T) {
	b := newBench(t)
	for _, user := range []string{" alice", "alice ", "..", "a\u200b"} {
		made := b.create(keyring.CreateRequest{}).Record
		b.fake().keys[len(b.fake().keys)-1].Record.UserID = user
		revoked := must(b.keys.RevokeUser(t.Context(), system, user, keyring.RevokeOptions{}))(t)
		if len(revoked) != 1 || revoked[0].ID != made.ID || revoked[0].RevokedAt.IsZero() {
			t.Errorf("%q: revoked %+v", user, revoked)
		}
	}
	_, err := b.keys.RevokeUser(t.Context(), system, "", keyring.RevokeOptions{})
	wantErr(t, err, keyring.ErrInvalid)
}

func TestGrants_UsersLimitForWhomKeysAreMade(t *testing.T) {
	b := newBench(t)
	p := admin(t, "orders:*", "shop")
	p.Grants.Users = []string{"acme-*", "bob"}
	create := func(p keyring.Principal, user string) error {
		_, err := b.keys.Create(t.Context(), p, keyring.CreateRequest{UserID: user, Name: "n", Project: "shop", Scopes: scopes(t, "orders:read")})
		return err
	}
	for user, may := range map[string]bool{"acme-1": true, "acme-": true, "bob": true, "bobby": false, "acme": false, "Acme-1": false, "bob-of-tenant-b": false, "x-acme-1": false, "acme-caf\u00e9": true} {
		if err := create(p, user); (err == nil) != may {
			t.Errorf("%s: %v", user, err)
		} else if err != nil {
			wantErr(t, err, keyring.ErrForbidden)
		}
	}

	any := admin(t, "orders:*", "shop")
	if err := create(any, "carol"); err != nil {
		t.Errorf("an administrator from before there were limits: %v", err)
	}

	// A new secret for another user's key is equivalent to a new key for that user.
	carol := b.create(keyring.CreateRequest{UserID: "carol", Project: "shop"}).Record
	_, err := b.keys.Rotate(t.Context(), p, carol.ID, keyring.RotateOptions{})
	wantErr(t, err, keyring.ErrForbidden)
	_, err = b.keys.Update(t.Context(), p, carol.ID, keyring.Patch{Scopes: new(scopes(t, "orders:*"))})
	wantErr(t, err, keyring.ErrForbidden)
	must(b.keys.Disable(t.Context(), p, carol.ID))(t) // disabling and revoking are limited by project alone
	if revoked := must(b.keys.RevokeUser(t.Context(), p, "carol", keyring.RevokeOptions{}))(t); len(revoked) != 2 {
		t.Errorf("revoked %d keys", len(revoked))
	}
}

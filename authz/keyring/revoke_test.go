package keyring_test

import (
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

func TestRevoke_EndsTheFamilyUnlessRequestedOtherwise(t *testing.T) {
	for _, onlyThis := range []bool{false, true} {
		b := newBench(t)
		old := b.create(keyring.CreateRequest{}).Record
		other := b.create(keyring.CreateRequest{}).Record
		b.later(time.Minute)
		next := b.rotate(old.ID, nil).Record
		b.notified.take()
		got := must(b.keys.Revoke(t.Context(), system, []string{next.Prefix}, keyring.RevokeOptions{OnlyThis: onlyThis}))(t)
		want, oldStatus := 2, authz.StatusRevoked
		if onlyThis {
			want, oldStatus = 1, authz.StatusActive
		}
		if len(got) != want || len(b.notified.take()) != want {
			t.Errorf("only this %t: %d keys returned", onlyThis, len(got))
		}
		for _, rec := range got {
			if rec.Active || !rec.RevokedAt.Equal(b.now) {
				t.Errorf("returned %+v", rec)
			}
		}
		if b.status(next.ID) != authz.StatusRevoked || b.status(old.ID) != oldStatus || b.status(other.ID) != authz.StatusActive {
			t.Errorf("only this %t: %s, %s, %s", onlyThis, b.status(next.ID), b.status(old.ID), b.status(other.ID))
		}
	}
}

func TestRevoke_IsFinal(t *testing.T) {
	b := newBench(t)
	key := b.create(keyring.CreateRequest{}).Record
	must(b.keys.Revoke(t.Context(), system, []string{key.ID}, keyring.RevokeOptions{}))(t)
	for _, op := range operations[4:8] { // update, disable, enable, rotate
		wantErr(t, op.call(t.Context(), b.keys, system, key.ID), keyring.ErrRevoked)
	}
	before, first := b.fake().mutates, b.get(key.ID).RevokedAt
	b.later(time.Hour)
	again := must(b.keys.Revoke(t.Context(), system, []string{key.ID}, keyring.RevokeOptions{}))(t)
	if len(again) != 1 || !again[0].RevokedAt.Equal(first) || b.fake().mutates != before {
		t.Error("a second revocation changed something")
	}
}

func TestRevoke_SeveralContinuesPastFailures(t *testing.T) {
	b := newBench(t)
	a, c := b.create(keyring.CreateRequest{}).Record, b.create(keyring.CreateRequest{}).Record
	boss := b.create(keyring.CreateRequest{}).Record
	b.fake().administrators[boss.Family] = "boss"
	got, err := b.keys.Revoke(t.Context(), admin(t, "*:*", "*"),
		[]string{a.ID, "absent", boss.ID, c.Prefix, a.Prefix}, keyring.RevokeOptions{Reason: "leaked"})
	wantErr(t, err, authz.ErrNotFound)
	wantErr(t, err, keyring.ErrAdministratorKey)
	if len(got) != 2 || b.status(a.ID) != authz.StatusRevoked || b.status(c.ID) != authz.StatusRevoked || b.status(boss.ID) != authz.StatusActive {
		t.Errorf("%d revoked", len(got))
	}
	if rows := b.audit(); rows[len(rows)-1].Detail["reason"] != "leaked" {
		t.Errorf("audit %+v", rows[len(rows)-1])
	}
}

func TestRevokeUser_EndsAllKeysOrNone(t *testing.T) {
	b := newBench(t)
	mine := []authz.Record{
		b.create(keyring.CreateRequest{UserID: "eve", Project: "shop"}).Record,
		b.create(keyring.CreateRequest{UserID: "eve", Project: "shop"}).Record,
	}
	elsewhere := b.create(keyring.CreateRequest{UserID: "eve", Project: "bank"}).Record
	other := b.create(keyring.CreateRequest{UserID: "bob", Project: "shop"}).Record
	got := must(b.keys.RevokeUser(t.Context(), admin(t, "", "shop"), "eve", keyring.RevokeOptions{}))(t)
	if len(got) != 2 || b.status(mine[0].ID) != authz.StatusRevoked || b.status(mine[1].ID) != authz.StatusRevoked {
		t.Errorf("%d revoked", len(got))
	}
	if b.status(elsewhere.ID) != authz.StatusActive || b.status(other.ID) != authz.StatusActive {
		t.Error("a key of another project or user was revoked")
	}
	boss := b.create(keyring.CreateRequest{UserID: "bob"}).Record
	b.fake().administrators[boss.Family] = "boss"
	_, err := b.keys.RevokeUser(t.Context(), system, "bob", keyring.RevokeOptions{})
	wantErr(t, err, keyring.ErrAdministratorKey)
	if b.status(boss.ID) != authz.StatusActive || b.status(other.ID) != authz.StatusActive {
		t.Error("a refused call revoked something")
	}
	if none := must(b.keys.RevokeUser(t.Context(), system, "unknown", keyring.RevokeOptions{}))(t); len(none) != 0 {
		t.Errorf("revoked %+v", none)
	}
}

func TestRevoke_RefusesAFamilyWithAMemberOutOfReach(t *testing.T) {
	b := newBench(t)
	old := b.create(keyring.CreateRequest{Project: "shop"}).Record
	b.later(time.Minute)
	next := b.rotate(old.ID, nil).Record
	must(b.keys.Update(t.Context(), system, next.ID, keyring.Patch{Project: new("bank")}))(t)
	p := admin(t, "*:*", "shop")
	_, err := b.keys.Revoke(t.Context(), p, []string{old.ID}, keyring.RevokeOptions{})
	wantErr(t, err, keyring.ErrForbidden)
	must(b.keys.Revoke(t.Context(), p, []string{old.ID}, keyring.RevokeOptions{OnlyThis: true}))(t)
	if b.status(next.ID) != authz.StatusActive || b.status(old.ID) != authz.StatusRevoked {
		t.Error("wrong key revoked")
	}
}

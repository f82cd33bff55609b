package keyring_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

func TestAudit_RecordsActorAndChange(t *testing.T) {
	b := newBench(t)
	p := admin(t, "*:*", "*")
	key := must(b.keys.Create(t.Context(), p, keyring.CreateRequest{
		UserID: "u", Name: "n", Scopes: scopes(t, "a:x"), Metadata: map[string]string{"k": "v"},
	}))(t)
	b.later(time.Minute)
	wider := scopes(t, "a:x,y")
	must(b.keys.Update(t.Context(), p, key.Record.ID, keyring.Patch{Scopes: &wider, Metadata: &map[string]string{}}))(t)
	rows := b.audit()
	e := rows[1]
	if len(rows) != 2 || e.Actor != "admin" || e.ActorName != "the admin" || e.Action != "key.update" ||
		e.KeyID != key.Record.ID || e.Prefix != key.Record.Prefix || e.UserID != "u" ||
		e.RequestID != "r-1" || e.Source != "192.0.2.1" || !e.At.Equal(b.now) || e.ID == "" {
		t.Errorf("row %+v", e)
	}
	detail := string(must(json.Marshal(e.Detail))(t))
	if want := `{"metadata.k":"\"v\" -\u003e ","scopes":"a:x -\u003e a:x a:y"}`; detail != want {
		t.Errorf("detail %s, want %s", detail, want)
	}
}

func TestAudit_HoldsNoKeySecretOrDigest(t *testing.T) {
	b := newBench(t)
	key := b.create(keyring.CreateRequest{Scopes: scopes(t, "a:x")})
	b.later(time.Minute)
	next := b.rotate(key.Record.ID, nil)
	must(b.keys.Revoke(t.Context(), system, []string{key.Record.ID}, keyring.RevokeOptions{}))(t)
	text := string(must(json.Marshal(b.audit()))(t))
	for _, k := range []keyring.Created{key, next.Created} {
		secret := strings.TrimPrefix(k.Key.Reveal(), k.Record.Prefix+"_")
		if strings.Contains(text, secret) || strings.Contains(text, secret[:16]) {
			t.Error("the audit holds a secret")
		}
	}
}

func TestAudit_OfOneProjectIsReadKeyByKey(t *testing.T) {
	b := newBench(t)
	shop := b.create(keyring.CreateRequest{Project: "shop"}).Record
	bank := b.create(keyring.CreateRequest{Project: "bank"}).Record
	p := admin(t, "", "shop")
	_, err := b.keys.ListAudit(t.Context(), p, authz.AuditFilter{})
	wantErr(t, err, keyring.ErrForbidden)
	_, err = b.keys.ListAudit(t.Context(), p, authz.AuditFilter{KeyID: bank.ID})
	wantErr(t, err, authz.ErrNotFound)
	for _, ref := range []string{shop.ID, shop.Prefix} {
		if rows := must(b.keys.ListAudit(t.Context(), p, authz.AuditFilter{KeyID: ref}))(t); len(rows) != 1 || rows[0].KeyID != shop.ID {
			t.Errorf("rows %+v", rows)
		}
	}
	gone := "01900000-0000-7000-8000-000000000000"
	must(b.keys.ListAudit(t.Context(), system, authz.AuditFilter{KeyID: gone}))(t)
}

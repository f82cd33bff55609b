package keyring_test

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

func TestProjects_OtherKeysDoNotExist(t *testing.T) {
	b := newBench(t)
	bank := b.create(keyring.CreateRequest{Project: "bank"})
	none := b.create(keyring.CreateRequest{})
	p := admin(t, "*:*", "shop", "")
	for _, op := range operations {
		switch op.name {
		case "get", "usage", "update", "disable", "enable", "rotate", "revoke":
			for _, key := range []keyring.Created{bank, none} {
				wantErr(t, op.call(t.Context(), b.keys, p, key.Record.ID), authz.ErrNotFound)
				wantErr(t, op.call(t.Context(), b.keys, p, key.Record.Prefix), authz.ErrNotFound)
			}
		}
	}
}

func TestList_ShowsOwnProjectsOnly(t *testing.T) {
	b := newBench(t)
	for _, project := range []string{"shop", "bank", ""} {
		b.create(keyring.CreateRequest{Name: cmp.Or(project, "-"), Project: project})
	}
	for _, c := range []struct {
		projects []string
		filter   authz.KeyFilter
		want     string
	}{
		{[]string{"*"}, authz.KeyFilter{}, "shop bank -"},
		{[]string{"*"}, authz.KeyFilter{Project: "bank"}, "bank"},
		{[]string{"*"}, authz.KeyFilter{Limit: 2}, "shop bank"},
		{[]string{"shop"}, authz.KeyFilter{}, "shop"},
		{[]string{"shop", "bank"}, authz.KeyFilter{}, "shop bank"},
		{[]string{"shop"}, authz.KeyFilter{Project: "bank"}, ""},
		{[]string{"shop"}, authz.KeyFilter{Projects: []string{"bank"}}, "shop"},
		{nil, authz.KeyFilter{}, ""},
		{[]string{""}, authz.KeyFilter{}, ""},
	} {
		var got []string
		for _, key := range must(b.keys.List(t.Context(), admin(t, "*:*", c.projects...), c.filter))(t) {
			got = append(got, key.Name)
		}
		if names := strings.Join(got, " "); names != c.want {
			t.Errorf("projects %q, filter %+v: keys of %q, want %q", c.projects, c.filter, names, c.want)
		}
	}
}

func TestList_Limits(t *testing.T) {
	b := newBench(t)
	for _, limit := range []int{-1, keyring.MaxLimit + 1} {
		_, err := b.keys.List(t.Context(), system, authz.KeyFilter{Limit: limit})
		wantErr(t, err, keyring.ErrInvalid)
	}
}

func TestList_UsageNeedsItsPermission(t *testing.T) {
	b := newBench(t)
	p := admin(t, "*:*", "*")
	p.Permissions = scopes(t, string(keyring.ReadKeys))
	for _, f := range []authz.KeyFilter{{WithUsage: true}, {UnusedSince: start}} {
		_, err := b.keys.List(t.Context(), p, f)
		wantErr(t, err, keyring.ErrForbidden)
	}
}

func TestUsage_KeepsTheRequestedOrder(t *testing.T) {
	b := newBench(t)
	a, c := b.create(keyring.CreateRequest{}), b.create(keyring.CreateRequest{})
	b.fake().usage[c.Record.ID] = authz.Usage{KeyID: c.Record.ID, Count: 7, LastUsedAt: start.Add(time.Second)}
	got := must(b.keys.Usage(t.Context(), system, []string{c.Record.Prefix, a.Record.ID}))(t)
	if len(got) != 2 || got[0].Count != 7 || got[1].KeyID != a.Record.ID || got[1].Count != 0 {
		t.Errorf("usage %+v", got)
	}
}

func TestReference_WholeKeyIsNotFoundAndNotRepeated(t *testing.T) {
	b := newBench(t)
	made := b.create(keyring.CreateRequest{})
	key := made.Key.Reveal()
	for _, ref := range []string{key, key[:len(key)-1], strings.ToUpper(key[:1]) + key[1:] + strings.Repeat("x", 128)} {
		_, err := b.keys.Get(t.Context(), system, ref)
		wantErr(t, err, authz.ErrNotFound)
		if secret := key[len(made.Record.Prefix)+1:]; strings.Contains(err.Error(), secret[:12]) {
			t.Error("the error repeats the secret")
		}
	}
}

package keyring_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

func TestUpdate_ChangesOnlyFieldsOfThePatch(t *testing.T) {
	b := newBench(t)
	must(b.keys.CreateRole(t.Context(), system, authz.Role{Name: "r"}))(t)
	key := b.create(keyring.CreateRequest{Scopes: scopes(t, "a:x"), Metadata: map[string]string{"k": "v"}})
	b.notified.take()
	b.later(time.Minute)
	want := key.Record
	got := must(b.keys.Update(t.Context(), system, key.Record.Prefix, keyring.Patch{
		Name: new("m"), Roles: &[]string{"r", "r"}, ExpiresAt: new(start.Add(time.Hour)), Project: new("p"),
		AllowedCIDRs: &[]netip.Prefix{netip.MustParsePrefix("10.1.1.1/8")}, Rate: &authz.Rate{Count: 5, Per: time.Second},
	}))(t)
	if got.Name != "m" || len(got.Roles) != 1 || got.Project != "p" || got.Rate.Count != 5 ||
		got.AllowedCIDRs[0].String() != "10.0.0.0/8" || !got.ExpiresAt.Equal(start.Add(time.Hour)) {
		t.Errorf("after: %+v", got)
	}
	if got.Scopes.Strings()[0] != "a:x" || got.Metadata["k"] != "v" || got.Prefix != want.Prefix ||
		!got.CreatedAt.Equal(want.CreatedAt) || !got.UpdatedAt.Equal(b.now) || got.Version <= want.Version {
		t.Errorf("after: %+v", got)
	}
	if c := b.notified.take(); len(c) != 1 || c[0].Version != got.Version {
		t.Errorf("notified of %+v", c)
	}
	back := must(b.keys.Update(t.Context(), system, got.ID, keyring.Patch{ExpiresAt: &time.Time{}}))(t)
	if !back.ExpiresAt.IsZero() {
		t.Error("the expiry was not taken away")
	}
}

func TestUpdate_WithoutAChangeWritesNothing(t *testing.T) {
	b := newBench(t)
	key := b.create(keyring.CreateRequest{Scopes: scopes(t, "a:x b:y")})
	b.notified.take()
	before := b.fake().mutates
	reordered := authz.Scopes{key.Record.Scopes[1], key.Record.Scopes[0]}
	got := must(b.keys.Update(t.Context(), system, key.Record.ID, keyring.Patch{
		Name: new("n"), Scopes: &reordered, Metadata: &map[string]string{}, Roles: &[]string{},
	}))(t)
	must(b.keys.Enable(t.Context(), system, key.Record.ID))(t)
	if got.Version != key.Record.Version || b.fake().mutates != before || len(b.notified.take()) != 0 {
		t.Error("something was written")
	}
}

func TestUpdate_RefusesAnotherVersion(t *testing.T) {
	b := newBench(t)
	seen := b.create(keyring.CreateRequest{}).Record
	after := must(b.keys.Update(t.Context(), system, seen.ID, keyring.Patch{Name: new("1"), IfVersion: seen.Version}))(t)
	_, err := b.keys.Update(t.Context(), system, seen.ID, keyring.Patch{Name: new("2"), IfVersion: seen.Version})
	wantErr(t, err, authz.ErrPreconditionFailed)
	_, err = b.keys.Rotate(t.Context(), system, seen.ID, keyring.RotateOptions{IfVersion: seen.Version})
	wantErr(t, err, authz.ErrPreconditionFailed)
	must(b.keys.Update(t.Context(), system, seen.ID, keyring.Patch{Name: new("2"), IfVersion: after.Version}))(t)
}

func TestUpdate_RefusesWhatCreateRefuses(t *testing.T) {
	b := newBench(t)
	key := b.create(keyring.CreateRequest{})
	for name, patch := range map[string]keyring.Patch{
		"name":     {Name: new(" ")},
		"scopes":   {Scopes: &authz.Scopes{{Resource: "", Actions: []string{"x"}}}},
		"roles":    {Roles: &[]string{"absent"}},
		"expiry":   {ExpiresAt: new(start)},
		"project":  {Project: new("a/b")},
		"networks": {AllowedCIDRs: &[]netip.Prefix{{}}},
		"metadata": {Metadata: &map[string]string{"K": ""}},
		"rate":     {Rate: &authz.Rate{Count: 1}},
		"reserved": {Scopes: new(scopes(t, "extauthz/keys:read"))},
		"key":      {Name: new(key.Key.Reveal())},
	} {
		_, err := b.keys.Update(t.Context(), system, key.Record.ID, patch)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		wantErr(t, err, keyring.ErrInvalid)
	}
}

func TestUpdate_EnablesADisabledKey(t *testing.T) {
	b := newBench(t)
	key := b.create(keyring.CreateRequest{}).Record
	must(b.keys.Disable(t.Context(), system, key.ID))(t)
	if b.status(key.ID) != authz.StatusDisabled {
		t.Error("not disabled")
	}
	must(b.keys.Enable(t.Context(), system, key.ID))(t)
	if b.status(key.ID) != authz.StatusActive {
		t.Error("not enabled")
	}
	if got := b.actions(); got != "key.create key.disable key.enable" {
		t.Errorf("audit: %s", got)
	}
}

func TestUpdate_ReadsRolesAgainThatChangedMeanwhile(t *testing.T) {
	store := newFakeStore()
	b := newBenchOn(t, store)
	must(b.keys.CreateRole(t.Context(), system, authz.Role{Name: "biller", Scopes: scopes(t, "billing:*")}))(t)
	key := b.create(keyring.CreateRequest{Scopes: scopes(t, "orders:read"), Roles: []string{"biller"}})
	b = newBenchOn(t, &staleRead{store, func(rec *authz.Record) { rec.Roles = nil }})
	_, err := b.keys.Rotate(t.Context(), admin(t, "orders:*", "*"), key.Record.ID, keyring.RotateOptions{})
	wantErr(t, err, keyring.ErrForbidden)
	must(b.keys.Rotate(t.Context(), admin(t, "*:*", "*"), key.Record.ID, keyring.RotateOptions{}))(t)
}

func TestUpdate_KeyThatLeftTheProjectMeanwhileIsNotFound(t *testing.T) {
	store := newFakeStore()
	key := newBenchOn(t, store).create(keyring.CreateRequest{Project: "bank"})
	b := newBenchOn(t, &staleRead{store, func(rec *authz.Record) { rec.Project = "shop" }})
	_, err := b.keys.Disable(t.Context(), admin(t, "*:*", "shop"), key.Record.ID)
	wantErr(t, err, authz.ErrNotFound)
}

// staleRead is a store whose look-ups return keys as they were before the latest change.
type staleRead struct {
	*fakeStore
	before func(*authz.Record)
}

func (s *staleRead) KeyByRef(ctx context.Context, ref string) (authz.Record, error) {
	rec, err := s.fakeStore.KeyByRef(ctx, ref)
	s.before(&rec)
	return rec, err
}

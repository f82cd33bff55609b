package administrators_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
)

func TestPrincipal_FollowsTheAdministratorAtOnce(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	carol := must(b.admins.Create(t.Context(), owner, administrators.CreateRequest{Name: "carol", Roles: []string{"support"}, Grants: grants(t, "orders:*", "shop")}))(t)
	from := netip.MustParseAddr("192.0.2.7")
	key := carol.Keys[0] // as a cache has it: it learns of no change
	see := func() (keyring.Principal, error) { return b.admins.Principal(t.Context(), &key, from) }
	refused := func(want authz.Reason) {
		t.Helper()
		_, err := see()
		var r *administrators.Refused
		if !errors.As(err, &r) || r.Reason != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	must(b.admins.Update(t.Context(), owner, "carol", administrators.Patch{Roles: &[]string{"auditor"}}))(t)
	if p := must(see())(t); p.Require(keyring.RevokeKeys) == nil {
		t.Error("it kept a permission")
	}
	must(b.admins.Update(t.Context(), owner, "carol", administrators.Patch{Networks: &[]netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}))(t)
	refused(authz.ReasonNetwork)
	must(b.admins.Update(t.Context(), owner, "carol", administrators.Patch{Networks: &[]netip.Prefix{}, ExpiresAt: new(start.Add(time.Hour))}))(t)
	must(see())(t)
	b.now = start.Add(time.Hour)
	refused(authz.ReasonExpired)
	must(b.admins.Disable(t.Context(), owner, "carol"))(t)
	refused(authz.ReasonDisabled)
	wantErr(t, b.admins.Remove(t.Context(), owner, "carol", "", 0), nil)
	_, err := see()
	wantErr(t, err, administrators.ErrNone)
	_, err = b.admins.Principal(t.Context(), &authz.Record{}, from)
	wantErr(t, err, administrators.ErrNone)
}

// TestPrincipal_AnOutageKeepsNoPermissionToChangeRows: the look-up may fail while writes
// succeed, and a permission may have been taken away on another replica meanwhile.
func TestPrincipal_AnOutageKeepsNoPermissionToChangeRows(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	key := b.get("first-administrator").Keys[0]
	see := func() keyring.Principal {
		return must(b.admins.Principal(t.Context(), &key, netip.MustParseAddr("192.0.2.7")))(t)
	}
	must(b.admins.Create(t.Context(), owner, administrators.CreateRequest{Name: "carol", Roles: []string{"auditor"}}))(t)
	before := see()
	b.store.down = errors.New("down")
	after := see()
	kept := map[keyring.Permission]bool{}
	for _, p := range keyring.Permissions() {
		if before.Require(p) != nil {
			t.Errorf("an owner lacks %s", p)
		}
		kept[p] = after.Require(p) == nil
	}
	for _, p := range []keyring.Permission{keyring.ReadCache, keyring.InvalidateCache, keyring.ReadKeys} {
		if !kept[p] {
			t.Errorf("it lost %s", p)
		}
		delete(kept, p)
	}
	for p, there := range kept {
		if action := string(p[strings.LastIndex(string(p), ":")+1:]); there && action != "read" && p != keyring.CreateExplain && p != keyring.WarmCache {
			t.Errorf("it kept %s", p)
		}
	}
}

// TestPrincipal_AnOutageKeepsTheLastAnswerForAWhile: so that the cache and conditions can
// be read. It keeps nothing that was changed here, and nothing for longer.
func TestPrincipal_AnOutageKeepsTheLastAnswerForAWhile(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	carol := must(b.admins.Create(t.Context(), owner, administrators.CreateRequest{Name: "carol", Roles: []string{"support"}}))(t)
	see := func(ctx context.Context) error {
		_, err := b.admins.Principal(ctx, &carol.Keys[0], netip.MustParseAddr("192.0.2.7"))
		return err
	}
	down := errors.New("down")
	wantErr(t, see(t.Context()), nil)
	b.store.down = down
	wantErr(t, see(t.Context()), nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, see(gone), down)
	b.now = start.Add(5 * time.Minute)
	wantErr(t, see(t.Context()), down)
	b.now = start
	b.store.down = nil
	wantErr(t, see(t.Context()), nil)
	must(b.admins.Disable(t.Context(), owner, "carol"))(t)
	b.store.down = down
	wantErr(t, see(t.Context()), down)
}

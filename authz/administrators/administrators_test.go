package administrators_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
)

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// bench is a service on a fake store, with a clock that does not advance by itself.
type bench struct {
	*testing.T
	admins   *administrators.Service
	store    *fakeStore
	format   *authz.KeyFormat
	peppers  *authz.Peppers
	now      time.Time
	notified []authz.Change
}

func (b *bench) Changed(_ context.Context, changes []authz.Change) {
	b.notified = append(b.notified, changes...)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, store: &fakeStore{}, now: start}
	b.format = must(authz.NewKeyFormat(authz.KeyFormatConfig{}))(t)
	b.peppers = must(authz.NewPeppers(nil))(t)
	b.admins = must(administrators.New(administrators.Config{Format: b.format, Peppers: func() *authz.Peppers { return b.peppers }, Random: rand.Reader,
		Now: func() time.Time { return b.now }, Store: b.store, Notifier: b, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}))(t)
	return b
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func scopes(t *testing.T, texts string) authz.Scopes {
	t.Helper()
	return must(authz.ParseScopes(strings.Fields(texts)))(t)
}

func grants(t *testing.T, texts string, projects ...string) authz.Grants {
	t.Helper()
	return authz.Grants{Scopes: scopes(t, texts), Projects: projects}
}

// owner makes the first administrator, and returns it as a caller.
func (b *bench) owner() keyring.Principal {
	b.Helper()
	first, made, err := b.admins.Bootstrap(b.Context(), authz.Secret{})
	if err != nil || !made {
		b.Fatal(made, err)
	}
	return b.caller(first)
}

// caller is the principal that an administrator's newest key stands for.
func (b *bench) caller(m administrators.Made) keyring.Principal {
	b.Helper()
	return must(b.admins.Principal(b.Context(), &m.Keys[0], netip.MustParseAddr("192.0.2.7")))(b.T)
}

// make makes an administrator as p, and returns it as a caller.
func (b *bench) make(p keyring.Principal, r administrators.CreateRequest) keyring.Principal {
	b.Helper()
	return b.caller(must(b.admins.Create(b.Context(), p, r))(b.T))
}

func (b *bench) get(ref string) administrators.Made {
	b.Helper()
	return must(b.admins.Get(b.Context(), keyring.Principal{System: true}, ref))(b.T)
}

func (b *bench) lastAction() authz.AuditEntry { return b.store.audit[len(b.store.audit)-1] }

func TestCreate_MakesAnAdministratorWithAKey(t *testing.T) {
	b := newBench(t)
	p := b.owner()
	made := must(b.admins.Create(t.Context(), p, administrators.CreateRequest{Name: "carol@example.com", Roles: []string{"support", "issuer", "support"},
		Grants: grants(t, "orders:*", "shop"), ExpiresAt: start.Add(time.Hour), Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")}}))(t)
	x := made.Administrator
	if made.Key.Len() == 0 || strings.Join(x.Roles, " ") != "issuer support" || x.CreatedBy != p.AdministratorID || !x.Active || x.Version == 0 {
		t.Errorf("got %+v", made)
	}
	key := made.Keys[0]
	if len(key.Scopes) != 0 || len(key.Grants.Scopes) != 0 || key.UserID != "administrator" || !key.ExpiresAt.Equal(x.ExpiresAt) || len(key.AllowedCIDRs) != 1 || key.AllowedCIDRs[0].String() != "192.0.2.0/24" || key.Family != x.Family {
		t.Errorf("key %+v", key)
	}
	got := b.caller(made)
	if got.Name != "carol@example.com" || got.Actor() != x.ID || got.Require(keyring.CreateKeys) != nil || got.Require(keyring.UpdateKeys) == nil || got.Require(keyring.ReadAdministrators) == nil {
		t.Errorf("caller %+v", got)
	}
	e := b.lastAction()
	if e.Action != "admin.create" || e.Actor != p.AdministratorID || e.Administrator != x.ID || e.Detail["roles"] != " -> issuer support" || e.Prefix != key.Prefix || e.KeyID != key.ID || e.Detail["administrator"] != x.Name {
		t.Errorf("audit %+v", e)
	}
	if len(b.notified) != 2 {
		t.Errorf("%d keys were notified", len(b.notified))
	}
	_, err := b.admins.Create(t.Context(), p, administrators.CreateRequest{Name: "carol@example.com", Roles: []string{"support"}})
	wantErr(t, err, authz.ErrConflict)
}

func TestCreate_NamesAllProblemsAtOnce(t *testing.T) {
	b := newBench(t)
	p := b.owner()
	_, err := b.admins.Create(t.Context(), p, administrators.CreateRequest{Name: "Carol", Description: "a\u202eb", Roles: []string{"absent"}, Grants: authz.Grants{Scopes: scopes(t, "extauthz:*"), Projects: []string{"a/b"}},
		Networks: []netip.Prefix{{}}, ExpiresAt: start})
	var invalid *keyring.ValidationError
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	var fields []string
	for _, f := range invalid.Fields {
		fields = append(fields, f.Field)
	}
	if got := strings.Join(fields, " "); got != "name description roles grants.scopes grants.projects allowed_cidrs[0] expires_at" {
		t.Errorf("got %s", got)
	}
	for _, name := range []string{"", "-a", "a b", "é", "a\r\nb", "a/b", strings.Repeat("a", 101), "0198c0de-7a3b-7c1d-9e2f-5b6a7c8d9e0f"} {
		_, err := b.admins.Create(t.Context(), p, administrators.CreateRequest{Name: name, Roles: []string{"auditor"}})
		wantErr(t, err, keyring.ErrInvalid)
	}
	_, err = b.admins.Create(t.Context(), p, administrators.CreateRequest{Name: "a"})
	wantErr(t, err, keyring.ErrInvalid)
}

// TestPermissions_EachOperationNeedsItsOwn: and none of them is in the roles that do not
// manage administrators.
func TestPermissions_EachOperationNeedsItsOwn(t *testing.T) {
	for name, call := range map[string]func(context.Context, *administrators.Service, keyring.Principal) error{
		"extauthz/administrators:create": func(ctx context.Context, s *administrators.Service, p keyring.Principal) error {
			_, err := s.Create(ctx, p, administrators.CreateRequest{Name: "new", Roles: []string{"reader"}})
			return err
		},
		"extauthz/administrators:read": func(ctx context.Context, s *administrators.Service, p keyring.Principal) error {
			_, err := s.List(ctx, p, "", "", 10)
			if _, one := s.Get(ctx, p, "other"); (one == nil) != (err == nil) {
				return errors.New("get and list differ")
			}
			if _, roles := s.ListRoles(ctx, p); (roles == nil) != (err == nil) {
				return errors.New("roles and list differ")
			}
			return err
		},
		"extauthz/administrators:update": func(ctx context.Context, s *administrators.Service, p keyring.Principal) error {
			_, err := s.Update(ctx, p, "other", administrators.Patch{Description: new("d")})
			return err
		},
		"extauthz/administrators:delete": func(ctx context.Context, s *administrators.Service, p keyring.Principal) error {
			return s.Remove(ctx, p, "other", "", 0)
		},
		"extauthz/administrators:rotate": func(ctx context.Context, s *administrators.Service, p keyring.Principal) error {
			_, err := s.Rotate(ctx, p, "other", administrators.RotateOptions{})
			return err
		},
		"extauthz/administrator-roles:create": func(ctx context.Context, s *administrators.Service, p keyring.Principal) error {
			_, err := s.CreateRole(ctx, p, authz.AdministratorRole{Name: "mine", Permissions: p.Permissions})
			return err
		},
		"extauthz/administrator-roles:update": func(ctx context.Context, s *administrators.Service, p keyring.Principal) error {
			_, err := s.UpdateRole(ctx, p, "reader", administrators.RolePatch{Description: new("d")})
			return err
		},
		"extauthz/administrator-roles:delete": func(ctx context.Context, s *administrators.Service, p keyring.Principal) error {
			return s.DeleteRole(ctx, p, "unused", 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			owner := b.owner()
			// A permission that all of them have, so that the callers' powers cover each other.
			read := must(authz.ParseScopes([]string{"extauthz/keys:read"}))(t)
			for _, role := range []string{"reader", "unused"} {
				must(b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: role, Permissions: read}))(t)
			}
			must(b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: "can", Permissions: read.Union(scopes(t, name))}))(t)
			var others []string
			for _, p := range keyring.Permissions() {
				if string(p) != name {
					others = append(others, string(p))
				}
			}
			must(b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: "cannot", Permissions: scopes(t, strings.Join(others, " "))}))(t)
			all := grants(t, "*:*", "*")
			b.make(owner, administrators.CreateRequest{Name: "other", Roles: []string{"reader"}, Grants: all})
			can := b.make(owner, administrators.CreateRequest{Name: "can", Roles: []string{"can"}, Grants: all})
			cannot := b.make(owner, administrators.CreateRequest{Name: "cannot", Roles: []string{"cannot"}, Grants: all})
			wantErr(t, call(t.Context(), b.admins, cannot), keyring.ErrForbidden)
			wantErr(t, call(t.Context(), b.admins, keyring.Principal{}), keyring.ErrForbidden)
			wantErr(t, call(t.Context(), b.admins, can), nil)
		})
	}
}

func TestBuiltInRoles_AreWellFormedAndOrdered(t *testing.T) {
	roles := administrators.Roles()
	for _, r := range roles {
		if len(r.Permissions) == 0 || len(r.Permissions.Ordinary()) > 0 || r.Description == "" {
			t.Errorf("%+v", r)
		}
		for _, p := range []keyring.Permission{keyring.CreateAdministrators, keyring.UpdateAdministrators, keyring.RemoveAdministrators, keyring.RotateAdministrators, keyring.UpdateAdministratorRoles, keyring.PurgeKeys} {
			if resource, action, _ := strings.Cut(string(p), ":"); r.Permissions.Allows(resource, action) != (r.Name == administrators.Owner) {
				t.Errorf("%s and %s", r.Name, p)
			}
		}
		if !roles[0].Permissions.Covers(r.Permissions) {
			t.Errorf("the owner has not all of %s", r.Name)
		}
	}
}

func TestList_ShowsWhoIsWithinTheProjects(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	shop := b.make(owner, administrators.CreateRequest{Name: "shop-owner", Roles: []string{"owner"}, Grants: grants(t, "orders:*", "shop")})
	b.make(shop, administrators.CreateRequest{Name: "shop-support", Roles: []string{"support"}, Grants: grants(t, "orders:read", "shop")})
	b.make(owner, administrators.CreateRequest{Name: "bank-owner", Roles: []string{"owner"}, Grants: grants(t, "orders:*", "bank")})
	b.make(owner, administrators.CreateRequest{Name: "both", Roles: []string{"auditor"}, Grants: grants(t, "", "bank", "shop")})
	b.make(owner, administrators.CreateRequest{Name: "nowhere", Roles: []string{"auditor"}})
	names := func(p keyring.Principal, by, after string, limit int) string {
		var names []string
		for _, m := range must(b.admins.List(t.Context(), p, by, after, limit))(t) {
			names = append(names, m.Administrator.Name)
		}
		return strings.Join(names, " ")
	}
	for _, c := range []struct {
		p         keyring.Principal
		by, after string
		limit     int
		want      string
	}{
		{owner, "", "", 100, "bank-owner both first-administrator nowhere shop-owner shop-support"},
		{owner, "", "both", 2, "first-administrator nowhere"},
		{owner, shop.AdministratorID, "", 100, "shop-support"},
		{shop, "", "", 100, "shop-owner shop-support"},
	} {
		if got := names(c.p, c.by, c.after, c.limit); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
	b.make(shop, administrators.CreateRequest{Name: "own-nowhere", Roles: []string{"auditor"}})
	if got := names(shop, "", "", 100); got != "own-nowhere shop-owner shop-support" {
		t.Errorf("with its own: %s", got)
	}
	for _, ref := range []string{"bank-owner", "both", "nowhere", "first-administrator", "absent"} {
		_, err := b.admins.Get(t.Context(), shop, ref)
		wantErr(t, err, authz.ErrNotFound)
		_, err = b.admins.Disable(t.Context(), shop, ref)
		wantErr(t, err, authz.ErrNotFound)
	}
}

func TestUpdate_IfVersion(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	create := func() uint64 {
		b.now = b.now.Add(time.Second)
		return must(b.admins.Create(t.Context(), owner, administrators.CreateRequest{Name: "carol", Roles: []string{"support"}}))(t).Administrator.Version
	}
	first := create()
	must(b.admins.Update(t.Context(), owner, "carol", administrators.Patch{Description: new("d"), IfVersion: first}))(t)
	_, err := b.admins.Update(t.Context(), owner, "carol", administrators.Patch{Description: new("e"), IfVersion: first})
	wantErr(t, err, authz.ErrPreconditionFailed)
	before := len(b.store.audit)
	if same := must(b.admins.Update(t.Context(), owner, "carol", administrators.Patch{Description: new("d"), IfVersion: first + 1}))(t); same.Administrator.Version != first+1 || len(b.store.audit) != before {
		t.Errorf("an update without a difference wrote: %+v", same)
	}
	// Another one of the name is not the one that was read.
	wantErr(t, b.admins.Remove(t.Context(), owner, "carol", "", first+1), nil)
	create()
	_, err = b.admins.Update(t.Context(), owner, "carol", administrators.Patch{Description: new("d"), IfVersion: first})
	wantErr(t, err, authz.ErrPreconditionFailed)
	role := must(b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: "own", Permissions: scopes(t, "extauthz/keys:read")}))(t)
	wantErr(t, b.admins.DeleteRole(t.Context(), owner, "own", role.Version), nil)
	b.now = b.now.Add(time.Second)
	must(b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: "own", Permissions: scopes(t, "extauthz/keys:read")}))(t)
	wantErr(t, b.admins.DeleteRole(t.Context(), owner, "own", role.Version), authz.ErrPreconditionFailed)
}

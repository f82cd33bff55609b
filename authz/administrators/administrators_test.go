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
	if made.Key.Len() == 0 || strings.Join(x.Roles, " ") != "issuer support" || x.CreatedBy != p.AdministratorID || !x.Active || x.Version != 1 {
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

func TestOneself_MayBeEndedAndRotatedWithoutAPermission(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	carol := b.make(owner, administrators.CreateRequest{Name: "carol", Roles: []string{"auditor"}})
	_, err := b.admins.Update(t.Context(), carol, "carol", administrators.Patch{Description: new("d")})
	wantErr(t, err, keyring.ErrForbidden)
	rotated := must(b.admins.Rotate(t.Context(), carol, "carol", administrators.RotateOptions{}))(t)
	if old := rotated.Keys[1]; rotated.Key.Len() == 0 || !old.ExpiresAt.Equal(start.Add(keyring.DefaultGrace)) || rotated.Keys[0].RotatedFrom != old.ID {
		t.Errorf("got %+v", rotated.Keys)
	}
	must(b.admins.EndKey(t.Context(), carol, "carol", rotated.Keys[1].Prefix))(t)
	if k := b.get("carol").Keys[1]; k.RevokedAt.IsZero() {
		t.Errorf("the old key is %+v", k)
	}
	must(b.admins.Disable(t.Context(), carol, carol.AdministratorID))(t)
	_, err = b.admins.Rotate(t.Context(), carol, "carol", administrators.RotateOptions{})
	wantErr(t, err, keyring.ErrDisabled)
	if k := b.get("carol").Keys[0]; k.Active {
		t.Error("the key outlived its administrator")
	}
	must(b.admins.Enable(t.Context(), owner, "carol"))(t)
	wantErr(t, b.admins.Remove(t.Context(), carol, "carol", "left", 0), nil)
	_, err = b.admins.Get(t.Context(), owner, "carol")
	wantErr(t, err, authz.ErrNotFound)
}

func TestRotate_WithoutGraceEndsTheOldKeyAtOnce(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	grace := time.Duration(0)
	first := b.get("first-administrator").Keys[0]
	second := must(b.admins.Rotate(t.Context(), owner, "first-administrator", administrators.RotateOptions{Grace: &grace}))(t)
	if got := b.get("first-administrator").Keys[1]; got.ID != first.ID || got.Status(b.now) != authz.StatusExpired {
		t.Errorf("the old key is %+v", got)
	}
	b.now = b.now.Add(time.Minute)
	third := must(b.admins.Rotate(t.Context(), owner, "first-administrator", administrators.RotateOptions{}))(t)
	b.now = b.now.Add(time.Minute)
	must(b.admins.Rotate(t.Context(), owner, "first-administrator", administrators.RotateOptions{}))(t)
	live := 0
	for _, k := range b.get("first-administrator").Keys {
		if k.Status(b.now) == authz.StatusActive {
			live++
		}
	}
	if live != 2 {
		t.Errorf("%d keys are live", live)
	}
	if k := b.get("first-administrator").Keys[2]; k.ID != second.Keys[0].ID || k.Status(b.now) != authz.StatusExpired || third.Key.Len() == 0 {
		t.Errorf("the second key is %+v", k)
	}
	for _, bad := range []time.Duration{-1, keyring.MaxGrace + 1} {
		_, err := b.admins.Rotate(t.Context(), owner, "first-administrator", administrators.RotateOptions{Grace: &bad})
		wantErr(t, err, keyring.ErrInvalid)
	}
}

// TestRotate_AnotherEndNeverRevivesAnOldKey: what an update changes of keys, a key in its
// grace only gets what ends it sooner.
func TestRotate_AnotherEndNeverRevivesAnOldKey(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	b.make(owner, administrators.CreateRequest{Name: "carol", Roles: []string{"auditor"}, ExpiresAt: start.Add(time.Hour)})
	hour := time.Hour / 2
	must(b.admins.Rotate(t.Context(), owner, "carol", administrators.RotateOptions{Grace: &hour}))(t)
	must(b.admins.Update(t.Context(), owner, "carol", administrators.Patch{ExpiresAt: new(start.Add(48 * time.Hour))}))(t)
	keys := b.get("carol").Keys
	if !keys[0].ExpiresAt.Equal(start.Add(48*time.Hour)) || !keys[1].ExpiresAt.Equal(start.Add(hour)) {
		t.Errorf("ends %s and %s", keys[0].ExpiresAt, keys[1].ExpiresAt)
	}
	must(b.admins.Disable(t.Context(), owner, "carol"))(t)
	must(b.admins.Enable(t.Context(), owner, "carol"))(t)
	keys = b.get("carol").Keys
	if !keys[0].Active || keys[1].Active {
		t.Errorf("active: %v and %v", keys[0].Active, keys[1].Active)
	}
}

func TestUpdate_TakesFormerRightsFromKeys(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	b.make(owner, administrators.CreateRequest{Name: "carol", Roles: []string{"manager"}, Grants: grants(t, "orders:*", "shop")})
	for i := range b.store.a.Keys { // as the migration leaves them
		b.store.a.Keys[i].Record.Scopes = scopes(t, "extauthz:* orders:read")
		b.store.a.Keys[i].Record.Grants = grants(t, "*:*", "*")
	}
	must(b.admins.Rotate(t.Context(), owner, "first-administrator", administrators.RotateOptions{}))(t)
	for _, k := range b.get("first-administrator").Keys {
		if len(k.Scopes.Reserved())+len(k.Grants.Scopes) > 0 {
			t.Errorf("after a rotation: %v and %+v", k.Scopes, k.Grants)
		}
	}
	must(b.admins.Update(t.Context(), owner, "carol", administrators.Patch{Roles: &[]string{"auditor"}}))(t)
	if k := b.get("carol").Keys[0]; strings.Join(k.Scopes.Strings(), " ") != "orders:read" || len(k.Grants.Scopes) != 0 {
		t.Errorf("the key has %v and %+v", k.Scopes, k.Grants)
	}
	// Its secret also has what it has for traffic.
	must(b.admins.CreateRole(t.Context(), owner, authz.AdministratorRole{Name: "rotator", Permissions: scopes(t, "extauthz:*")}))(t)
	limited := b.make(owner, administrators.CreateRequest{Name: "limited", Roles: []string{"rotator"}, Grants: grants(t, "orders:*", "shop")})
	_, err := b.admins.Rotate(t.Context(), limited, "carol", administrators.RotateOptions{})
	wantErr(t, err, keyring.ErrForbidden)
	must(b.admins.Rotate(t.Context(), owner, "carol", administrators.RotateOptions{}))(t)
}

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

// TestPrincipal_AnOutageKeepsTheLastAnswerForAWhile: so that the cache and conditions can
// be looked at; nothing that was changed here, and nothing for longer.
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
	b.make(owner, administrators.CreateRequest{Name: "carol", Roles: []string{"support"}})
	must(b.admins.Update(t.Context(), owner, "carol", administrators.Patch{Description: new("d"), IfVersion: 1}))(t)
	_, err := b.admins.Update(t.Context(), owner, "carol", administrators.Patch{Description: new("e"), IfVersion: 1})
	wantErr(t, err, authz.ErrPreconditionFailed)
	before := len(b.store.audit)
	if same := must(b.admins.Update(t.Context(), owner, "carol", administrators.Patch{Description: new("d"), IfVersion: 2}))(t); same.Administrator.Version != 2 || len(b.store.audit) != before {
		t.Errorf("an update without a difference wrote: %+v", same)
	}
}

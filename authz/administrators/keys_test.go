package administrators_test

import (
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
)

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

// TestRotate_ByAReplacedKeyNeedsThePermission: a key in its grace, which may have leaked,
// must not end its successor and get another one.
func TestRotate_ByAReplacedKeyNeedsThePermission(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	carol := b.make(owner, administrators.CreateRequest{Name: "carol", Roles: []string{"auditor"}})
	second := must(b.admins.Rotate(t.Context(), carol, "carol", administrators.RotateOptions{}))(t)
	b.now = b.now.Add(time.Minute)
	_, err := b.admins.Rotate(t.Context(), carol, "carol", administrators.RotateOptions{}) // carol still calls with the old key
	wantErr(t, err, keyring.ErrForbidden)
	newest := carol
	newest.KeyID = second.Keys[0].ID
	must(b.admins.Rotate(t.Context(), newest, "carol", administrators.RotateOptions{}))(t)
	// Where the newest is ended, the one before it is the newest that works.
	b.now = b.now.Add(time.Minute)
	must(b.admins.EndKey(t.Context(), owner, "carol", b.get("carol").Keys[0].ID))(t)
	must(b.admins.Rotate(t.Context(), newest, "carol", administrators.RotateOptions{}))(t)
	// An owner whose answer was lost rotates again with the old key.
	must(b.admins.Rotate(t.Context(), owner, owner.AdministratorID, administrators.RotateOptions{}))(t)
	must(b.admins.Rotate(t.Context(), owner, owner.AdministratorID, administrators.RotateOptions{}))(t)
}

// TestRotate_SuccessorIsTheNewestWhateverTheClockSays: the order of keys is that of their
// times, and a new end holds for the newest one alone.
func TestRotate_SuccessorIsTheNewestWhateverTheClockSays(t *testing.T) {
	b := newBench(t)
	owner := b.owner()
	old := b.get("first-administrator").Keys[0]
	b.now = b.now.Add(-time.Minute)
	made := must(b.admins.Rotate(t.Context(), owner, "first-administrator", administrators.RotateOptions{}))(t)
	if made.Keys[0].RotatedFrom != old.ID {
		t.Errorf("the newest key is %s", made.Keys[0].Prefix)
	}
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

package keyring_test

import (
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

func until(t time.Time) keyring.Patch { return keyring.Patch{ShadowUntil: &t} }

func TestShadow_KeepsWhatItsSetterMayGrant(t *testing.T) {
	b := newBench(t)
	p := admin(t, "orders:* stock:read", "shop")
	key := b.create(keyring.CreateRequest{Project: "shop", Scopes: scopes(t, "orders:read")}).Record
	end := start.Add(time.Hour)
	got := must(b.keys.Update(t.Context(), p, key.ID, until(end)))(t)
	if !got.ShadowUntil.Equal(end) || !got.ShadowEnd.Equal(end) || !got.ShadowScopes.Equal(p.Grants.Scopes) {
		t.Errorf("got %+v", got)
	}
	last := b.audit()[len(b.audit())-1].Detail
	for field, want := range map[string]string{"shadow_until": end.Format(time.RFC3339Nano), "shadow_end": end.Format(time.RFC3339Nano), "shadow_scopes": "orders:* stock:read"} {
		if !strings.HasSuffix(last[field], want) {
			t.Errorf("the audit has %q for %s", last[field], field)
		}
	}
	got = must(b.keys.Update(t.Context(), system, key.ID, until(end.Add(-time.Minute))))(t)
	if len(got.ShadowScopes) != 1 || !got.ShadowScopes.Allows("payments", "delete") || got.ShadowScopes.Allows("extauthz", "read") {
		t.Errorf("set by the system: %+v", got.ShadowScopes)
	}
	got = must(b.keys.Update(t.Context(), p, key.ID, until(time.Time{})))(t)
	if !got.ShadowUntil.IsZero() || got.ShadowScopes != nil || !got.ShadowEnd.Equal(end) {
		t.Errorf("ended: %+v", got)
	}
}

// TestShadow_EndNeverMovesLater: whatever happens between two settings of the end.
func TestShadow_EndNeverMovesLater(t *testing.T) {
	end := start.Add(time.Hour)
	for name, between := range map[string]func(*bench, string) string{
		"nothing": func(_ *bench, id string) string { return id },
		"an end": func(b *bench, id string) string {
			must(b.keys.Update(b.Context(), system, id, until(time.Time{})))(b.T)
			return id
		},
		"an earlier end": func(b *bench, id string) string {
			must(b.keys.Update(b.Context(), system, id, until(end.Add(-time.Minute))))(b.T)
			return id
		},
		"its end": func(b *bench, id string) string { b.later(2 * time.Hour); return id },
		"disabled and enabled": func(b *bench, id string) string {
			must(b.keys.Disable(b.Context(), system, id))(b.T)
			must(b.keys.Enable(b.Context(), system, id))(b.T)
			return id
		},
		"a rotation": func(b *bench, id string) string {
			return must(b.keys.Rotate(b.Context(), system, id, keyring.RotateOptions{}))(b.T).Record.ID
		},
		"an end, then a rotation": func(b *bench, id string) string {
			must(b.keys.Update(b.Context(), system, id, until(time.Time{})))(b.T)
			return must(b.keys.Rotate(b.Context(), system, id, keyring.RotateOptions{}))(b.T).Record.ID
		},
		"two rotations": func(b *bench, id string) string {
			for range 2 {
				id = must(b.keys.Rotate(b.Context(), system, id, keyring.RotateOptions{}))(b.T).Record.ID
			}
			return id
		},
		"a rotation before, by an id": func(b *bench, id string) string {
			must(b.keys.Rotate(b.Context(), system, id, keyring.RotateOptions{}))(b.T)
			return id
		},
	} {
		b := newBench(t)
		key := b.create(keyring.CreateRequest{}).Record
		must(b.keys.Update(t.Context(), system, key.ID, until(end)))(t)
		id := between(b, key.ID)
		for _, later := range []time.Time{end.Add(time.Microsecond), end.Add(time.Hour), b.now.Add(keyring.MaxShadow)} {
			if _, err := b.keys.Update(t.Context(), system, id, until(later)); err == nil {
				t.Errorf("%s: the end moved to %s", name, later)
			} else {
				wantErr(t, err, keyring.ErrInvalid)
			}
		}
		if rec := b.get(id); !rec.ShadowEnd.Equal(end) || rec.ShadowUntil.After(end) {
			t.Errorf("%s: got until %s, end %s", name, rec.ShadowUntil, rec.ShadowEnd)
		}
		if b.now.Before(end) {
			must(b.keys.Update(t.Context(), system, id, until(end)))(t)
		}
	}
}

// TestShadow_SetOnTheSuccessorHoldsForTheOldKey: the end holds for the whole family.
func TestShadow_SetOnTheSuccessorHoldsForTheOldKey(t *testing.T) {
	b := newBench(t)
	old := b.create(keyring.CreateRequest{}).Record
	successor := must(b.keys.Rotate(t.Context(), system, old.ID, keyring.RotateOptions{}))(t).Record
	must(b.keys.Update(t.Context(), system, successor.ID, until(start.Add(time.Hour))))(t)
	_, err := b.keys.Update(t.Context(), system, old.ID, until(start.Add(2*time.Hour)))
	wantErr(t, err, keyring.ErrInvalid)
	got := must(b.keys.Update(t.Context(), system, old.ID, until(start.Add(time.Minute))))(t)
	if !got.ShadowEnd.Equal(start.Add(time.Hour)) {
		t.Errorf("got the end %s", got.ShadowEnd)
	}
}

func TestShadow_NeedsWhatUpdatesNeed(t *testing.T) {
	b := newBench(t)
	p := admin(t, "orders:*", "shop")
	end := until(start.Add(time.Hour))
	wide := b.create(keyring.CreateRequest{Project: "shop", Scopes: scopes(t, "payments:read")}).Record
	_, err := b.keys.Update(t.Context(), p, wide.ID, end)
	wantErr(t, err, keyring.ErrForbidden)
	foreign := b.create(keyring.CreateRequest{Project: "bank"}).Record
	_, err = b.keys.Update(t.Context(), p, foreign.ID, end)
	wantErr(t, err, authz.ErrNotFound)
	key := b.create(keyring.CreateRequest{Project: "shop"}).Record
	nothing := admin(t, "", "shop")
	_, err = b.keys.Update(t.Context(), nothing, key.ID, end)
	wantErr(t, err, keyring.ErrForbidden)

	// A key whose shadow mode was set with wider grants can't be changed with narrower
	// ones, except to end its shadow mode or disable it.
	must(b.keys.Update(t.Context(), system, key.ID, end))(t)
	_, err = b.keys.Update(t.Context(), p, key.ID, keyring.Patch{AllowedCIDRs: nil, Name: new("other")})
	wantErr(t, err, keyring.ErrForbidden)
	must(b.keys.Disable(t.Context(), p, key.ID))(t)
	_, err = b.keys.Enable(t.Context(), p, key.ID)
	wantErr(t, err, keyring.ErrForbidden)
	must(b.keys.Update(t.Context(), p, key.ID, until(time.Time{})))(t)
	must(b.keys.Enable(t.Context(), p, key.ID))(t)
}

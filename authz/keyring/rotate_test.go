package keyring_test

import (
	"fmt"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// rotate rotates as the system principal; a nil grace is the default.
func (b *bench) rotate(ref string, grace *time.Duration) keyring.Rotated {
	b.Helper()
	return must(b.keys.Rotate(b.Context(), system, ref, keyring.RotateOptions{Grace: grace}))(b.T)
}

func TestRotate_OldKeyLivesForItsGraceAndNewOneIsEqual(t *testing.T) {
	b := newBench(t)
	old := b.create(keyring.CreateRequest{
		Scopes: scopes(t, "a:x"), Metadata: map[string]string{"k": "v"}, Project: "p", Environment: "test",
		Rate: authz.Rate{Count: 1, Per: time.Second},
	})
	b.later(time.Hour)
	r := b.rotate(old.Record.Prefix, nil)
	if r.Key.Len() == 0 || r.Record.Prefix == old.Record.Prefix || r.Record.ID == old.Record.ID {
		t.Errorf("no new key: %+v", r.Record)
	}
	want := old.Record
	want.ID, want.Prefix, want.RotatedFrom = r.Record.ID, r.Record.Prefix, old.Record.ID
	want.CreatedAt, want.UpdatedAt, want.Version = b.now, b.now, r.Record.Version
	if got, want := fmt.Sprintf("%+v", r.Record), fmt.Sprintf("%+v", want); got != want {
		t.Errorf("new key\n%s, want\n%s", got, want)
	}
	if r.Old.ID != old.Record.ID || !r.Old.ExpiresAt.Equal(b.now.Add(keyring.DefaultGrace)) {
		t.Errorf("old key ends at %s", r.Old.ExpiresAt)
	}
	b.later(keyring.DefaultGrace - time.Microsecond)
	if b.status(old.Record.ID) != authz.StatusActive {
		t.Error("the old key ended before its grace")
	}
	b.later(time.Microsecond)
	if b.status(old.Record.ID) != authz.StatusExpired || b.status(r.Record.ID) != authz.StatusActive {
		t.Error("the old key outlived its grace, or the new one ended")
	}
}

func TestRotate_GraceEndsWithAnEarlierExpiry(t *testing.T) {
	hours := func(n time.Duration) *time.Duration { return new(n * time.Hour) }
	for _, c := range []struct {
		expires time.Duration // of the old key; 0: never
		grace   *time.Duration
		want    time.Duration
	}{
		{0, nil, 24 * time.Hour}, {0, hours(0), 0}, {0, hours(5), 5 * time.Hour},
		{time.Hour, nil, time.Hour}, {time.Hour, hours(0), 0}, {9 * time.Hour, hours(5), 5 * time.Hour},
	} {
		b := newBench(t)
		var r keyring.CreateRequest
		if c.expires != 0 {
			r.ExpiresAt = b.now.Add(c.expires)
		}
		got := b.rotate(b.create(r).Record.ID, c.grace)
		if !got.Old.ExpiresAt.Equal(b.now.Add(c.want)) {
			t.Errorf("%+v: old key ends after %s", c, got.Old.ExpiresAt.Sub(b.now))
		}
	}
	b := newBench(t)
	key := b.create(keyring.CreateRequest{}).Record.ID
	for _, grace := range []time.Duration{-1, keyring.MaxGrace + 1} {
		_, err := b.keys.Rotate(t.Context(), system, key, keyring.RotateOptions{Grace: &grace})
		wantErr(t, err, keyring.ErrInvalid)
	}
}

func TestRotate_NewKeyHasTheLifetimeOfTheOldOne(t *testing.T) {
	b := newBench(t)
	key := b.create(keyring.CreateRequest{ExpiresAt: start.Add(100 * time.Hour)}).Record
	b.later(10 * time.Hour)
	second := b.rotate(key.ID, nil).Record
	if !second.ExpiresAt.Equal(b.now.Add(100 * time.Hour)) {
		t.Errorf("ends at %s", second.ExpiresAt)
	}
	// The new key was lost. It is revoked alone, and the old key, whose expiry is now the
	// end of its grace, is rotated again.
	must(b.keys.Revoke(t.Context(), system, []string{second.ID}, keyring.RevokeOptions{OnlyThis: true}))(t)
	b.later(time.Hour)
	if third := b.rotate(key.ID, nil).Record; !third.ExpiresAt.Equal(b.now.Add(100 * time.Hour)) {
		t.Errorf("after a grace: ends at %s", third.ExpiresAt)
	}
	asked := must(b.keys.Rotate(t.Context(), system, b.create(keyring.CreateRequest{}).Record.ID,
		keyring.RotateOptions{ExpiresAt: new(b.now.Add(time.Minute))}))(t)
	if !asked.Record.ExpiresAt.Equal(b.now.Add(time.Minute)) {
		t.Errorf("asked for a minute: ends at %s", asked.Record.ExpiresAt)
	}
}

func TestRotate_RefusesKeysThatAreNotLive(t *testing.T) {
	b := newBench(t)
	revoked, disabled := b.create(keyring.CreateRequest{}).Record, b.create(keyring.CreateRequest{}).Record
	expired := b.create(keyring.CreateRequest{ExpiresAt: start.Add(time.Hour)}).Record
	rotated := b.create(keyring.CreateRequest{}).Record
	must(b.keys.Revoke(t.Context(), system, []string{revoked.ID}, keyring.RevokeOptions{}))(t)
	must(b.keys.Disable(t.Context(), system, disabled.ID))(t)
	b.later(time.Hour)
	b.rotate(rotated.ID, nil)
	for id, want := range map[string]error{
		revoked.ID: keyring.ErrRevoked, disabled.ID: keyring.ErrDisabled,
		expired.ID: keyring.ErrExpired, rotated.ID: keyring.ErrSuperseded,
	} {
		_, err := b.keys.Rotate(t.Context(), system, id, keyring.RotateOptions{})
		wantErr(t, err, want)
	}
}

func TestRotate_AtMostTwoOfAFamilyAreLive(t *testing.T) {
	b := newBench(t)
	first := b.create(keyring.CreateRequest{}).Record
	b.later(time.Minute)
	second := b.rotate(first.ID, nil).Record
	b.later(time.Minute)
	third := b.rotate(second.ID, nil).Record
	if b.status(first.ID) != authz.StatusExpired || b.status(second.ID) != authz.StatusActive || b.status(third.ID) != authz.StatusActive {
		t.Fatalf("first %s, second %s, third %s", b.status(first.ID), b.status(second.ID), b.status(third.ID))
	}
	if got := b.actions(); got != "key.create key.create key.rotate key.create key.rotate key.expire" {
		t.Errorf("audit: %s", got)
	}
	// An ended key does not become live again beside two others either.
	_, err := b.keys.Update(t.Context(), system, first.ID, keyring.Patch{ExpiresAt: &time.Time{}})
	wantErr(t, err, keyring.ErrFamilyFull)
	must(b.keys.Disable(t.Context(), system, second.ID))(t)
	must(b.keys.Update(t.Context(), system, first.ID, keyring.Patch{ExpiresAt: &time.Time{}}))(t)
	_, err = b.keys.Enable(t.Context(), system, second.ID)
	wantErr(t, err, keyring.ErrFamilyFull)
}

func TestRotate_EndsDisabledMembers(t *testing.T) {
	b := newBench(t)
	first := b.create(keyring.CreateRequest{}).Record
	b.later(time.Minute)
	second := b.rotate(first.ID, nil).Record
	must(b.keys.Disable(t.Context(), system, first.ID))(t)
	b.later(time.Minute)
	b.rotate(second.ID, nil)
	must(b.keys.Enable(t.Context(), system, first.ID))(t)
	if got := b.status(first.ID); got != authz.StatusExpired {
		t.Errorf("the first key is %s", got)
	}
}

func TestRotate_RefusesAFamilyWithAMemberOutOfReach(t *testing.T) {
	b := newBench(t)
	first := b.create(keyring.CreateRequest{Project: "shop"}).Record
	b.later(time.Minute)
	second := b.rotate(first.ID, nil).Record
	must(b.keys.Update(t.Context(), system, first.ID, keyring.Patch{Project: new("bank")}))(t)
	_, err := b.keys.Rotate(t.Context(), admin(t, "*:*", "shop"), second.ID, keyring.RotateOptions{})
	wantErr(t, err, keyring.ErrForbidden)
}

func TestRotate_GivesAKeyWithoutFamilyOne(t *testing.T) {
	b := newBench(t)
	key := b.create(keyring.CreateRequest{}).Record
	b.fake().keys[0].Record.Family = ""
	r := b.rotate(key.ID, nil)
	if r.Record.Family != key.ID || b.get(key.ID).Family != key.ID {
		t.Errorf("families %q and %q", r.Record.Family, b.get(key.ID).Family)
	}
}

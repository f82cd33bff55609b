package keyring_test

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"testing"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

func TestBootstrap_AdministratorCannotCreateOthers(t *testing.T) {
	b := newBench(t)
	created, made, err := b.keys.Bootstrap(t.Context(), authz.Secret{})
	if err != nil || !made || !b.peppers.Verify(b.fake().keys[0].Verifier, created.Key) {
		t.Fatalf("made %t, %v", made, err)
	}
	p := keyring.Principal{KeyID: created.Record.ID, Scopes: created.Record.Scopes, Grants: created.Record.Grants}
	must(b.keys.Create(t.Context(), p, keyring.CreateRequest{UserID: "u", Name: "n", Scopes: scopes(t, "*:*"), Project: "p"}))(t)
	_, err = b.keys.Create(t.Context(), p, keyring.CreateRequest{UserID: "u", Name: "n", Scopes: scopes(t, "extauthz/keys:read")})
	wantErr(t, err, keyring.ErrForbidden)
	if e := b.audit()[0]; e.Actor != "system" || e.Action != "key.create" || e.KeyID != created.Record.ID {
		t.Errorf("audit %+v", e)
	}
}

func TestBootstrap_WithAGivenKeyHappensOnce(t *testing.T) {
	b := newBench(t)
	given, prefix, err := b.format.Generate("test", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		created, made, err := b.keys.Bootstrap(t.Context(), given)
		if err != nil || made != (i == 0) {
			t.Fatalf("call %d: made %t, %v", i, made, err)
		}
		if made && (created.Record.Prefix != prefix || created.Record.Environment != "test" || created.Key.Reveal() != given.Reveal()) {
			t.Errorf("record %+v", created.Record)
		}
	}
	must(b.store.Mutate(t.Context(), authz.Selection{Ref: prefix}, func(there []authz.Record) (authz.Mutation, error) { // the API would refuse this change
		there[0].Active, there[0].RevokedAt = false, b.now
		return authz.Mutation{Update: there}, nil
	}))(t)
	_, _, err = b.keys.Bootstrap(t.Context(), given)
	wantErr(t, err, keyring.ErrRevoked)
	if _, made, err := b.keys.Bootstrap(t.Context(), authz.Secret{}); err != nil || !made {
		t.Errorf("after the last administrator was revoked: made %t, %v", made, err)
	}
}

func TestBootstrap_CountsDisabledAndExpiredAdministrators(t *testing.T) {
	b := newBench(t)
	key := b.create(keyring.CreateRequest{Scopes: scopes(t, "extauthz/keys:read"), ExpiresAt: start.Add(1e9)})
	must(b.keys.Disable(t.Context(), system, key.Record.ID))(t)
	b.later(1e10)
	if _, made, err := b.keys.Bootstrap(t.Context(), authz.Secret{}); made || err != nil {
		t.Errorf("made %t, %v", made, err)
	}
}

func TestBootstrap_RefusesNonKeysWithoutRepeatingThem(t *testing.T) {
	b := newBench(t)
	for _, text := range []string{"hunter2hunter2", "ak_live_4fJ9xQ2b_" + strings.Repeat("s", 38)} {
		_, _, err := b.keys.Bootstrap(t.Context(), authz.NewSecret(text))
		wantErr(t, err, keyring.ErrInvalid)
		if strings.Contains(err.Error(), text[5:]) {
			t.Error("the error repeats the key")
		}
	}
}

func TestBootstrap_RefusesATakenPrefix(t *testing.T) {
	b := newBench(t)
	key := b.create(keyring.CreateRequest{})
	_, made, err := b.keys.Bootstrap(t.Context(), key.Key)
	wantErr(t, err, authz.ErrConflict)
	if made {
		t.Error("made")
	}
}

func TestBootstrap_ConcurrentReplicasCreateOneAdministrator(t *testing.T) {
	b := newBenchOn(t, &blindStart{newFakeStore()})
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 8 {
		wg.Go(func() {
			_, m, err := b.keys.Bootstrap(t.Context(), authz.Secret{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if m {
				made++
			}
		})
	}
	wg.Wait()
	if made != 1 {
		t.Errorf("%d administrators made", made)
	}
}

// blindStart reports that there is no administrator, as if all replicas asked before one
// wrote.
type blindStart struct{ *fakeStore }

func (*blindStart) HasAdministrator(context.Context) (bool, error) { return false, nil }

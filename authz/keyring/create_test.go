package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

func TestCreate_StoredVerifierVerifiesTheKey(t *testing.T) {
	b := newBench(t)
	got := b.create(keyring.CreateRequest{
		Scopes: scopes(t, "orders:write orders:read"), Environment: "test",
		AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("::ffff:10.1.2.3/104")},
		Metadata:     map[string]string{"team": "a"},
		ExpiresAt:    start.Add(time.Hour + time.Nanosecond),
	})
	stored := b.fake().keys[0]
	if !b.peppers.Verify(stored.Verifier, got.Key) {
		t.Error("the stored verifier does not verify the key")
	}
	if parsed, ok := b.format.Parse(got.Key); !ok || parsed.Prefix != got.Record.Prefix || parsed.Environment != "test" {
		t.Errorf("key parses as %+v, %t; record's prefix %s", parsed, ok, got.Record.Prefix)
	}
	rec := b.get(got.Record.Prefix)
	if rec.Family != rec.ID || !rec.Active || rec.Version == 0 || !rec.ExpiresAt.Equal(start.Add(time.Hour)) {
		t.Errorf("record %+v", rec)
	}
	if s := fmt.Sprint(rec.AllowedCIDRs); s != "[10.0.0.0/8]" {
		t.Errorf("networks %s", s)
	}
	if len(rec.Scopes) != 1 {
		t.Errorf("scopes are not canonical: %v", rec.Scopes)
	}
	changes := b.notified.take()
	if len(changes) != 1 || changes[0] != (authz.Change{Version: rec.Version, Kind: authz.ChangeKey, Prefix: rec.Prefix, KeyID: rec.ID, UserID: "u"}) {
		t.Errorf("notified of %+v", changes)
	}
}

func TestCreate_NamesAllProblemsAtOnce(t *testing.T) {
	b := newBench(t)
	r := keyring.CreateRequest{
		UserID: "a\x00", Name: strings.Repeat("x", 201), Environment: "moon",
		Scopes:       authz.Scopes{{Resource: "or ders", Actions: []string{"read"}}},
		Roles:        []string{"absent", "-"},
		ExpiresAt:    start,
		Project:      "a b",
		AllowedCIDRs: []netip.Prefix{{}},
		Metadata:     map[string]string{"Up": "v", "ok": "a\nb"},
		Rate:         authz.Rate{Count: -1, Per: time.Second},
	}
	_, err := b.keys.Create(t.Context(), system, r)
	wantErr(t, err, keyring.ErrInvalid)
	var invalid *keyring.ValidationError
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	var fields []string
	for _, f := range invalid.Fields {
		fields = append(fields, f.Field)
	}
	const want = "user_id name environment scopes roles expires_at project allowed_cidrs[0] metadata metadata.ok rate roles"
	if got := strings.Join(fields, " "); got != want {
		t.Errorf("fields\n%s, want\n%s", got, want)
	}
	if b.fake().mutates != 0 {
		t.Error("something was written")
	}
}

func TestCreate_SameIdempotencyKeyIsOneCreation(t *testing.T) {
	b := newBench(t)
	p := admin(t, "*:*", "*")
	r := keyring.CreateRequest{UserID: "u", Name: "n", Scopes: scopes(t, "a:x b:y"), IdempotencyKey: "once"}
	first := must(b.keys.Create(t.Context(), p, r))(t)
	r.Scopes = authz.Scopes{r.Scopes[1], r.Scopes[0]} // the same request in another order
	again := must(b.keys.Create(t.Context(), p, r))(t)
	if !again.Replayed || again.Key.Len() != 0 || again.Record.ID != first.Record.ID {
		t.Errorf("replay: %+v", again)
	}
	if n := len(b.fake().keys); n != 1 {
		t.Errorf("%d keys", n)
	}
	r.Name = "other"
	_, err := b.keys.Create(t.Context(), p, r)
	wantErr(t, err, authz.ErrIdempotencyReuse)
	p.AdministratorID = "another admin"
	if other := must(b.keys.Create(t.Context(), p, r))(t); other.Replayed {
		t.Error("another principal's idempotency key was replayed")
	}
}

// colliding is a store that refuses the first n creations as if their prefixes were
// taken.
type colliding struct {
	*fakeStore
	n        int
	prefixes map[string]bool
}

func (c *colliding) Mutate(ctx context.Context, sel authz.Selection, fn func([]authz.Record) (authz.Mutation, error)) ([]authz.Record, error) {
	return c.fakeStore.Mutate(ctx, sel, func(selected []authz.Record) (authz.Mutation, error) {
		m, err := fn(selected)
		if err == nil && len(m.Create) > 0 {
			c.prefixes[m.Create[0].Record.Prefix] = true
			if c.n--; c.n >= 0 {
				return authz.Mutation{}, fmt.Errorf("prefix: %w", authz.ErrConflict)
			}
		}
		return m, err
	})
}

func TestCreate_RetriesATakenPrefix(t *testing.T) {
	for _, c := range []struct {
		collisions, tried int
		want              error
	}{{4, 5, nil}, {9, 5, authz.ErrConflict}} {
		store := &colliding{newFakeStore(), c.collisions, map[string]bool{}}
		b := newBenchOn(t, store)
		_, err := b.keys.Create(t.Context(), system, keyring.CreateRequest{UserID: "u", Name: "n"})
		wantErr(t, err, c.want)
		if len(store.prefixes) != c.tried {
			t.Errorf("%d prefixes tried, want %d", len(store.prefixes), c.tried)
		}
	}
}

func TestNotifier_IsCalledAfterTheCallerCancelled(t *testing.T) {
	store := newFakeStore()
	b := newBenchOn(t, store)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the store of this test ignores ctx, as if the caller left after the commit
	must(b.keys.Create(ctx, system, keyring.CreateRequest{UserID: "u", Name: "n"}))(t)
	if len(b.notified.take()) != 1 || b.notified.ctxErr != nil {
		t.Errorf("not called, or with a cancelled context: %v", b.notified.ctxErr)
	}
}

func TestNotifier_IsNotCalledAfterAFailedWrite(t *testing.T) {
	b := newBenchOn(t, &colliding{newFakeStore(), 99, map[string]bool{}})
	if _, err := b.keys.Create(t.Context(), system, keyring.CreateRequest{UserID: "u", Name: "n"}); err == nil {
		t.Fatal("no error")
	}
	if c := b.notified.take(); len(c) != 0 {
		t.Errorf("called with %+v", c)
	}
}

func TestCreate_IdempotencyKeyOfADeletedKey(t *testing.T) {
	b := newBench(t)
	r := keyring.CreateRequest{UserID: "u", Name: "n", Scopes: scopes(t, "a:x"), IdempotencyKey: "once"}
	must(b.keys.Create(t.Context(), system, r))(t)
	b.fake().keys = nil // the key is deleted
	_, err := b.keys.Create(t.Context(), system, r)
	wantErr(t, err, authz.ErrConflict)
}

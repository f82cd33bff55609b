package cachesvc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/internal/l1"
	"extauthz/cachesvc/internal/remote"
	"extauthz/cachesvc/seal"
	"extauthz/cachesvc/store"
)

// pair runs a test in simulated time. Two replicas share one store, and one database that
// holds the key "k".
func pair(t *testing.T, edit func(*Config), test func(t *testing.T, db *cachetest.Database, c [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		db, r := cachetest.NewDatabase(), cachetest.NewRedis(t, nil)
		db.Commit("k", cachetest.Unchanged)
		var c [2]*cachetest.Connection
		var w [2]*cachetest.Wire
		var s [2]*Service
		for i := range s {
			c[i], w[i] = db.Connect(), r.Connect()
			config := Config{Database: c[i], Shared: w[i], Sealing: seal.Keys{sealingKey(t, 1)}, Jitter: func() float64 { return 0 }}
			if edit != nil {
				edit(&config)
			}
			s[i] = start(t, config)
		}
		synctest.Wait()
		test(t, db, c, w, s)
	})
}

func TestShared_OneReplicasReadIsTheOthersHit(t *testing.T) {
	pair(t, nil, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service) {
		wantEntry(t, s[0], "k", true, authz.LayerDatabase)
		synctest.Wait()
		wantEntry(t, s[1], "k", true, authz.LayerRedis)
		wantEntry(t, s[1], "k", true, authz.LayerLocal)
		if db.KeyReads != 1 {
			t.Errorf("%d queries, want 1", db.KeyReads)
		}
		// A look-up of a prefix that no key has leaves nothing in the shared store.
		wantEntry(t, s[0], "none", false, authz.LayerDatabase)
		if n, err := w[0].Store.Count(t.Context(), ""); err != nil || n != 1 {
			t.Errorf("%d values in the shared store, %v; want 1", n, err)
		}
	})
}

func TestShared_AValueHasItsNameItsLifetimeAndNoDigest(t *testing.T) {
	pair(t, nil, func(t *testing.T, _ *cachetest.Database, _ [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service) {
		wantEntry(t, s[0], "k", true, authz.LayerDatabase)
		synctest.Wait()
		data, found, err := w[0].Store.Get(t.Context(), "apikey:validation:k")
		if err != nil || !found {
			t.Fatalf("no value: %v", err)
		}
		var fields map[string]any
		if err := json.Unmarshal(data, &fields); err != nil || fields["id"] != "id-k" || fields["key_prefix"] != "k" {
			t.Errorf("value %s, %v", data, err)
		}
		for _, tag := range []string{"apikey-validation", "apikey-user-user-k", "apikey-id-k"} {
			if keys, err := w[0].Store.Tagged(t.Context(), tag, 9); err != nil || len(keys) != 1 {
				t.Errorf("tag %s holds %v, %v", tag, keys, err)
			}
		}
		digest := strings.Repeat("00", 32)
		if bytes.Contains(data, []byte(digest[:16])) {
			t.Errorf("the digest is readable in %s", data)
		}
		time.Sleep(DefaultValidationTTL)
		if _, found, _ := w[0].Store.Get(t.Context(), "apikey:validation:k"); found {
			t.Error("the value has outlived its lifetime")
		}
	})
}

func TestShared_AnAgeIsCountedFromTheDatabaseThroughAllLayers(t *testing.T) {
	pair(t, nil, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, _ [2]*cachetest.Wire, s [2]*Service) {
		wantEntry(t, s[0], "k", true, authz.LayerDatabase)
		time.Sleep(DefaultValidationTTL / 2)
		wantEntry(t, s[1], "k", true, authz.LayerRedis)
		time.Sleep(DefaultValidationTTL/2 - time.Second)
		wantEntry(t, s[1], "k", true, authz.LayerLocal) // its lifetime is nearly over: it is refreshed ahead
		synctest.Wait()
		if db.KeyReads != 2 {
			t.Errorf("%d queries, want one more, ahead of the end", db.KeyReads)
		}
		time.Sleep(2 * time.Second)
		wantEntry(t, s[1], "k", true, authz.LayerLocal)
	})
}

func TestShared_AnUnsealedRedisIsNotTrusted(t *testing.T) {
	pair(t, func(c *Config) { c.Sealing = nil }, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service) {
		wantEntry(t, s[0], "k", true, authz.LayerDatabase)
		synctest.Wait()
		if _, found, _ := w[0].Store.Get(t.Context(), "apikey:validation:k"); !found {
			t.Error("nothing is stored for people to see")
		}
		wantEntry(t, s[1], "k", true, authz.LayerDatabase)
	})
}

// TestShared_EveryFieldOfAValueIsSealed alters one field after another, adds a field, and
// removes one.
func TestShared_EveryFieldOfAValueIsSealed(t *testing.T) {
	keys := seal.Keys{sealingKey(t, 1)}
	full := &l1.Credential{
		Record: authz.Record{
			ID: "id", UserID: "u", Name: "n <&>", Prefix: "k", Active: true, ExpiresAt: time.Unix(10, 0), RevokedAt: time.Unix(20, 0),
			Scopes: authz.Scopes{{Resource: "orders", Actions: []string{"read"}}}, CreatedAt: time.Unix(1, 0).UTC(), UpdatedAt: time.Unix(2, 0).UTC(),
			Environment: "live", RotatedFrom: "x", Family: "f", Project: "p", AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Metadata: map[string]string{"a": "b"}, Rate: authz.Rate{Count: 1, Per: time.Second}, Roles: []string{"r"},
			Grants: authz.Grants{Scopes: authz.Scopes{{Resource: "a", Actions: []string{"*"}}}, Projects: []string{"q"}, Users: []string{"v*"}}, ShadowUntil: time.Unix(30, 0).UTC(), Version: 7,
			ShadowEnd: time.Unix(40, 0).UTC(), ShadowScopes: authz.Scopes{{Resource: "b", Actions: []string{"*"}}},
		},
		Verifier: authz.Verifier{Alg: authz.HashHMACSHA256, PepperID: "1", Digest: authz.NewDigest([32]byte{1, 2, 3})},
	}
	full.Record.ExpiresAt, full.Record.RevokedAt = full.Record.ExpiresAt.UTC(), full.Record.RevokedAt.UTC()
	from := source{"epoch", time.Unix(5, 0).UTC()}
	data, err := encodeKey(keys, full, from)
	if err != nil {
		t.Fatal(err)
	}
	c, back, err := decodeKey(keys, "k", data)
	if err != nil || !reflect.DeepEqual(c.Record, full.Record) || back != from {
		t.Fatalf("came back as %+v from %v, %v", c, back, err)
	}
	if got, _ := c.Verifier.Digest.Bytes(); got != [32]byte{1, 2, 3} || c.Verifier.Alg != full.Verifier.Alg || c.Verifier.PepperID != "1" {
		t.Error("the verifier came back as another one")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	if len(fields) != reflect.TypeFor[sharedKey]().NumField()+2 { // source and seal.Sealed have two fields each
		t.Errorf("%d fields are written; a field that is empty here is not tested", len(fields))
	}
	refused := func(what string, prefix string, data []byte) {
		t.Helper()
		if _, _, err := decodeKey(keys, prefix, data); err == nil {
			t.Errorf("%s: trusted", what)
		}
	}
	for name, value := range fields {
		others := []string{`null`, `""`, `"x"`, `0`, `8`, `true`, `false`, `[]`, `{}`, `["x"]`, `{"x":"y"}`, `"2030-01-01T00:00:00Z"`,
			`[{"resource":"*","actions":["*"]}]`, `["0.0.0.0/0"]`}
		for _, other := range others {
			if other == string(value) {
				continue
			}
			refused(name+" = "+other, "k", replaceField(t, data, name, value, other))
		}
		refused(name+" taken away", "k", removeField(data, name, value))
	}
	refused("a field more", "k", append([]byte(`{"extra":1,`), data[1:]...))
	refused("spaces", "k", append([]byte(` `), data...))
	refused("another prefix", "l", data)
	refused("cut off", "k", data[:len(data)-2])
	if _, _, err := decodeKey(seal.Keys{sealingKey(t, 2)}, "k", data); err == nil {
		t.Error("another sealing key opened it")
	}
	// Rotation: the new key seals, the old one still opens.
	if _, _, err := decodeKey(seal.Keys{sealingKey(t, 2), keys[0]}, "k", data); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
	// One value's seal on another value.
	other, err := encodeKey(keys, &l1.Credential{Record: authz.Record{ID: "id2", Prefix: "k"}, Verifier: full.Verifier}, from)
	if err != nil {
		t.Fatal(err)
	}
	var stolen map[string]json.RawMessage
	if err := json.Unmarshal(other, &stolen); err != nil {
		t.Fatal(err)
	}
	refused("the seal of another value", "k", replaceField(t, data, "seal", fields["seal"], string(stolen["seal"])))
}

func replaceField(t *testing.T, data []byte, name string, value json.RawMessage, other string) []byte {
	t.Helper()
	old := `"` + name + `":` + string(value)
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("field %s is not there as %s", name, old)
	}
	return bytes.Replace(data, []byte(old), []byte(`"`+name+`":`+other), 1)
}

func removeField(data []byte, name string, value json.RawMessage) []byte {
	field := []byte(`"` + name + `":` + string(value))
	out := bytes.Replace(data, append(field, ','), nil, 1)
	if len(out) == len(data) {
		out = bytes.Replace(data, append([]byte(","), field...), nil, 1)
	}
	return out
}

func TestSetSealing_KeysRotateWithoutAGap(t *testing.T) {
	pair(t, nil, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, _ [2]*cachetest.Wire, s [2]*Service) {
		before, after := sealingKey(t, 1), sealingKey(t, 2)
		wantEntry(t, s[0], "k", true, authz.LayerDatabase)
		synctest.Wait()
		s[1].SetSealing(seal.Keys{after, before})
		wantEntry(t, s[1], "k", true, authz.LayerRedis)
		s[0].SetSealing(seal.Keys{after})
		s[0].Changed(t.Context(), db.Commit("k", cachetest.Renamed))
		synctest.Wait()
		wantEntry(t, s[0], "k", true, authz.LayerDatabase)
		synctest.Wait()
		s[1].receive([]byte(`{"prefixes":["k"]}`))
		wantEntry(t, s[1], "k", true, authz.LayerRedis)
	})
}

func TestShared_AValueIsNotTrustedAgainstTheFeed(t *testing.T) {
	pair(t, nil, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service) {
		wantEntry(t, s[0], "k", true, authz.LayerDatabase)
		synctest.Wait()
		old, _, _ := w[0].Store.Get(t.Context(), "apikey:validation:k")
		db.Commit("k", cachetest.Revoked)
		time.Sleep(DefaultPoll)
		synctest.Wait()
		item := store.Item{Key: "apikey:validation:k", Value: old, TTL: time.Hour}
		if err := w[0].Store.Set(t.Context(), item); err != nil {
			t.Fatal(err)
		}
		wantEntry(t, s[1], "k", false, authz.LayerDatabase)
	})
}

func TestShared_AnOldEpochIsAMiss(t *testing.T) {
	pair(t, nil, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service) {
		restore := db.Backup()
		wantEntry(t, s[0], "k", true, authz.LayerDatabase)
		synctest.Wait()
		restore("two")
		db.Commit("k", cachetest.Revoked)
		time.Sleep(DefaultPoll)
		synctest.Wait()
		wantEntry(t, s[1], "k", false, authz.LayerDatabase)
	})
}

func TestShared_ServesUntilTheLimitWithTheDatabaseAway(t *testing.T) {
	pair(t, nil, func(t *testing.T, _ *cachetest.Database, c [2]*cachetest.Connection, _ [2]*cachetest.Wire, s [2]*Service) {
		wantEntry(t, s[0], "k", true, authz.LayerDatabase)
		synctest.Wait()
		for i, weather := range []func() (time.Duration, time.Duration, error){failing(cachetest.ErrAway), taking(time.Hour)} {
			c[i].Edit(func(c *cachetest.Connection) { c.Lookup, c.Feed = weather, weather })
		}
		time.Sleep(DefaultLease)
		wantEntry(t, s[1], "k", true, authz.LayerRedis) // within a check's deadline, although the database never answers
		wantEntry(t, s[0], "k", true, authz.LayerLocal)
		wantError(t, s[1], "unknown")
		time.Sleep(DefaultMaxStale)
		wantError(t, s[1], "k")
		wantError(t, s[0], "k")
	})
}

func TestShared_ADeadRedisIsWaitedForOnce(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil)) // one logger for both: the replicas take turns
	quiet := func(c *Config) { c.Logger = logger }
	pair(t, quiet, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service) {
		for i := range 100 {
			db.Commit(string(rune('a'+i%26))+"x"+string(rune('a'+i/26)), cachetest.Unchanged)
		}
		time.Sleep(time.Second)
		w[0].SetCondition(func() (time.Duration, error) { return time.Hour, nil }) // never answers
		before, start := w[0].CallCount(), time.Now()
		for range 3 {
			s[0].keys.drop("axa")
			wantEntry(t, s[0], "axa", true, authz.LayerDatabase)
			time.Sleep(remote.FailurePause)
		}
		for i := 1; i < 100; i++ {
			wantEntry(t, s[0], string(rune('a'+i%26))+"x"+string(rune('a'+i/26)), true, authz.LayerDatabase)
		}
		if took := time.Since(start); took > 3*(DefaultSharedBudget+remote.FailurePause) {
			t.Errorf("100 look-ups waited %s", took)
		}
		time.Sleep(10 * time.Second)
		if n := w[0].CallCount() - before; n > 40 {
			t.Errorf("%d calls in ten seconds to a store that is dead", n)
		}
		if st := s[0].Status(); st.Shared != "open" && st.Shared != "half_open" || st.State != StateServing {
			t.Errorf("status %+v", st)
		}
		w[0].SetCondition(func() (time.Duration, error) { return 0, nil })
		time.Sleep(3 * time.Second)
		if st := s[0].Status(); st.Shared != "up" {
			t.Errorf("still %q after it is back", st.Shared)
		}
		if lines := strings.Count(log.String(), "Redis"); lines != 2 {
			t.Errorf("%d lines, want one for each change of state:\n%s", lines, log.String())
		}
	})
}

// oom is Redis's answer to writes when it is full.
type oom struct{}

func (oom) Error() string { return "OOM command not allowed when used memory > 'maxmemory'." }
func (oom) RedisError()   {}

func TestShared_AFullRedisGoesOnServing(t *testing.T) {
	pair(t, nil, func(t *testing.T, db *cachetest.Database, _ [2]*cachetest.Connection, w [2]*cachetest.Wire, s [2]*Service) {
		wantEntry(t, s[0], "k", true, authz.LayerDatabase)
		synctest.Wait()
		err := s[1].shared.Do(t.Context(), remote.OpSet, time.Second, func(context.Context) error { return oom{} })
		if !errors.Is(err, remote.ErrStore) || s[1].Status().Shared != "full" {
			t.Fatalf("%v, %q", err, s[1].Status().Shared)
		}
		wantEntry(t, s[1], "k", true, authz.LayerRedis)
		s[1].Used("id-k", time.Now())
		if err := s[1].Flush(t.Context()); err != nil || db.UsageOf("id-k").Count != 1 {
			t.Errorf("usage %+v, %v: it has to bypass a full store", db.UsageOf("id-k"), err)
		}
		w[1].SetCondition(func() (time.Duration, error) { return 0, oom{} })
		time.Sleep(time.Second)
		if got := s[1].Status().Shared; got != "full" {
			t.Errorf("%q while it refuses writes", got)
		}
		w[1].SetCondition(func() (time.Duration, error) { return 0, nil })
		time.Sleep(time.Second) // meanwhile no check comes and nothing is written
		if got := s[1].Status().Shared; got != "up" {
			t.Errorf("still %q after it takes writes again", got)
		}
	})
}

package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/cachesvc/store"
)

// Factory makes an empty store for one test, and a function that lets time pass
// for it: on a fake clock, or by waiting.
type Factory func(t *testing.T) (s store.Store, pass func(time.Duration))

// Run tests an implementation against the contract.
func Run(t *testing.T, factory Factory) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s store.Store, pass func(time.Duration))
	}{
		{"a hit returns what was set", hit},
		{"a miss is not an error", miss},
		{"an empty value is a hit", emptyValue},
		{"mget keeps the order and marks misses", mget},
		{"set replaces value and lifetime, and adds tags", replace},
		{"what is kept for ever does not end", forever},
		{"the keys under a tag can be listed", tagged},
		{"an entry ends with its lifetime", lifetime},
		{"no lifetime removes at once", noLifetime},
		{"delete counts what was there", remove},
		{"a tag drops its entries and no others", tags},
		{"a tag can be added later", tagLater},
		{"what is stored is a copy", copied},
		{"count is by name space", countNamespace},
		{"statistics count hits and misses", statistics},
		{"names that could be mistaken are refused", names},
		{"concurrent use loses nothing", concurrent},
		{"an ended context is an error", ended},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, pass := factory(t)
			test.run(t, s, pass)
		})
	}
}

const long = time.Hour

func set(t *testing.T, s store.Store, key, value string, tags ...string) {
	t.Helper()
	if err := s.Set(t.Context(), store.Item{Key: key, Value: []byte(value), TTL: long, Tags: tags}); err != nil {
		t.Fatalf("Set(%q): %v", key, err)
	}
}

func want(t *testing.T, s store.Store, key, value string) {
	t.Helper()
	got, found, err := s.Get(t.Context(), key)
	if err != nil || !found || string(got) != value {
		t.Fatalf("Get(%q) = %q, %v, %v; want %q", key, got, found, err, value)
	}
}

func wantMiss(t *testing.T, s store.Store, key string) {
	t.Helper()
	if got, found, err := s.Get(t.Context(), key); err != nil || found {
		t.Fatalf("Get(%q) = %q, %v, %v; want a miss", key, got, found, err)
	}
}

func wantCount(t *testing.T, what string, got int, err error, want int) {
	t.Helper()
	if err != nil || got != want {
		t.Fatalf("%s = %d, %v; want %d", what, got, err, want)
	}
}

func hit(t *testing.T, s store.Store, _ func(time.Duration)) {
	set(t, s, "a:1", "one")
	want(t, s, "a:1", "one")
}

func miss(t *testing.T, s store.Store, _ func(time.Duration)) { wantMiss(t, s, "a:1") }

func emptyValue(t *testing.T, s store.Store, _ func(time.Duration)) {
	set(t, s, "a:1", "")
	want(t, s, "a:1", "")
	if values, err := s.MGet(t.Context(), "a:1"); err != nil || values[0] == nil {
		t.Fatalf("MGet = %v, %v; want an empty value, not a miss", values, err)
	}
}

func mget(t *testing.T, s store.Store, _ func(time.Duration)) {
	err := s.MSet(t.Context(), store.Item{Key: "a", Value: []byte("1"), TTL: long}, store.Item{Key: "c", Value: []byte("3"), TTL: long})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.MGet(t.Context(), "c", "b", "a")
	if err != nil || len(got) != 3 || string(got[0]) != "3" || got[1] != nil || string(got[2]) != "1" {
		t.Fatalf("MGet = %q, %v", got, err)
	}
	if got, err := s.MGet(t.Context()); err != nil || len(got) != 0 {
		t.Fatalf("MGet of nothing = %q, %v", got, err)
	}
}

func replace(t *testing.T, s store.Store, pass func(time.Duration)) {
	err := s.Set(t.Context(), store.Item{Key: "a", Value: []byte("old"), TTL: time.Second, Tags: []string{"before"}})
	if err != nil {
		t.Fatal(err)
	}
	set(t, s, "a", "new", "after")
	pass(1500 * time.Millisecond)
	want(t, s, "a", "new")
	n, err := s.InvalidateTags(t.Context(), "after")
	wantCount(t, "InvalidateTags(after)", n, err, 1)
}

func forever(t *testing.T, s store.Store, pass func(time.Duration)) {
	err := s.Set(t.Context(), store.Item{Key: "a", Value: []byte("1"), TTL: store.Forever, Tags: []string{"kept"}})
	if err != nil {
		t.Fatal(err)
	}
	pass(1500 * time.Millisecond)
	want(t, s, "a", "1")
	n, err := s.InvalidateTags(t.Context(), "kept")
	wantCount(t, "InvalidateTags", n, err, 1)
}

func tagged(t *testing.T, s store.Store, _ func(time.Duration)) {
	set(t, s, "a", "1", "red")
	set(t, s, "b", "2", "red")
	set(t, s, "c", "3", "blue")
	keys, err := s.Tagged(t.Context(), "red", 10)
	slices.Sort(keys)
	if err != nil || !slices.Equal(keys, []string{"a", "b"}) {
		t.Fatalf("Tagged(red) = %q, %v", keys, err)
	}
	keys, err = s.Tagged(t.Context(), "red", 1)
	wantCount(t, "Tagged(red, 1)", len(keys), err, 1)
	if err := s.Untag(t.Context(), "red", "a", "none"); err != nil {
		t.Fatal(err)
	}
	n, err := s.InvalidateTags(t.Context(), "red")
	wantCount(t, "InvalidateTags(red) of one that is left", n, err, 1)
	want(t, s, "a", "1")
	keys, err = s.Tagged(t.Context(), "red", 10)
	wantCount(t, "Tagged(red) after its end", len(keys), err, 0)
}

func lifetime(t *testing.T, s store.Store, pass func(time.Duration)) {
	err := s.MSet(t.Context(),
		store.Item{Key: "short", Value: []byte("x"), TTL: time.Second, Tags: []string{"t"}},
		store.Item{Key: "long", Value: []byte("y"), TTL: long, Tags: []string{"t"}})
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, "short", "x")
	pass(1200 * time.Millisecond)
	wantMiss(t, s, "short")
	want(t, s, "long", "y")
	n, err := s.InvalidateTags(t.Context(), "t")
	wantCount(t, "InvalidateTags, of which one has ended,", n, err, 1)
}

func noLifetime(t *testing.T, s store.Store, _ func(time.Duration)) {
	set(t, s, "a", "1")
	if err := s.Set(t.Context(), store.Item{Key: "a", Value: []byte("2")}); err != nil {
		t.Fatal(err)
	}
	wantMiss(t, s, "a")
}

func remove(t *testing.T, s store.Store, _ func(time.Duration)) {
	set(t, s, "a", "1")
	set(t, s, "b", "2")
	n, err := s.Delete(t.Context(), "a", "none")
	wantCount(t, "Delete", n, err, 1)
	wantMiss(t, s, "a")
	want(t, s, "b", "2")
	n, err = s.Delete(t.Context())
	wantCount(t, "Delete of nothing", n, err, 0)
}

func tags(t *testing.T, s store.Store, _ func(time.Duration)) {
	set(t, s, "a", "1", "red", "round")
	set(t, s, "b", "2", "red")
	set(t, s, "c", "3", "round")
	set(t, s, "d", "4")
	n, err := s.InvalidateTags(t.Context(), "red", "none")
	wantCount(t, "InvalidateTags(red)", n, err, 2)
	wantMiss(t, s, "a")
	wantMiss(t, s, "b")
	want(t, s, "c", "3")
	want(t, s, "d", "4")
	n, err = s.InvalidateTags(t.Context(), "red")
	wantCount(t, "InvalidateTags(red) again", n, err, 0)
}

func tagLater(t *testing.T, s store.Store, _ func(time.Duration)) {
	set(t, s, "a", "1", "first")
	for _, key := range []string{"a", "none"} {
		if err := s.Tag(t.Context(), key, "second"); err != nil {
			t.Fatal(err)
		}
	}
	n, err := s.InvalidateTags(t.Context(), "second")
	wantCount(t, "InvalidateTags", n, err, 1)
	wantMiss(t, s, "a")
}

func copied(t *testing.T, s store.Store, _ func(time.Duration)) {
	value := []byte("good")
	if err := s.Set(t.Context(), store.Item{Key: "a", Value: value, TTL: long}); err != nil {
		t.Fatal(err)
	}
	copy(value, "evil")
	got, _, err := s.Get(t.Context(), "a")
	if err != nil || !bytes.Equal(got, []byte("good")) {
		t.Fatalf("Get = %q, %v after the caller changed its slice", got, err)
	}
}

func countNamespace(t *testing.T, s store.Store, _ func(time.Duration)) {
	for i := range 25 {
		set(t, s, "x:"+strconv.Itoa(i), "v")
	}
	set(t, s, "y:1", "v")
	for namespace, entries := range map[string]int{"x:": 25, "y:": 1, "z:": 0} {
		n, err := s.Count(t.Context(), namespace)
		wantCount(t, "Count("+namespace+")", n, err, entries)
	}
}

func statistics(t *testing.T, s store.Store, _ func(time.Duration)) {
	set(t, s, "a", "12345")
	want(t, s, "a", "12345")
	want(t, s, "a", "12345")
	wantMiss(t, s, "b")
	st, err := s.Statistics(t.Context())
	if err != nil || st.Hits != 2 || st.Misses != 1 || st.Entries != 1 {
		t.Fatalf("Statistics = %+v, %v", st, err)
	}
	if rate := st.HitRate(); rate < .66 || rate > .67 {
		t.Fatalf("HitRate = %v", rate)
	}
}

func names(t *testing.T, s store.Store, _ func(time.Duration)) {
	for _, name := range []string{"", "a b", "a*", "a\nb", "a?", "ключ", "{a}", strings.Repeat("x", 513)} {
		item := store.Item{Key: name, Value: []byte("1"), TTL: long}
		if err := s.Set(t.Context(), item); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("Set(%q): %v; want ErrInvalid", name, err)
		}
		if _, _, err := s.Get(t.Context(), name); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("Get(%q): %v; want ErrInvalid", name, err)
		}
		if _, err := s.InvalidateTags(t.Context(), name); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("InvalidateTags(%q): %v; want ErrInvalid", name, err)
		}
	}
}

func concurrent(t *testing.T, s store.Store, _ func(time.Duration)) {
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			key := "k:" + strconv.Itoa(i)
			for range 20 {
				if err := s.Set(t.Context(), store.Item{Key: key, Value: []byte(key), TTL: long, Tags: []string{"all"}}); err != nil {
					t.Errorf("Set: %v", err)
				}
				if got, found, err := s.Get(t.Context(), key); err != nil || !found || string(got) != key {
					t.Errorf("Get(%q) = %q, %v, %v", key, got, found, err)
				}
			}
		})
	}
	wg.Wait()
	n, err := s.InvalidateTags(t.Context(), "all")
	wantCount(t, "InvalidateTags", n, err, 16)
}

func ended(t *testing.T, s store.Store, _ func(time.Duration)) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Get(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Fatalf("Get with an ended context: %v", err)
	}
}

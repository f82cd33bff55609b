package memory_test

import (
	"fmt"
	"testing"
	"time"

	"extauthz/cachesvc/store"
	"extauthz/cachesvc/store/memory"
	"extauthz/cachesvc/store/storetest"
)

func newStore(t *testing.T, entries int) (*memory.Store, func(time.Duration)) {
	t.Helper()
	now := time.Unix(1_000_000, 0)
	s, err := memory.New(memory.Config{MaxEntries: entries, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return s, func(d time.Duration) { now = now.Add(d) }
}

func TestConformance_Memory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) (store.Store, func(time.Duration)) { return newStore(t, 1000) })
}

func TestStore_LeastRecentlyUsedIsEvictedFirst(t *testing.T) {
	s, _ := newStore(t, 3)
	put := func(key string) {
		t.Helper()
		if err := s.Set(t.Context(), store.Item{Key: key, Value: []byte(key), TTL: time.Hour, Tags: []string{"t"}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		put(fmt.Sprint("k", i))
	}
	if _, found, _ := s.Get(t.Context(), "k0"); !found {
		t.Fatal("k0 is missing")
	}
	put("k3")
	for key, want := range map[string]bool{"k0": true, "k1": false, "k2": true, "k3": true} {
		if _, found, _ := s.Get(t.Context(), key); found != want {
			t.Errorf("found %s: %v, want %v", key, found, want)
		}
	}
	if n, err := s.InvalidateTags(t.Context(), "t"); err != nil || n != 3 {
		t.Errorf("dropped %d, %v; want 3: an evicted entry must leave its tags", n, err)
	}
	if st, err := s.Statistics(t.Context()); err != nil || st.Bytes != 0 || st.Entries != 0 {
		t.Errorf("Statistics = %+v, %v; want nothing left", st, err)
	}
}

func TestNew_SizeIsRequired(t *testing.T) {
	if _, err := memory.New(memory.Config{}); err == nil {
		t.Fatal("no error")
	}
}

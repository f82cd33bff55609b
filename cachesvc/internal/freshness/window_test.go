package freshness

import (
	"fmt"
	"testing"
	"time"

	"extauthz/authz"
)

func TestWindow_DropsByAgeAndIsBounded(t *testing.T) {
	w := NewWindow(time.Hour)
	w.limit = 10
	change := func(v uint64, prefix string) []authz.Change {
		return []authz.Change{{Version: v, Kind: authz.ChangeKey, Prefix: prefix}}
	}
	w.Learn(change(1, "a"), false, 0)
	w.Learn(change(2, "b"), false, time.Minute)
	w.Learn(change(3, "a"), false, 2*time.Minute)
	w.Learn(nil, false, time.Hour+90*time.Second)
	if w.Size() != 1 || w.Fresh(Topic{Subject: SubjectKey, ID: "a"}, &Stamp{Found: true, Version: 1, Seq: 9}) {
		t.Errorf("%d topics are left, want a alone, at version 3", w.Size())
	}
	old := &Stamp{Found: true, Version: 50, Seq: w.seq.Load()}
	for v := range uint64(20) {
		w.Learn(change(v+4, string(rune('a'+v))), false, 2*time.Hour)
	}
	if w.Size() > 10 || w.Fresh(Topic{Subject: SubjectKey, ID: "zz"}, old) {
		t.Errorf("%d topics; what was read before the window overflowed must be stale", w.Size())
	}
}

// TestWindow_DropsTheOldestFirst: beyond the limit the oldest changes are dropped. A
// value that was read before a dropped change is stale; a value that was read later is as
// fresh as before.
func TestWindow_DropsTheOldestFirst(t *testing.T) {
	w := NewWindow(time.Hour)
	w.limit = 100
	read := func(shared bool, at time.Duration) *Stamp {
		st := &Stamp{Found: true, Version: 1, Shared: shared, AsOf: at}
		st.Seq, st.Generation = w.Begin()
		return st
	}
	change := func(i int) []authz.Change {
		return []authz.Change{{Version: uint64(i + 10), Kind: authz.ChangeKey, Prefix: fmt.Sprint("key", i)}}
	}
	quiet := Topic{Subject: SubjectKey, ID: "quiet"}
	early, earlyShared := read(false, 0), read(true, 0)
	for i := range 60 {
		w.Learn(change(i), false, time.Duration(i)*time.Second)
	}
	late, lateShared, changed, unchanged := read(false, time.Minute), read(true, time.Minute), read(false, time.Minute), read(false, time.Minute)
	for i := range 41 {
		w.Learn(change(60+i), false, time.Minute+time.Duration(i)*time.Second)
	}
	if n := w.Size(); n != 75 {
		t.Errorf("%d topics are kept, want 75", n)
	}
	for name, c := range map[string]struct {
		topic Topic
		stamp *Stamp
		fresh bool
	}{
		"read before what is dropped": {quiet, early, false}, "by another replica": {quiet, earlyShared, false},
		"read since": {quiet, late, true}, "by another replica since": {quiet, lateShared, true},
		"changed since": {Topic{Subject: SubjectKey, ID: "key99"}, changed, false}, "changed before": {Topic{Subject: SubjectKey, ID: "key0"}, unchanged, true},
	} {
		if got := w.Fresh(c.topic, c.stamp); got != c.fresh {
			t.Errorf("%s: fresh is %v, want %v", name, got, c.fresh)
		}
	}
}

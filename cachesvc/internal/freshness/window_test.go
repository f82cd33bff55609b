package freshness

import (
	"fmt"
	"testing"
	"time"

	"extauthz/authz"
)

func TestTheWindowForgetsByTimeAndIsBounded(t *testing.T) {
	r := NewWindow(time.Hour)
	r.limit = 10
	change := func(v uint64, prefix string) []authz.Change {
		return []authz.Change{{Version: v, Kind: authz.ChangeKey, Prefix: prefix}}
	}
	r.Learn(change(1, "a"), false, 0)
	r.Learn(change(2, "b"), false, time.Minute)
	r.Learn(change(3, "a"), false, 2*time.Minute)
	r.Learn(nil, false, time.Hour+90*time.Second)
	if r.Size() != 1 || r.Fresh(Topic{Subject: SubjectKey, ID: "a"}, &Stamp{Found: true, Version: 1, Seq: 9}) {
		t.Errorf("%d topics are left, want a alone, at version 3", r.Size())
	}
	old := &Stamp{Found: true, Version: 50, Seq: r.seq.Load()}
	for v := range uint64(20) {
		r.Learn(change(v+4, string(rune('a'+v))), false, 2*time.Hour)
	}
	if r.Size() > 10 || r.Fresh(Topic{Subject: SubjectKey, ID: "zz"}, old) {
		t.Errorf("%d topics; what was read before the window overflowed must be stale", r.Size())
	}
}

// TestRecent_ForgetsTheOldestFirst: past the limit, what was read before a change that
// is forgotten is stale, and what was read since is as fresh as it was.
func TestRecent_ForgetsTheOldestFirst(t *testing.T) {
	r := NewWindow(time.Hour)
	r.limit = 100
	read := func(shared bool, at time.Duration) *Stamp {
		st := &Stamp{Found: true, Version: 1, Shared: shared, AsOf: at}
		st.Seq, st.Generation = r.Begin()
		return st
	}
	change := func(i int) []authz.Change {
		return []authz.Change{{Version: uint64(i + 10), Kind: authz.ChangeKey, Prefix: fmt.Sprint("key", i)}}
	}
	quiet := Topic{Subject: SubjectKey, ID: "quiet"}
	early, earlyShared := read(false, 0), read(true, 0)
	for i := range 60 {
		r.Learn(change(i), false, time.Duration(i)*time.Second)
	}
	late, lateShared, changed, unchanged := read(false, time.Minute), read(true, time.Minute), read(false, time.Minute), read(false, time.Minute)
	for i := range 41 {
		r.Learn(change(60+i), false, time.Minute+time.Duration(i)*time.Second)
	}
	if n := r.Size(); n != 75 {
		t.Errorf("%d topics are kept, want 75", n)
	}
	for name, c := range map[string]struct {
		topic Topic
		stamp *Stamp
		fresh bool
	}{
		"read before what is forgotten": {quiet, early, false}, "by another one": {quiet, earlyShared, false},
		"read since": {quiet, late, true}, "by another one since": {quiet, lateShared, true},
		"changed since": {Topic{Subject: SubjectKey, ID: "key99"}, changed, false}, "changed before": {Topic{Subject: SubjectKey, ID: "key0"}, unchanged, true},
	} {
		if got := r.Fresh(c.topic, c.stamp); got != c.fresh {
			t.Errorf("%s: fresh is %v, want %v", name, got, c.fresh)
		}
	}
}

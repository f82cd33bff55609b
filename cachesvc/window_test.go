package cachesvc

import (
	"fmt"
	"testing"
	"time"

	"extauthz/authz"
)

func TestTheWindowForgetsByTimeAndIsBounded(t *testing.T) {
	r := newRecent(time.Hour)
	r.limit = 10
	change := func(v uint64, prefix string) []authz.Change {
		return []authz.Change{{Version: v, Kind: authz.ChangeKey, Prefix: prefix}}
	}
	r.learn(change(1, "a"), false, 0)
	r.learn(change(2, "b"), false, time.Minute)
	r.learn(change(3, "a"), false, 2*time.Minute)
	r.learn(nil, false, time.Hour+90*time.Second)
	if r.size() != 1 || r.fresh(topic{subject: subjectKey, id: "a"}, &stamp{found: true, version: 1, seq: 9}) {
		t.Errorf("%d topics are left, want a alone, at version 3", r.size())
	}
	old := &stamp{found: true, version: 50, seq: r.seq.Load()}
	for v := range uint64(20) {
		r.learn(change(v+4, string(rune('a'+v))), false, 2*time.Hour)
	}
	if r.size() > 10 || r.fresh(topic{subject: subjectKey, id: "zz"}, old) {
		t.Errorf("%d topics; what was read before the window overflowed must be stale", r.size())
	}
}

// TestRecent_ForgetsTheOldestFirst: past the limit, what was read before a change that
// is forgotten is stale, and what was read since is as fresh as it was.
func TestRecent_ForgetsTheOldestFirst(t *testing.T) {
	r := newRecent(time.Hour)
	r.limit = 100
	read := func(shared bool, at time.Duration) *stamp {
		st := &stamp{found: true, version: 1, shared: shared, asOf: at}
		st.seq, st.generation = r.begin()
		return st
	}
	change := func(i int) []authz.Change {
		return []authz.Change{{Version: uint64(i + 10), Kind: authz.ChangeKey, Prefix: fmt.Sprint("key", i)}}
	}
	quiet := topic{subject: subjectKey, id: "quiet"}
	early, earlyShared := read(false, 0), read(true, 0)
	for i := range 60 {
		r.learn(change(i), false, time.Duration(i)*time.Second)
	}
	late, lateShared, changed, unchanged := read(false, time.Minute), read(true, time.Minute), read(false, time.Minute), read(false, time.Minute)
	for i := range 41 {
		r.learn(change(60+i), false, time.Minute+time.Duration(i)*time.Second)
	}
	if n := r.size(); n != 75 {
		t.Errorf("%d topics are kept, want 75", n)
	}
	for name, c := range map[string]struct {
		topic topic
		stamp *stamp
		fresh bool
	}{
		"read before what is forgotten": {quiet, early, false}, "by another one": {quiet, earlyShared, false},
		"read since": {quiet, late, true}, "by another one since": {quiet, lateShared, true},
		"changed since": {topic{subject: subjectKey, id: "key99"}, changed, false}, "changed before": {topic{subject: subjectKey, id: "key0"}, unchanged, true},
	} {
		if got := r.fresh(c.topic, c.stamp); got != c.fresh {
			t.Errorf("%s: fresh is %v, want %v", name, got, c.fresh)
		}
	}
}

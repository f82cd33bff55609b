package cachesvc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/freshness"
	"extauthz/cachesvc/internal/l1"
	"extauthz/cachesvc/internal/membership"
)

const (
	// maxReads bounds the reads of one look-up. A read is repeated if its value is stale
	// at delivery, since something changed during the read, or if it took longer than a
	// flight may.
	maxReads = 4

	// fallbackWait is how long a look-up that has a value in L1 to fall back on waits for
	// the database. After that the database counts as unreachable.
	fallbackWait = 75 * time.Millisecond

	// outageWait is the age that a flight must have for a waiter that leaves it to count
	// as evidence of an outage. A waiter that leaves sooner shows nothing about the
	// database.
	outageWait = fallbackWait * 2 / 3

	// callerMargin is the time between the end of a look-up and its caller's deadline.
	// The caller needs it to answer.
	callerMargin = 20 * time.Millisecond

	// refreshShare sets the last part of a value's lifetime: a tenth. A use in that part
	// makes the reader read the value again in the background.
	refreshShare = 10
)

var errOutdated = errors.New("the database answers with an older state than was announced: check that it is the primary")

// reader answers look-ups of one subject from L1, or else by one flight to the database.
// It keeps the promise of the package: it tests each value against the window before
// delivery, and delivers a value from L1 only under the lease.
type reader[T any] struct {
	*trust
	subject  freshness.Subject
	present  *l1.Table[T]
	negative *l1.Table[T] // a table of its own, so that unknown ids can't evict known ones
	flights  *flights[*l1.Value[T]]
	counts   counts

	ttl, negativeTTL time.Duration
	maxStale         time.Duration
	wait             time.Duration // bounds look-ups that L1 can't answer; other look-ups set no timer
	jitter           func() float64

	// screen decides whether an id that L1 does not know is looked up. Nil: every id is.
	screen  func(ctx context.Context, id string) membership.Verdict
	nothing l1.Value[T] // the answer when screen reports that an id does not exist

	database loader[T]

	observeLoad func(time.Duration) // receives the duration of each load
	// fetch returns the value in the shared store, or nil, and share stores a value
	// there. Both are nil if values in the shared store are not used.
	fetch func(ctx context.Context, id string) *l1.Value[T]
	share func(v *l1.Value[T])
}

// get returns the value of id; its Found is false if the id does not exist. The id is not
// kept, so its memory may be borrowed. If into is not nil, the value may be returned in
// it.
func (r *reader[T]) get(ctx context.Context, id string, into *l1.Value[T]) (*l1.Value[T], authz.Layer, error) {
	now := r.clock.Monotonic()
	v, valid := r.lookup(id, now, into)
	if valid {
		r.counts.local(v.Found)
		r.refreshAhead(id, v, now)
		return v, authz.LayerLocal, nil
	}
	if v == nil && r.screen != nil {
		switch r.screen(ctx, id) {
		case membership.Unknown:
			r.counts.local(false)
			return &r.nothing, authz.LayerLocal, nil
		case membership.Throttled:
			return nil, authz.LayerNone, authz.ErrThrottled
		}
	}
	r.counts.localMiss.Add(1)
	return r.readOrFallBack(ctx, strings.Clone(id), v)
}

// lookup finds id in L1. It returns nil if there is no value that may be used. valid
// reports whether the value may be used without a read of the database.
func (r *reader[T]) lookup(id string, now time.Duration, into *l1.Value[T]) (v *l1.Value[T], valid bool) {
	if v = r.present.Get(id, into); v == nil {
		v = r.negative.Get(id, into)
	}
	if v == nil || now >= v.UsableUntil || !r.deliverable(id, v) {
		return nil, false
	}
	return v, now < v.Expires && !v.OutsideLease && r.lease.Fresh(now)
}

func (r *reader[T]) deliverable(id string, v *l1.Value[T]) bool {
	return r.fresh(freshness.Topic{Subject: r.subject, ID: id}, &v.Stamp)
}

// readOrFallBack reads from the shared store and the database. known is the value that L1
// holds, or nil. It is the answer if the database is unreachable and it may still be
// used.
func (r *reader[T]) readOrFallBack(ctx context.Context, id string, known *l1.Value[T]) (*l1.Value[T], authz.Layer, error) {
	wait := r.wait
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end)-callerMargin)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if known != nil && !r.mayFallBack(id, known) {
		known = nil
	}
	if known != nil && r.outage.ShouldPause(r.clock.Monotonic()) {
		return known, authz.LayerLocal, nil
	}
	failure := errOutdated
	for range maxReads {
		var v *l1.Value[T]
		flight := r.flights.join(id,
			func() (valid bool) { v, valid = r.lookup(id, r.clock.Monotonic(), nil); return valid },
			func(ctx context.Context) (*l1.Value[T], error) { return r.read(ctx, id) },
			func(v *l1.Value[T]) { r.keep(id, v) })
		if flight == nil {
			return v, authz.LayerLocal, nil
		}
		wait, cancel := r.limitWait(ctx, known != nil)
		v, err := flight.wait(wait)
		left := wait.Err() != nil
		cancel()
		switch {
		case err == nil && r.deliverable(id, v):
			if v.Shared {
				return v, authz.LayerRedis, nil
			}
			return v, authz.LayerDatabase, nil
		case err == nil:
			continue
		case errors.Is(err, errLate):
			failure = errLate
			continue
		case ctx.Err() != nil:
			return nil, authz.LayerNone, ctx.Err()
		case errors.Is(err, authz.ErrUnreadable):
			return nil, authz.LayerNone, err
		}
		if left && !r.countsAsOutage(flight) {
			return nil, authz.LayerNone, err
		}
		if known != nil && r.mayFallBack(id, known) {
			return known, authz.LayerLocal, nil
		}
		return nil, authz.LayerNone, fmt.Errorf("database look-up failed, and nothing is cached that may be used: %w", err)
	}
	return nil, authz.LayerNone, failure
}

// countsAsOutage is called when a waiter left a flight before its end. It reports whether
// the database counts as unreachable, and if so records the failure.
func (r *reader[T]) countsAsOutage(f *flight[*l1.Value[T]]) bool {
	now := r.clock.Monotonic()
	if now-f.began < outageWait && !r.outage.Down.Load() {
		return false
	}
	r.outage.RecordFailure(now)
	return true
}

// mayFallBack reports whether a value may be served while the database is unreachable. A
// negative entry may not, since "no such key" can't be known then.
func (r *reader[T]) mayFallBack(id string, v *l1.Value[T]) bool {
	now := r.clock.Monotonic()
	return v.Found && now < v.UsableUntil && r.lease.WithinMaxStale(now) && r.deliverable(id, v)
}

// limitWait shortens ctx for one flight of a look-up that has a value to fall back on.
func (r *reader[T]) limitWait(ctx context.Context, known bool) (context.Context, context.CancelFunc) {
	if !known {
		return ctx, func() {}
	}
	wait := fallbackWait
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end)/2)
	}
	return context.WithTimeout(ctx, wait)
}

// refreshAhead reads a value again in the background, once, when its lifetime is nearly
// over.
func (r *reader[T]) refreshAhead(id string, v *l1.Value[T], now time.Duration) {
	if now < v.Expires-r.ttl/refreshShare || !v.Found || !v.Refreshing.CompareAndSwap(false, true) || !r.present.Claim(id, v) {
		return
	}
	id = strings.Clone(id)
	r.flights.join(id,
		func() bool { return false },
		func(ctx context.Context) (*l1.Value[T], error) { return r.readDatabase(ctx, id) },
		func(v *l1.Value[T]) { r.keep(id, v) })
}

// read is the work of one flight: it reads the shared store, then the database. Under a
// fresh lease a value from the shared store is enough, if nothing newer is known. Without
// a fresh lease such a value is used only if the database is unreachable.
func (r *reader[T]) read(ctx context.Context, id string) (*l1.Value[T], error) {
	now := r.clock.Monotonic()
	if r.fetch == nil || !r.lease.WithinMaxStale(now) {
		return r.readDatabase(ctx, id)
	}
	if known, _ := r.lookup(id, now, nil); !r.lease.Fresh(now) && known != nil && r.mayFallBack(id, known) {
		return r.readDatabase(ctx, id) // the caller has something to fall back on
	}
	v := r.fetch(ctx, id)
	if v == nil || !r.deliverable(id, v) {
		return r.readDatabase(ctx, id)
	}
	if r.lease.Fresh(r.clock.Monotonic()) || r.outage.ShouldPause(r.clock.Monotonic()) {
		return v, nil
	}
	limited, cancel := context.WithTimeout(ctx, fallbackWait)
	defer cancel()
	if read, err := r.readDatabase(limited, id); err == nil {
		return read, nil
	}
	if r.mayFallBack(id, v) {
		return v, nil
	}
	return r.readDatabase(ctx, id)
}

// readDatabase reads from the database only.
func (r *reader[T]) readDatabase(ctx context.Context, id string) (*l1.Value[T], error) {
	v := &l1.Value[T]{}
	v.Seq, v.Generation = r.window.Begin()
	v.AsOf = r.clock.Monotonic()
	v.OutsideLease = !r.lease.Fresh(v.AsOf)
	data, version, err := r.database.load(ctx, id)
	r.observeLoad(r.clock.Monotonic() - v.AsOf)
	switch {
	case err == nil:
		v.Found, v.Version, v.Data = true, version, data
	case errors.Is(err, authz.ErrNotFound):
	case errors.Is(err, authz.ErrUnreadable): // one row's fault is no outage
		r.counts.databaseError.Add(1)
		r.outage.RecordAnswer()
		return nil, err
	default:
		r.counts.databaseError.Add(1)
		r.outage.RecordFailure(r.clock.Monotonic())
		return nil, err
	}
	r.outage.RecordAnswer()
	r.counts.database(v.Found)
	r.setLifetime(v)
	return v, nil
}

// setLifetime sets how long a value lives. The lifetime starts when the database was
// read, by this replica or by another one.
func (r *reader[T]) setLifetime(v *l1.Value[T]) {
	ttl := r.ttl
	if !v.Found {
		ttl = r.negativeTTL
	}
	v.Expires = v.AsOf + jittered(ttl, r.jitter())
	v.UsableUntil = v.Expires + r.maxStale
}

// keep stores the result of a flight, unless it is stale already.
func (r *reader[T]) keep(id string, v *l1.Value[T]) {
	if !r.window.Fresh(freshness.Topic{Subject: r.subject, ID: id}, &v.Stamp) {
		return
	}
	if v.Found {
		r.negative.Drop(id)
		r.present.Put(id, v)
		if r.share != nil && !v.Shared && !v.OutsideLease {
			r.share(v)
		}
	} else {
		r.present.Drop(id)
		r.negative.Put(id, v)
	}
}

// drop removes id and reports whether it was there.
func (r *reader[T]) drop(id string) bool {
	present, absent := r.present.Drop(id), r.negative.Drop(id)
	return present || absent
}

// dropWhere removes values that match. Negative entries stay, since they have no data to
// match.
func (r *reader[T]) dropWhere(match func(data *T) bool) int {
	return r.present.DropWhere(func(v *l1.Value[T]) bool { return match(&v.Data) })
}

// dropAll removes all values and negative entries, and returns their number.
func (r *reader[T]) dropAll() int {
	all := func(*l1.Value[T]) bool { return true }
	return r.present.DropWhere(all) + r.negative.DropWhere(all)
}

// jittered shortens a lifetime by up to a tenth, so that values that were stored together
// do not expire together. It never lengthens one.
func jittered(ttl time.Duration, random float64) time.Duration {
	return ttl - time.Duration(random*float64(ttl)/10)
}

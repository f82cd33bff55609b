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
	// maxReads bounds how often one look-up repeats a read because its value was stale
	// at delivery; each repetition needs another change in the meantime.
	maxReads = 4

	// fallbackWait is how long a look-up that L1 could answer waits for a
	// database that does not, before it counts as away.
	fallbackWait = 75 * time.Millisecond

	// outageWait is how long a flight must have lasted before a waiter that leaves counts
	// as an outage. A waiter with less time than that learns nothing by leaving.
	outageWait = fallbackWait * 2 / 3

	// callerMargin is by how much a look-up ends before its caller's deadline, so
	// that there is time to answer.
	callerMargin = 20 * time.Millisecond

	// refreshShare is the last part of a value's lifetime in which its use makes
	// it be read again in the background: a tenth.
	refreshShare = 10
)

var errOutdated = errors.New("the database answers with an older state than was announced: check that it is the primary")

// reader answers look-ups of one subject from L1, or by one flight to the database. The
// promise of the package is kept here: no value is delivered without a test against the
// window, and none from L1 without the lease.
type reader[T any] struct {
	*trust
	subject  freshness.Subject
	present  *l1.Table[T]
	negative *l1.Table[T] // apart, so that unknown ids can't push out known ones
	flights  *flights[*l1.Value[T]]
	counts   counts

	ttl, negativeTTL time.Duration
	maxStale         time.Duration
	wait             time.Duration // for what L1 can't answer; the others pay for no timer
	jitter           func() float64

	// screen decides whether an id of which nothing is known is looked up; nil: every one
	// is.
	screen  func(ctx context.Context, id string) membership.Verdict
	nothing l1.Value[T] // what is delivered for an id that does not exist

	database loader[T]

	observeLoad func(time.Duration) // of each load
	// fetch returns the value in the shared store, or nil, and share stores a value
	// there. Both nil: values in the shared store are not used.
	fetch func(ctx context.Context, id string) *l1.Value[T]
	share func(v *l1.Value[T])
}

// get returns the value of id; Found is false if it does not exist. The id may be
// borrowed; the value may be in into, where that is not nil.
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

// lookup finds id in L1. It returns nil if the value may not be used at all; valid
// means that it may be used without reading the database.
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

// readOrFallBack reads from the database. known is the answer that L1 may give if the database is
// unreachable.
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

// countsAsOutage is called when a waiter left a flight. It reports whether the database
// counts as away, and records that.
func (r *reader[T]) countsAsOutage(f *flight[*l1.Value[T]]) bool {
	now := r.clock.Monotonic()
	if now-f.began < outageWait && !r.outage.Down.Load() {
		return false
	}
	r.outage.RecordFailure(now)
	return true
}

// mayFallBack reports whether a value may be served with the database away: only what
// exists, since "no such key" can't be known then.
func (r *reader[T]) mayFallBack(id string, v *l1.Value[T]) bool {
	now := r.clock.Monotonic()
	return v.Found && now < v.UsableUntil && r.lease.WithinMaxStale(now) && r.deliverable(id, v)
}

// limitWait shortens ctx for one flight of a look-up that need not wait to the end.
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

// refreshAhead has a value that is near its end read again, once, in the background.
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

// read is one flight: to the shared store, then to the database. Under a fresh
// lease, what the shared store returns and nothing newer is known of is enough;
// without it, it is what remains if the database is away.
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
	case errors.Is(err, authz.ErrUnreadable): // one row's fault, and no outage
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

// setLifetime sets how long a value lives: counted from when the database was read,
// whichever replica read it.
func (r *reader[T]) setLifetime(v *l1.Value[T]) {
	ttl := r.ttl
	if !v.Found {
		ttl = r.negativeTTL
	}
	v.Expires = v.AsOf + jittered(ttl, r.jitter())
	v.UsableUntil = v.Expires + r.maxStale
}

// keep stores the result of a flight, unless that is stale already.
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

// dropWhere removes matching values; negative entries have no data and stay.
func (r *reader[T]) dropWhere(match func(data *T) bool) int {
	return r.present.DropWhere(func(v *l1.Value[T]) bool { return match(&v.Data) })
}

// dropAll empties the name space.
func (r *reader[T]) dropAll() int {
	all := func(*l1.Value[T]) bool { return true }
	return r.present.DropWhere(all) + r.negative.DropWhere(all)
}

// jittered takes up to a tenth off a lifetime, so that values that were stored together
// do not expire together, and none outlives its lifetime.
func jittered(ttl time.Duration, random float64) time.Duration {
	return ttl - time.Duration(random*float64(ttl)/10)
}

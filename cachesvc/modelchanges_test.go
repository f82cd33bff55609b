package cachesvc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
)

// write creates, changes and ends keys. In every second run it also restores a backup now
// and then. A restore empties all caches, so only the other runs show what happens to
// values that grow old.
func (m *model) write(ctx context.Context, r *rand.Rand) {
	var restore func(string)
	var backed time.Time
	restores := r.IntN(2) == 0
	next := modelKeys
	for cachetest.Pause(ctx, millis(r, 100)) == nil {
		slot, replica, dice := r.IntN(modelKeys), r.IntN(modelReplicas), r.IntN(100)
		m.mu.Lock()
		prefix := m.prefixes[slot]
		m.hot = slot
		m.mu.Unlock()
		if r.IntN(40) == 0 {
			m.bulk(ctx, r, replica)
		}
		switch {
		case dice < 2 && restore != nil && time.Since(backed) > 2*modelLease: // a restore takes some time
			m.restore(ctx, r, restore)
			restore = nil
		case dice < 5 && restores && restore == nil:
			restore, backed = m.db.Backup(), time.Now()
		case m.born[prefix] == nil:
			m.commit(ctx, r, replica, prefix, cachetest.Unchanged, m.born)
		case m.died[prefix] != nil && (dice < 60 || m.sleeping(time.Now())): // the dead key stays for a while, so that it is looked up
		case m.died[prefix] != nil:
			m.mu.Lock()
			m.prefixes[slot] = fmt.Sprint("ak_live_", next)
			prefix = m.prefixes[slot]
			m.mu.Unlock()
			next++
			// The key is created while its first look-ups are under way.
			if cachetest.Pause(ctx, millis(r, 30)) == nil {
				m.commit(ctx, r, replica, prefix, cachetest.Unchanged, m.born)
			}
		case dice < 50:
			m.commit(ctx, r, replica, prefix, cachetest.Renamed, nil)
		case dice < 65:
			m.commit(ctx, r, replica, prefix, cachetest.Revoked, m.died)
		case dice < 75:
			m.expire(ctx, r, replica, prefix)
		default:
			m.commit(ctx, r, replica, prefix, nil, m.died)
		}
	}
}

// expire sets the end of a key to a moment in the future.
func (m *model) expire(ctx context.Context, r *rand.Rand, replica int, prefix string) {
	end := time.Now().Add(millis(r, 3000))
	m.commitFrom(ctx, r, replica, prefix, func(r *authz.Record) { r.ExpiresAt = end }, m.died, end)
}

func (m *model) commit(ctx context.Context, r *rand.Rand, replica int, prefix string, edit func(*authz.Record), events map[string]*event) {
	m.commitFrom(ctx, r, replica, prefix, edit, events, time.Time{})
}

func (m *model) commitFrom(ctx context.Context, r *rand.Rand, replica int, prefix string, edit func(*authz.Record), events map[string]*event, from time.Time) {
	restores := m.restores
	version := m.db.Begin()
	if r.IntN(3) == 0 { // the transaction stays open while others commit
		other := m.prefixes[r.IntN(modelKeys)]
		if other != prefix && m.born[other] != nil && m.died[other] == nil {
			m.db.Commit(other, cachetest.Renamed)
		}
		if cachetest.Pause(ctx, millis(r, 700)) != nil || m.restores != restores {
			return
		}
	}
	m.mu.Lock()
	changes := m.db.Finish(version, prefix, edit)
	e := &event{committed: time.Now(), replica: replica, from: from}
	if events != nil {
		events[prefix] = e
	}
	m.mu.Unlock()
	if r.IntN(3) == 0 || m.napping(prefix) { // as if typed by hand in SQL: no replica is notified, and the shared store keeps what it has
		return
	}
	if cachetest.Pause(ctx, millis(r, 20)) != nil {
		return
	}
	m.service(replica).Changed(ctx, changes)
	m.mu.Lock()
	e.returned = true
	m.mu.Unlock()
	for i := range m.services {
		if r.IntN(2) == 0 { // otherwise the notification is lost
			m.service(i).Wake()
		}
	}
}

// bulk changes many keys in one statement, as if typed by hand in SQL, and ends some of
// them.
func (m *model) bulk(ctx context.Context, r *rand.Rand, replica int) {
	restores := m.restores
	position := m.db.Begin()
	if cachetest.Pause(ctx, millis(r, 300)) != nil || m.restores != restores {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	edits := map[string]func(*authz.Record){}
	for _, prefix := range m.prefixes {
		if m.born[prefix] == nil || m.died[prefix] != nil {
			continue
		}
		if edits[prefix] = cachetest.Renamed; r.IntN(3) == 0 {
			edits[prefix] = cachetest.Revoked
			m.died[prefix] = &event{committed: time.Now(), replica: replica}
		}
	}
	m.db.FinishAll(position, edits)
}

// restore restores an older state, which is the truth from then on. Every second time it
// is restored as a copy of the files. Nothing is written to such a copy before a replica
// has read from it.
func (m *model) restore(ctx context.Context, r *rand.Rand, restore func(string)) {
	copied := r.IntN(2) == 0
	was := m.restored(restore, copied)
	for range 100 {
		if !copied || m.db.CurrentEpoch() != was || cachetest.Pause(ctx, 50*time.Millisecond) != nil {
			return
		}
	}
}

func (m *model) restored(restore func(string), copied bool) (epoch string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restores++
	if epoch = fmt.Sprint("restored ", m.restores); copied {
		epoch = ""
	}
	version := m.db.CurrentVersion()
	restore(epoch)
	epoch = m.db.CurrentEpoch()
	// After a restore with a new epoch, keys are changed until the feed position is no
	// longer behind the one before the restore. So only the epoch shows the restore.
	for _, prefix := range m.db.Alive() {
		for !copied && m.db.CurrentVersion() <= version {
			m.db.Commit(prefix, cachetest.Renamed)
		}
	}
	clear(m.born)
	clear(m.died)
	m.db.Mu.Lock()
	defer m.db.Mu.Unlock()
	for prefix, record := range m.db.Keys {
		e := &event{committed: time.Now(), replica: -1}
		m.born[prefix] = e
		switch {
		case !cachetest.IsLive(&record):
			m.died[prefix] = e
		case !record.ExpiresAt.IsZero():
			m.died[prefix] = &event{committed: e.committed, replica: -1, from: record.ExpiresAt}
		}
	}
	return epoch
}

// disturb makes one replica's connection slow or fail, in changing ways.
func (m *model) disturb(ctx context.Context, r *rand.Rand, replica int, c *cachetest.Connection) {
	wind := rand.New(rand.NewPCG(r.Uint64(), 0)) // used under the connection's lock
	weather := func(before, after int, err error) func() (time.Duration, time.Duration, error) {
		return func() (time.Duration, time.Duration, error) { return millis(wind, before), millis(wind, after), err }
	}
	for ctx.Err() == nil {
		lookup, feed, away := weather(15, 15, nil), weather(5, 5, nil), false
		switch r.IntN(6) {
		case 0:
			feed = weather(50, 900, nil)
		case 1, 2:
			feed = weather(50, 1, cachetest.ErrAway)
		case 3:
			lookup, feed, away = weather(50, 1, cachetest.ErrAway), weather(50, 1, cachetest.ErrAway), true
		case 4:
			lookup, feed, away = weather(400, 400, nil), weather(900, 900, nil), true
		}
		c.Edit(func(c *cachetest.Connection) { c.Lookup, c.Feed = lookup, feed })
		m.mu.Lock()
		if away {
			m.away[replica] = time.Now().Add(time.Hour)
		} else if now := time.Now(); m.away[replica].After(now.Add(modelRecovery)) {
			m.away[replica] = now.Add(modelRecovery)
		}
		m.mu.Unlock()
		_ = cachetest.Pause(ctx, 100*time.Millisecond+millis(r, 1900))
	}
	c.Edit(func(c *cachetest.Connection) { c.Lookup, c.Feed = weather(1, 1, nil), weather(1, 1, nil) })
}

// disturbShared makes one replica's connection to the shared store slow or fail, in
// changing ways. Every second connection fails all the time while keys sleep, so that the
// values of these keys stay in the shared store.
func (m *model) disturbShared(ctx context.Context, r *rand.Rand, w *cachetest.Wire) {
	wind := rand.New(rand.NewPCG(r.Uint64(), 0)) // used under the wire's lock
	cut := r.IntN(2) == 0
	for ctx.Err() == nil {
		weather := func() (time.Duration, error) { return millis(wind, 3), nil }
		dice := r.IntN(8)
		if cut && m.sleeping(time.Now()) {
			dice = 1
		}
		switch dice {
		case 0:
			weather = func() (time.Duration, error) { return millis(wind, 200), nil }
		case 1:
			weather = func() (time.Duration, error) { return 0, cachetest.ErrAway }
		case 2: // every second call is lost, with writes and notifications among them
			weather = func() (time.Duration, error) {
				if wind.IntN(2) == 0 {
					return 0, cachetest.ErrAway
				}
				return millis(wind, 3), nil
			}
		}
		w.SetCondition(weather)
		_ = cachetest.Pause(ctx, 100*time.Millisecond+millis(r, 3000))
	}
	w.SetCondition(func() (time.Duration, error) { return 0, nil })
}

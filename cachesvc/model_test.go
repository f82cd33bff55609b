package cachesvc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/internal/freshness"
	"extauthz/cachesvc/seal"
)

// The model test: replicas check, fill, create, revoke, expire, delete and
// restore, through the service, by transactions that stay open, in bulk and by hand,
// and restart in the middle of it, while their connections to the database and to
// the shared store are slow, fail, and lose writes and notifications, in simulated time.
// Every answer is held against what was committed when.
//
// The invariant: a look-up that begins after a revocation returned on that
// replica does not find the key alive, nor one on another replica after the
// lease's term, or after MaxStale while the database is away. The same holds
// for "no such key" after a creation, where an outage is no excuse.

const (
	modelReplicas = 2
	modelKeys     = 16
	modelTime     = modelWake + 4*time.Second
	modelLease    = time.Second
	modelMaxStale = 5 * time.Second
	modelTTL      = 10 * time.Second
	// modelWindow is how far back the window of recent changes reaches: just as
	// long as a value can live, so that it is not the window's length that
	// hides a value which lives longer.
	modelWindow = modelTTL + modelMaxStale + time.Second

	// Every second key is not asked for between these moments, so that nothing
	// takes the place of what the shared store holds of it: for so long that the
	// window has forgotten most of what changed meanwhile, and only a value's age
	// shows that it is of no use.
	modelSleep = 8 * time.Second
	modelWake  = modelSleep + 2*modelWindow

	// Every fourth key is left alone for half of each of these, in which replicas begin
	// again that have not seen it change and find what the shared store still holds of it.
	modelNap = 8 * time.Second

	// Pages of the feed are short, so that most reads have several and something is
	// committed between them. Every second run takes a backlog as one change.
	modelPage = 3
	modelBulk = 8

	// modelRecovery is how long after an outage a replica may take to notice:
	// one flight's budget, one pause, one poll.
	modelRecovery = DefaultFlightBudget + freshness.ProbePause + DefaultPoll
)

// event is a key's creation or end.
type event struct {
	committed time.Time
	from      time.Time // the moment from which it counts: an expiry is ahead
	replica   int       // that made it; -1 for none
	returned  bool      // Changed has returned there
}

type model struct {
	db       *cachetest.Database
	redis    *cachetest.Redis
	services [modelReplicas]*Service
	began    time.Time

	mu        sync.Mutex
	prefixes  [modelKeys]string
	hot       int // the slot that is being written to: it is asked for most
	born      map[string]*event
	died      map[string]*event
	restores  int
	away      [modelReplicas]time.Time // until when the database may count as away
	checks    int
	answers   int
	violation string
}

// runModel returns the first violation, or "". connect and broken change a
// replica before it starts.
func runModel(t *testing.T, seed uint64, connect func(*cachetest.Connection) Database, broken option) string {
	m := &model{db: cachetest.NewDatabase(), born: map[string]*event{}, died: map[string]*event{}}
	synctest.Test(t, func(t *testing.T) {
		for i := range m.prefixes {
			m.prefixes[i] = fmt.Sprint("ak_live_", i)
		}
		m.began = time.Now()
		// Entries of this shared store never expire, as if its clock had stopped.
		m.redis = cachetest.NewRedis(t, func() time.Time { return m.began })
		ctx, cancel := context.WithTimeout(t.Context(), modelTime)
		defer cancel()
		var running sync.WaitGroup
		actor := func(act func(context.Context, *rand.Rand)) {
			seed++
			r := rand.New(rand.NewPCG(seed, seed))
			running.Go(func() { act(ctx, r) })
		}
		m.db.Pages = modelPage
		bulk := bulkChanges
		if seed%2000 == 0 {
			bulk = modelBulk
		}
		for i := range m.services {
			c, w := m.db.Connect(), m.redis.Connect()
			begin := func() (end func()) {
				s, err := newService(Config{
					Database: connect(c), ValidationTTL: modelTTL, NegativeTTL: 3 * time.Second,
					Lease: modelLease, MaxStale: modelMaxStale, Shared: w, Sealing: seal.Keys{sealingKey(t, 1)},
				}, func(s *Service) {
					s.trust.window.Retention, s.retention, s.bulk = modelWindow, modelWindow, bulk
				}, broken)
				if err != nil {
					t.Error(err)
					return func() {}
				}
				m.mu.Lock()
				m.services[i] = s
				m.mu.Unlock()
				ctx, stop := context.WithCancel(context.Background())
				ended := make(chan error, 1)
				go func() { ended <- s.Run(ctx) }()
				return func() {
					stop()
					if err := <-ended; err != nil {
						t.Error(err)
					}
				}
			}
			end := begin()
			<-m.service(i).Ready()
			defer func() { end() }()
			actor(func(ctx context.Context, r *rand.Rand) {
				for cachetest.Pause(ctx, m.untilReplaced(r)) == nil {
					old := end
					end = begin()
					old()
				}
			})
			actor(func(ctx context.Context, r *rand.Rand) { m.disturb(ctx, r, i, c) })
			actor(func(ctx context.Context, r *rand.Rand) { m.disturbShared(ctx, r, w) })
			for range 3 {
				actor(func(ctx context.Context, r *rand.Rand) { m.check(ctx, r, i) })
			}
		}
		actor(m.write)
		running.Wait()
	})
	if m.violation == "" && m.answers < m.checks*2/3 {
		return fmt.Sprintf("only %d of %d checks were answered", m.answers, m.checks)
	}
	return m.violation
}

// untilReplaced is mostly late in the next nap.
func (m *model) untilReplaced(r *rand.Rand) time.Duration {
	if r.IntN(4) == 0 {
		return millis(r, 8000)
	}
	late := modelNap*3/4 + millis(r, int(modelNap/4/time.Millisecond))
	wait := late - time.Since(m.began)%modelNap
	if wait <= 0 {
		wait += modelNap
	}
	return wait
}

// service is the replica as it runs now.
func (m *model) service(replica int) *Service {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.services[replica]
}

func millis(r *rand.Rand, n int) time.Duration { return time.Duration(r.IntN(n)) * time.Millisecond }

// write makes, changes and ends keys, and in every second run now and then
// restores a backup: that also forgets all that is cached, so the others show
// what happens to values that grow old.
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
		case dice < 2 && restore != nil && time.Since(backed) > 2*modelLease: // a restore takes its time
			m.restore(ctx, r, restore)
			restore = nil
		case dice < 5 && restores && restore == nil:
			restore, backed = m.db.Backup(), time.Now()
		case m.born[prefix] == nil:
			m.commit(ctx, r, replica, prefix, cachetest.Unchanged, m.born)
		case m.died[prefix] != nil && (dice < 60 || m.sleeping(time.Now())): // is left to be checked a while
		case m.died[prefix] != nil:
			m.mu.Lock()
			m.prefixes[slot] = fmt.Sprint("ak_live_", next)
			prefix = m.prefixes[slot]
			m.mu.Unlock()
			next++
			// It is made while the first look-ups are on their way.
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

// expire sets a key's end, which is ahead.
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
	if r.IntN(3) == 0 || m.napping(prefix) { // typed by hand: no replica knows, and the shared store keeps what it has
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
		if r.IntN(2) == 0 { // the other notifications are lost
			m.service(i).Wake()
		}
	}
}

// bulk changes many keys in one statement, typed by hand, and ends some of them.
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

// restore brings an older state back; from now on that is the truth. Every
// second time it is a copy of the files, which is not written to before a replica
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
	// A new epoch is written to until no feed position distinguishes it from the old one.
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

// disturb makes the weather on one replica's connection.
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

// disturbShared makes the weather on one replica's way to the shared store. Every
// second one is cut off while keys sleep, so that what they leave there stays.
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
		case 2: // loses every second call, writes and notifications among them
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

// check looks keys up and holds the answers to the invariant.
func (m *model) check(ctx context.Context, r *rand.Rand, replica int) {
	for cachetest.Pause(ctx, 1+millis(r, 15)) == nil {
		m.mu.Lock()
		began := time.Now()
		slot := r.IntN(modelKeys)
		if r.IntN(3) == 0 {
			slot = m.hot
		}
		prefix := m.prefixes[m.awake(began, slot)]
		service := m.services[replica]
		restores, born, died, away := m.restores, past(m.born[prefix]), past(m.died[prefix]), m.away[replica].After(began)
		m.mu.Unlock()

		deadline, cancel := context.WithTimeout(ctx, DefaultLookupWait+callerMargin)
		e, err := service.Lookup(deadline, prefix, nil)
		cancel()

		m.mu.Lock()
		m.checks++
		away = away || m.away[replica].After(time.Now())
		bound := modelLease
		if away {
			bound = modelMaxStale
		}
		switch {
		case m.restores != restores:
		case err != nil:
		case cachetest.IsLive(e.Record) && died.binds(replica, began, bound):
			m.fail(replica, prefix, "is alive", died, began)
		case e.Record == nil && m.died[prefix] == nil && born.binds(replica, began, modelLease):
			m.fail(replica, prefix, "is unknown", born, began)
		}
		if err == nil {
			m.answers++
		}
		m.mu.Unlock()
	}
}

// awake returns the slot, or its neighbour while it is not asked for.
func (m *model) awake(now time.Time, slot int) int {
	if m.sleeping(now) {
		slot &^= 1
	}
	if m.naps(now, slot) {
		slot -= 2
	}
	return slot
}

func (m *model) naps(now time.Time, slot int) bool {
	return slot%4 == 2 && now.Sub(m.began)%modelNap > modelNap/2
}

func (m *model) napping(prefix string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.naps(time.Now(), slices.Index(m.prefixes[:], prefix))
}

func (m *model) sleeping(now time.Time) bool {
	t := now.Sub(m.began)
	return t > modelSleep && t < modelWake
}

// past copies what is known at the start of a look-up.
func past(e *event) *event {
	if e == nil {
		return nil
	}
	known := *e
	return &known
}

// binds reports whether a look-up on replica that began then must know of e.
func (e *event) binds(replica int, began time.Time, bound time.Duration) bool {
	return e != nil && !began.Before(e.from) && (e.returned && e.replica == replica || began.Sub(e.committed) > bound)
}

func (m *model) fail(replica int, prefix, what string, e *event, began time.Time) {
	if m.violation == "" {
		m.violation = fmt.Sprintf("on replica %d %s %s %s after the change on replica %d (returned: %v)", replica, prefix, what, began.Sub(e.committed), e.replica, e.returned)
	}
}

func asIs(c *cachetest.Connection) Database { return c }
func sound(*Service)                        {}

const modelSeeds = 15

func TestModel_NoKeyOutlivesItsRevocation(t *testing.T) {
	for seed := range uint64(modelSeeds) {
		if violation := runModel(t, seed*1000, asIs, sound); violation != "" {
			t.Fatalf("seed %d: %s", seed, violation)
		}
	}
}

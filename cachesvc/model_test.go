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

	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/internal/freshness"
	"extauthz/cachesvc/seal"
)

// The model test. In simulated time, replicas look up keys while keys are created,
// revoked, expired and deleted and the database is restored: through the service, by
// transactions that stay open, in bulk, and by SQL that is typed by hand. Replicas
// restart in the middle of it. Their connections to the database and to the shared store
// are slow, fail, and lose writes and notifications. Every answer is compared with what
// was committed when.
//
// The invariant: a look-up that begins after a revocation returned on the same replica
// does not find the key alive. On another replica this holds for a look-up that begins
// later than the lease's term after the revocation, or later than MaxStale while the
// database is unreachable. The same holds for "no such key" after a creation, but there
// the bound is the lease's term even in an outage.

const (
	modelReplicas = 2
	modelKeys     = 16
	modelTime     = modelWake + 4*time.Second
	modelLease    = time.Second
	modelMaxStale = 5 * time.Second
	modelTTL      = 10 * time.Second
	// modelWindow is how far back the window of recent changes reaches. It is only just
	// as long as a value can live. A longer window would hide a value that lives too
	// long.
	modelWindow = modelTTL + modelMaxStale + time.Second

	// Every second key is not looked up between these moments, so that nothing replaces
	// its value in the shared store. By the end the window has forgotten most of what
	// changed meanwhile, and only the value's age shows that it must not be used.
	modelSleep = 8 * time.Second
	modelWake  = modelSleep + 2*modelWindow

	// Every fourth key is not looked up in the second half of each such period. Replicas
	// that begin again in it have not seen the key change, and find what the shared store
	// still holds of it.
	modelNap = 8 * time.Second

	// Pages of the feed are short, so that most reads have several pages, between which
	// something is committed. Every second run applies a backlog as one change.
	modelPage = 3
	modelBulk = 8

	// modelRecovery is how long after an outage a replica may take to notice its end: the
	// budget of one flight, one pause and one poll.
	modelRecovery = DefaultFlightBudget + freshness.ProbePause + DefaultPoll
)

// event is the creation or the end of a key.
type event struct {
	committed time.Time
	from      time.Time // the moment from which it counts: an expiry is in the future
	replica   int       // the replica that made it; -1 for none
	returned  bool      // Changed has returned on that replica
}

type model struct {
	db       *cachetest.Database
	redis    *cachetest.Redis
	services [modelReplicas]*Service
	began    time.Time

	mu        sync.Mutex
	prefixes  [modelKeys]string
	hot       int // the slot that is being written to, which is looked up most
	born      map[string]*event
	died      map[string]*event
	restores  int
	away      [modelReplicas]time.Time // until when the database may count as unreachable
	checks    int
	answers   int
	violation string
}

// runModel runs the model and returns the first violation of the invariant, or "".
// connect and broken change each replica before it starts.
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

// untilReplaced returns how long a replica runs until it is replaced: mostly until late
// in the next nap.
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

// service returns the service that runs as this replica at present.
func (m *model) service(replica int) *Service {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.services[replica]
}

func millis(r *rand.Rand, n int) time.Duration { return time.Duration(r.IntN(n)) * time.Millisecond }

// check looks up keys and compares the answers with the invariant.
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

// awake returns the slot, or one near it while the slot is not looked up.
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

// past copies an event as it is known at the start of a look-up.
func past(e *event) *event {
	if e == nil {
		return nil
	}
	known := *e
	return &known
}

// binds reports whether a look-up that began at this time on this replica must know of e.
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

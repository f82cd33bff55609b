package cachesvc

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/remote"
)

const (
	usageShards   = 64
	cacheLine     = 64          // bytes
	usageBatch    = 1000        // keys in one batch
	usageTick     = time.Second // a batch that the database has not taken by the next tick is kept elsewhere
	usageWrite    = 20          // batches in one transaction, 20,000 rows at most
	flushDeadline = 10 * time.Second
	keepDeadline  = time.Second // for Redis, before the file is tried
	// usageAge is how old a batch may be when it is brought to the database from
	// Redis or a file. The database remembers a source for longer than that, so
	// a batch that it has already is never added again.
	usageAge = 7 * 24 * time.Hour
)

// usage counts the uses of keys in process and brings them to the database:
//
//   - Each interval what was counted becomes batches, each named by a source and
//     a sequence (usageheld.go). The database adds a batch once, so one whose
//     outcome is unknown is written again, by anyone and in any order.
//   - A batch that the database has not taken by the next tick is copied to Redis
//     (usagejournal.go) and moved to a file (usagespool.go), so that a killed
//     process loses no more than the last few seconds, however long the database
//     is away.
//
// No lock is shared by all keys.
type usage struct {
	log   *slog.Logger
	now   func() time.Time
	sink  usageSink
	every time.Duration // all that is counted goes so often

	collectEvery time.Duration // Redis and the folder of files are searched for batches that others left

	at    uint64 // a key with so many uses goes at the next tick
	limit int    // keys in a shard

	seed   maphash.Seed
	shards [usageShards]usageShard

	held    held
	journal journal
	spool   *spool // nil: no files

	writing    chan struct{} // holds one token: one writer to the database at a time
	wake       chan struct{} // the writer has something to do
	collecting atomic.Bool   // a collection is due
	failing    atomic.Bool   // the database does not take usage
	exposed    atomic.Bool   // usage could be kept nowhere
	flushed    atomic.Uint64
	dropped    atomic.Uint64
	failPoint  func(step string)
}

// usageConfig says where uses go. All fields but shared, spoolDir and failPoint are required.
type usageConfig struct {
	sink         usageSink
	shared       *remote.Client // nil: no copies in the shared store
	source       string         // names this process; no two may share it
	every        time.Duration  // all that is counted is written at least this often
	collectEvery time.Duration  // how often others' batches are searched for
	at           uint64         // a key with so many uses is written within a second
	maxKeys      int            // counters at most
	spoolDir     string         // a folder for files of usage; empty: none are written
	spoolBytes   int64          // in this process's files at most
	now          func() time.Time
	log          *slog.Logger
	// failPoint is called at each step of a batch's way. Tests kill the process there.
	failPoint func(step string)
}

// usageSink is the database. A batch that was added before is left out; added counts the
// uses of the others.
type usageSink interface {
	AddUsage(ctx context.Context, batches []authz.UsageBatch) (added uint64, err error)
}

func newUsage(c usageConfig) *usage {
	if c.failPoint == nil {
		c.failPoint = func(string) {}
	}
	u := &usage{log: c.log, now: c.now, sink: c.sink, every: c.every, collectEvery: c.collectEvery, at: c.at, failPoint: c.failPoint,
		seed: maphash.MakeSeed(), writing: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	u.held.source = c.source
	u.journal = journal{shared: c.shared, sink: c.sink, log: c.log, written: &u.flushed, now: c.now, failPoint: c.failPoint, missing: make(map[string]time.Time)}
	if c.spoolDir != "" {
		u.spool = &spool{dir: c.spoolDir, source: c.source, limit: c.spoolBytes, log: c.log, now: c.now, failPoint: c.failPoint}
	}
	u.limit = max(c.maxKeys/usageShards, 1)
	for i := range u.shards {
		u.shards[i].cells = make(map[string]*usageCell)
	}
	return u
}

// Used counts one use of a key. It does no I/O; a key that was used since the last
// interval costs no allocation.
func (u *usage) Used(keyID string, at time.Time) { u.add(keyID, 1, at.UnixNano()) }

// run makes batches at each interval, and keeps those that the database does not
// take, until ctx ends. Another goroutine writes them to the database, which may
// hang.
func (u *usage) run(ctx context.Context) {
	if u.spool != nil {
		u.spool.prepare()
	}
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() { u.write(ctx) })
	tick := min(usageTick, u.every)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var flushed, collected time.Duration // since
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		least := u.at
		if flushed += tick; flushed >= u.every {
			flushed, least = 0, 1
		}
		if collected += tick; collected >= u.collectEvery {
			collected = 0
			u.collecting.Store(true)
		}
		u.step(ctx, least)
		select {
		case u.wake <- struct{}{}:
		default: // it is awake, and finds this too
		}
	}
}

// step is one tick: what the database has not taken since the last one is kept,
// and what was counted is made batches of. While too many batches wait already,
// counters go on counting: by key, so their number is bounded.
func (u *usage) step(ctx context.Context, least uint64) {
	if err := u.keep(ctx); ctx.Err() == nil {
		u.reportKept(err)
	}
	if !u.held.full() {
		u.held.add(u.take(least), u.now())
	}
}

// write brings what waits to the database whenever there is something, until ctx
// ends.
func (u *usage) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-u.wake:
		}
		if err := u.bring(ctx); ctx.Err() == nil {
			u.report(err)
		}
	}
}

// report logs a change from working to failing and back, not each failure.
func (u *usage) report(err error) {
	switch failing := err != nil; {
	case failing == u.failing.Swap(failing):
	case failing:
		u.log.Warn("usage can't be written to the database; it is kept and written later", "error", err)
	default:
		u.log.Info("usage is written to the database again")
	}
}

func (u *usage) reportKept(err error) {
	switch exposed := err != nil; {
	case exposed == u.exposed.Swap(exposed):
	case exposed:
		u.log.Warn("usage that the database does not take is in memory alone and is lost if the process is killed", "error", err)
	default:
		u.log.Info("usage is no longer in memory alone")
	}
}

// bring writes to the database what is held here, and then what a file and, where
// a collection is due, Redis and files of other processes hold. An error is the
// first: what follows it would fail too.
func (u *usage) bring(ctx context.Context) error {
	select {
	case u.writing <- struct{}{}:
		defer func() { <-u.writing }()
	case <-ctx.Done():
		return fmt.Errorf("writing usage: another write is under way: %w", ctx.Err())
	}
	for {
		n := usageWrite
		if u.failing.Load() {
			n = 1 // a slow database gets small pieces
		}
		some := u.held.first(n)
		if len(some) == 0 {
			break
		}
		if err := u.addUsage(ctx, some); err != nil {
			return err
		}
		u.held.drop(some)
	}
	send := func(some []authz.UsageBatch) error { return u.addUsage(ctx, some) }
	if u.spool != nil {
		if err := u.spool.drain(send); err != nil {
			return err
		}
	}
	if !u.collecting.Swap(false) {
		return nil
	}
	err := u.collect(ctx, send)
	if err != nil {
		u.collecting.Store(true)
	}
	return err
}

// collect brings what other processes have left.
func (u *usage) collect(ctx context.Context, send func([]authz.UsageBatch) error) error {
	if u.spool != nil {
		if err := u.spool.adopt(send); err != nil {
			return err
		}
	}
	if u.journal.shared == nil || u.journal.shared.Breaker.State() != remote.Closed {
		return nil // it is tried at the next collection
	}
	err := u.journal.collect(ctx)
	if errors.Is(err, remote.ErrStore) || errors.Is(err, remote.ErrBreakerOpen) { // the breaker reports it
		u.collecting.Store(true)
		return nil
	}
	return err
}

// addUsage is one transaction. On an error it is unknown whether it took place.
func (u *usage) addUsage(ctx context.Context, some []authz.UsageBatch) error {
	limited, cancel := context.WithTimeout(ctx, flushDeadline)
	defer cancel()
	u.failPoint("before a batch is in the database")
	added, err := u.sink.AddUsage(limited, some)
	if err != nil {
		return fmt.Errorf("writing %d batches of usage to the database: %w", len(some), err)
	}
	u.flushed.Add(added)
	u.failPoint("after a batch is in the database")
	return nil
}

// keep copies batches that wait for the database to Redis, in case this machine is
// lost, and moves them to a file, in case Redis is. Either is enough. An error says
// why some are still in memory alone.
func (u *usage) keep(ctx context.Context) error {
	left := u.held.exposed()
	if len(left) == 0 {
		return nil
	}
	err := errors.Join(u.copyToRedis(ctx, left), u.moveToFile(left))
	if u.held.exposedUses() == 0 {
		return nil
	}
	return err
}

func (u *usage) copyToRedis(ctx context.Context, batches []*heldBatch) error {
	limited, cancel := context.WithTimeout(ctx, keepDeadline)
	defer cancel()
	for _, b := range batches {
		if !u.journal.usable(limited) {
			return errNoJournal
		}
		if err := u.journal.keep(limited, b); err != nil {
			return err
		}
		u.held.copied(b)
		u.collecting.Store(true) // as soon as the database is back
	}
	return nil
}

func (u *usage) moveToFile(batches []*heldBatch) error {
	if u.spool == nil {
		return errNoSpool
	}
	moved, err := u.spool.keep(batches)
	u.held.drop(batchesOf(batches[:moved]))
	return err
}

var (
	errNoJournal = errors.New("the shared store is not used or does not take it")
	errNoSpool   = errors.New("no file may be written (usage.spool_mib)")
)

// flush is the last write. Some time is left for Redis and the file.
func (u *usage) flush(ctx context.Context) error {
	u.held.add(u.take(1), u.now())
	u.collecting.Store(true)
	limited, cancel := ctx, context.CancelFunc(func() {})
	if end, ok := ctx.Deadline(); ok {
		limited, cancel = context.WithTimeout(ctx, time.Until(end)*3/5)
	}
	err := u.bring(limited)
	cancel()
	if err != nil {
		err = errors.Join(err, u.keep(ctx))
	}
	uses := u.held.exposedUses()
	switch {
	case uses > 0:
		return fmt.Errorf("%d uses of keys are in memory alone: %w", uses, err)
	case u.pending() > 0:
		u.log.Warn("usage could not be written to the database; it is kept, and written later by this or another replica", "error", err)
	}
	return nil
}

// pending is the number of uses that this process has not seen in the database.
func (u *usage) pending() (n int64) {
	for i := range u.shards {
		n += u.shards[i].pending.Load()
	}
	n += u.held.uses.Load()
	if u.spool != nil {
		n += u.spool.uses.Load()
	}
	return n
}

package usage

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
	"extauthz/cachesvc/store"
)

const (
	counterShards = 64
	cacheLine     = 64          // bytes
	batchKeys     = 1000        // keys in one batch
	tickInterval  = time.Second // a batch that the database has not taken by the next tick is backed up
	writeBatches  = 20          // batches in one transaction, 20,000 rows at most
	flushDeadline = 10 * time.Second
	keepDeadline  = time.Second // time for Redis, before the file is tried
	// maxBatchAge is how old a batch may be when it is written to the database from Redis
	// or a file. The database remembers a source for longer than that, so it never adds a
	// batch that it already has.
	maxBatchAge = 7 * 24 * time.Hour
)

// Recorder counts the uses of keys in process and writes them to the database:
//
//   - At each interval the counts become batches, each named by a source and a
//     sequence (batch.go). The database adds a batch once. So a batch whose outcome
//     is unknown is written again, by any replica and in any order.
//   - A batch that the database has not taken by the next tick is copied to Redis
//     (journal.go) and moved to a file (spool.go), so that a killed process loses no
//     more than the last few seconds, however long the database is away.
//
// Safe for concurrent use.
type Recorder struct {
	Exposed atomic.Bool   // some usage is in memory alone
	Flushed atomic.Uint64 // uses that this process has added to the database
	Dropped atomic.Uint64 // uses that were not counted: too many keys

	log          *slog.Logger
	now          func() time.Time
	sink         Sink
	every        time.Duration // how often all counts are written
	collectEvery time.Duration // how often batches of other processes are searched for
	threshold    uint64        // a key with this many uses is written at the next tick
	limit        int           // counters in a shard, at most

	seed   maphash.Seed
	shards [counterShards]counterShard

	queue   batchQueue
	journal journal
	spool   *spool // nil: no files

	writing    chan struct{} // holds one token: one writer to the database at a time
	wake       chan struct{} // the writer has something to do
	collecting atomic.Bool   // a collection is due
	failing    atomic.Bool   // the database does not take usage
	failPoint  func(step string)
}

// Config is the configuration of a [Recorder]. All fields but Remote, SpoolDir and
// FailPoint are required.
type Config struct {
	Sink         Sink
	Remote       *remote.Client // nil: no copies in the shared store
	Source       string         // name of this process; no two may share it
	FlushEvery   time.Duration  // how often all counts are written, at least
	CollectEvery time.Duration  // how often batches of other processes are searched for
	Threshold    uint64         // a key with this many uses is written within a second
	MaxKeys      int            // number of counters, at most
	SpoolDir     string         // a folder for files of usage; empty: none are written
	SpoolBytes   int64          // size of this process's files, at most
	Now          func() time.Time
	Logger       *slog.Logger
	// FailPoint is called at each step of a batch on its way to the database. Tests kill
	// the process at such a step.
	FailPoint func(step string)
}

// Sink is the database. It skips batches that were added before; added counts the uses of
// the others.
type Sink interface {
	AddUsage(ctx context.Context, batches []authz.UsageBatch) (added uint64, err error)
}

// New returns a recorder. It does no I/O.
func New(c Config) *Recorder {
	if c.FailPoint == nil {
		c.FailPoint = func(string) {}
	}
	u := &Recorder{log: c.Logger, now: c.Now, sink: c.Sink, every: c.FlushEvery, collectEvery: c.CollectEvery, threshold: c.Threshold, failPoint: c.FailPoint,
		seed: maphash.MakeSeed(), writing: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	u.queue.source = c.Source
	u.journal = journal{remote: c.Remote, sink: c.Sink, log: c.Logger, written: &u.Flushed, now: c.Now, failPoint: c.FailPoint, missing: make(map[string]time.Time)}
	if c.SpoolDir != "" {
		u.spool = &spool{dir: c.SpoolDir, source: c.Source, limit: c.SpoolBytes, log: c.Logger, now: c.Now, failPoint: c.FailPoint}
	}
	u.limit = max(c.MaxKeys/counterShards, 1)
	for i := range u.shards {
		u.shards[i].counters = make(map[string]*counter)
	}
	return u
}

// Used counts one use of a key. It does no I/O, and allocates nothing for a key that was
// used since the last interval.
func (u *Recorder) Used(keyID string, at time.Time) { u.add(keyID, 1, at.UnixNano()) }

// Run makes batches at each interval, and backs up those that the database does not take,
// until ctx ends. Another goroutine writes the batches to the database, since the
// database may hang.
func (u *Recorder) Run(ctx context.Context) {
	if u.spool != nil {
		u.spool.prepare()
	}
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() { u.write(ctx) })
	tick := min(tickInterval, u.every)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var flushed, collected time.Duration // time since the last flush and the last collection
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		least := u.threshold
		if flushed += tick; flushed >= u.every {
			flushed, least = 0, 1
		}
		if collected += tick; collected >= u.collectEvery {
			collected = 0
			u.collecting.Store(true)
		}
		u.tick(ctx, least)
		select {
		case u.wake <- struct{}{}:
		default: // the writer is running, and finds these batches too
		}
	}
}

// tick does the work of one interval. It backs up the batches that the database has not
// taken since the last interval, and turns counts into new batches. While too many
// batches wait already, the counters go on counting, so that the number of batches is
// bounded.
func (u *Recorder) tick(ctx context.Context, least uint64) {
	if err := u.backUp(ctx); ctx.Err() == nil {
		u.reportBackUp(err)
	}
	if !u.queue.full() {
		u.queue.add(u.take(least), u.now())
	}
}

// write writes waiting batches to the database whenever there are any, until ctx ends.
func (u *Recorder) write(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-u.wake:
		}
		if err := u.deliver(ctx); ctx.Err() == nil {
			u.reportDelivery(err)
		}
	}
}

// reportDelivery logs when writing begins to fail and when it works again, not each
// failure.
func (u *Recorder) reportDelivery(err error) {
	switch failing := err != nil; {
	case failing == u.failing.Swap(failing):
	case failing:
		u.log.Warn("usage can't be written to the database; it is kept and written later", "error", err)
	default:
		u.log.Info("usage is written to the database again")
	}
}

func (u *Recorder) reportBackUp(err error) {
	switch exposed := err != nil; {
	case exposed == u.Exposed.Swap(exposed):
	case exposed:
		u.log.Warn("usage that the database does not take is in memory alone and is lost if the process is killed", "error", err)
	default:
		u.log.Info("usage is no longer in memory alone")
	}
}

// deliver writes batches to the database: first those in memory, then those in this
// process's files and, if a collection is due, those in Redis and in files of other
// processes. It returns the first error: the rest would fail too.
func (u *Recorder) deliver(ctx context.Context) error {
	select {
	case u.writing <- struct{}{}:
		defer func() { <-u.writing }()
	case <-ctx.Done():
		return fmt.Errorf("writing usage: another write is under way: %w", ctx.Err())
	}
	for {
		n := writeBatches
		if u.failing.Load() {
			n = 1 // a slow database gets small pieces
		}
		some := u.queue.first(n)
		if len(some) == 0 {
			break
		}
		if err := u.addUsage(ctx, some); err != nil {
			return err
		}
		u.queue.drop(some)
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

// collect writes batches that other processes have left.
func (u *Recorder) collect(ctx context.Context, send func([]authz.UsageBatch) error) error {
	if u.spool != nil {
		if err := u.spool.adopt(send); err != nil {
			return err
		}
	}
	if u.journal.remote == nil || u.journal.remote.Breaker.State() != remote.Closed {
		return nil // it is tried at the next collection
	}
	err := u.journal.deliver(ctx)
	if errors.Is(err, remote.ErrStore) || errors.Is(err, remote.ErrBreakerOpen) { // the breaker reports it
		u.collecting.Store(true)
		return nil
	}
	return err
}

// addUsage writes batches in one transaction. After an error it is unknown whether the
// transaction took place.
func (u *Recorder) addUsage(ctx context.Context, some []authz.UsageBatch) error {
	limited, cancel := context.WithTimeout(ctx, flushDeadline)
	defer cancel()
	u.failPoint("before a batch is in the database")
	added, err := u.sink.AddUsage(limited, some)
	if err != nil {
		return fmt.Errorf("writing %d batches of usage to the database: %w", len(some), err)
	}
	u.Flushed.Add(added)
	u.failPoint("after a batch is in the database")
	return nil
}

// backUp copies batches that wait for the database to Redis, in case this machine is
// lost, and moves them to a file, in case Redis is lost. Either is enough. The error is
// the reason why some batches are still in memory alone.
func (u *Recorder) backUp(ctx context.Context) error {
	left := u.queue.exposed()
	if len(left) == 0 {
		return nil
	}
	err := errors.Join(u.copyToRedis(ctx, left), u.moveToFile(left))
	if u.queue.exposedUses() == 0 {
		return nil
	}
	return err
}

func (u *Recorder) copyToRedis(ctx context.Context, batches []*queuedBatch) error {
	limited, cancel := context.WithTimeout(ctx, keepDeadline)
	defer cancel()
	for _, b := range batches {
		if !u.journal.available(limited) {
			return errNoJournal
		}
		if err := u.journal.write(limited, b); err != nil {
			return err
		}
		u.queue.copied(b)
		u.collecting.Store(true) // so that the copy is removed as soon as the database is back
	}
	return nil
}

func (u *Recorder) moveToFile(batches []*queuedBatch) error {
	if u.spool == nil {
		return errNoSpool
	}
	moved, err := u.spool.keep(batches)
	u.queue.drop(batchesOf(batches[:moved]))
	return err
}

var (
	errNoJournal = errors.New("the shared store is not used or does not take it")
	errNoSpool   = errors.New("no file may be written (usage.spool_mib)")
)

// Flush writes all counts to the database. It backs up those that the database does not
// accept; they are written later. Call it at shutdown, when no more checks arrive. It
// keeps two fifths of the time until ctx's deadline for Redis and the file. An error
// means that uses are in memory alone; the call may be repeated.
func (u *Recorder) Flush(ctx context.Context) error {
	u.queue.add(u.take(1), u.now())
	u.collecting.Store(true)
	limited, cancel := ctx, context.CancelFunc(func() {})
	if end, ok := ctx.Deadline(); ok {
		limited, cancel = context.WithTimeout(ctx, time.Until(end)*3/5)
	}
	err := u.deliver(limited)
	cancel()
	if err == nil {
		return nil // what waits now was counted after this call
	}
	err = errors.Join(err, u.backUp(ctx))
	uses := u.queue.exposedUses()
	switch {
	case uses > 0:
		return fmt.Errorf("%d uses of keys are in memory alone: %w", uses, err)
	case u.Pending() > 0:
		u.log.Warn("usage could not be written to the database; it is kept, and written later by this or another replica", "error", err)
	}
	return nil
}

// SetPolicy takes what the shared store reports of its memory. Usage is not kept there
// while the store may evict it.
func (u *Recorder) SetPolicy(m store.Memory) { u.journal.setPolicy(m) }

// Pending returns the number of uses that are not known to be in the database.
func (u *Recorder) Pending() (n int64) {
	for i := range u.shards {
		n += u.shards[i].pending.Load()
	}
	n += u.queue.uses.Load()
	if u.spool != nil {
		n += u.spool.uses.Load()
	}
	return n
}

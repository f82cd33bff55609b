package usage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/remote"
	"extauthz/cachesvc/store"
)

// KeyPrefix is the first part of the names of batches in the shared store. Source and
// sequence follow.
const KeyPrefix = "apikey:usage:"

const (
	tag = "apikey-usage" // tag of every batch that waits

	// journalLimit is how many batches may wait in the shared store while the database is
	// away. Beyond it, usage is kept in the process.
	journalLimit = 5000
	// journalRead is how many names one collection reads, which is more than ever wait.
	journalRead = 4 * journalLimit
	// journalMissing is how long a name may lack its batch before the name is dropped. By
	// then the batch's writer has received an answer, or has written both again.
	journalMissing = 30 * time.Second
	journalBudget  = 500 * time.Millisecond // for one call
)

// journal keeps batches in Redis, one in each value, while the database does not take
// them. The first replica that can writes them to the database from there. Both steps may
// be repeated any number of times: writing a batch again changes nothing, and the
// database adds a batch once. So the order of each step is: write, wait for the answer,
// only then forget.
type journal struct {
	remote  *remote.Client
	sink    Sink
	log     *slog.Logger
	written *atomic.Uint64
	now     func() time.Time

	safe    atomic.Bool  // the store is known not to evict batches
	unsafe  atomic.Bool  // the store is known to evict batches
	backlog atomic.Int64 // number of batches that wait: as of the last collection, and those written since
	missing map[string]time.Time

	failPoint func(step string)
}

// available reports whether usage may be stored in Redis now.
func (j *journal) available(ctx context.Context) bool {
	if j.remote == nil || j.remote.Breaker.State() != remote.Closed || j.remote.Full.Load() {
		return false
	}
	return (j.safe.Load() || j.readPolicy(ctx)) && j.backlog.Load() < journalLimit
}

// readPolicy reads whether the store would evict batches, and warns if so. It returns
// true if the store is known to keep them.
func (j *journal) readPolicy(ctx context.Context) bool {
	var m store.Memory
	err := j.remote.Do(ctx, remote.OpMemory, journalBudget, func(ctx context.Context) (err error) {
		m, err = j.remote.Store.Memory(ctx)
		return err
	})
	if err == nil {
		j.setPolicy(m)
	}
	return j.safe.Load()
}

func (j *journal) setPolicy(m store.Memory) {
	safe := !evictsAll(m.Policy)
	j.safe.Store(safe)
	if unsafe := !safe; unsafe != j.unsafe.Swap(unsafe) && unsafe {
		j.log.Warn("Redis may evict usage that waits in it (maxmemory-policy "+m.Policy+"), so none is kept there; set volatile-lru", "policy", m.Policy)
	}
}

func evictsAll(policy string) bool { return strings.HasPrefix(policy, "allkeys-") }

// write writes a batch. An error means that its outcome is unknown.
func (j *journal) write(ctx context.Context, b *queuedBatch) error {
	data, err := encodeBatch(b)
	if err != nil {
		return err
	}
	item := store.Item{Key: journalKey(b.UsageBatch), Value: data, TTL: store.Forever, Tags: []string{tag}}
	j.failPoint("before a batch is in the shared store")
	err = j.remote.Do(ctx, remote.OpUsage, journalBudget, func(ctx context.Context) error { return j.remote.Store.Set(ctx, item) })
	if err != nil {
		return fmt.Errorf("keeping usage in Redis: %w", err)
	}
	j.backlog.Add(1)
	j.failPoint("after a batch is in the shared store")
	return nil
}

func journalKey(b authz.UsageBatch) string {
	return KeyPrefix + b.Source + ":" + strconv.FormatUint(b.Sequence, 10)
}

// deliver writes all batches that wait to the database, whichever replica made them.
func (j *journal) deliver(ctx context.Context) error {
	var keys []string
	err := j.remote.Do(ctx, remote.OpGet, journalBudget, func(ctx context.Context) (err error) {
		keys, err = j.remote.Store.Tagged(ctx, tag, journalRead)
		return err
	})
	if err != nil {
		return err
	}
	j.backlog.Store(int64(len(keys)))
	batches, done, err := j.read(ctx, keys)
	if err != nil {
		return err
	}
	slices.SortFunc(batches, func(a, b authz.UsageBatch) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), cmp.Compare(a.Sequence, b.Sequence))
	})
	for some := range slices.Chunk(batches, writeBatches) {
		j.failPoint("before a batch is in the database")
		added, err := j.sink.AddUsage(ctx, some)
		if err != nil {
			return fmt.Errorf("writing usage from Redis to the database: %w", err)
		}
		j.written.Add(added)
		j.failPoint("after a batch is in the database")
		for _, b := range some {
			done = append(done, journalKey(b))
		}
	}
	return j.forget(ctx, done)
}

// read returns the batches with these names. It also returns the names that can be
// forgotten: those whose batch is missing for long or can't be read.
func (j *journal) read(ctx context.Context, keys []string) (batches []authz.UsageBatch, useless []string, err error) {
	named := make(map[string]bool, len(keys))
	for some := range slices.Chunk(keys, remote.BatchSize) {
		var values [][]byte
		err := j.remote.Do(ctx, remote.OpGet, journalBudget, func(ctx context.Context) (err error) {
			values, err = j.remote.Store.MGet(ctx, some...)
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		for i, data := range values {
			named[some[i]] = true
			switch b, err := j.decode(some[i], data); {
			case errors.Is(err, errMissing):
				if j.missingLong(some[i]) {
					useless = append(useless, some[i])
				}
			case err != nil:
				j.log.Warn("a batch of usage in Redis can't be read and is dropped", "batch", some[i], "error", err)
				useless = append(useless, some[i])
			default:
				batches = append(batches, b)
			}
		}
	}
	for key := range j.missing {
		if !named[key] {
			delete(j.missing, key)
		}
	}
	return batches, useless, nil
}

var errMissing = errors.New("not there")

func (j *journal) decode(key string, data []byte) (authz.UsageBatch, error) {
	if data == nil {
		return authz.UsageBatch{}, errMissing
	}
	delete(j.missing, key)
	b, err := decodeBatch(data, j.now())
	if err == nil && key != journalKey(b) {
		err = errors.New("it is stored under another name")
	}
	return b, err
}

// missingLong reports whether a named batch has been missing for long enough.
func (j *journal) missingLong(key string) bool {
	since, ok := j.missing[key]
	if !ok {
		since = j.now()
		j.missing[key] = since
	}
	return j.now().Sub(since) > journalMissing
}

// forget removes batches, each value before its name: a name without a value is found
// again later.
func (j *journal) forget(ctx context.Context, keys []string) error {
	for some := range slices.Chunk(keys, remote.BatchSize) {
		err := j.remote.Do(ctx, remote.OpInvalidate, journalBudget, func(ctx context.Context) error {
			if _, err := j.remote.Store.Delete(ctx, some...); err != nil {
				return err
			}
			j.failPoint("before a batch's name is forgotten")
			return j.remote.Store.Untag(ctx, tag, some...)
		})
		if err != nil {
			return err
		}
		j.backlog.Add(-int64(len(some)))
	}
	return nil
}

package cachesvc

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/store"
)

const (
	usageKeys = "apikey:usage:" // + source + sequence: one batch
	tagUsage  = "apikey-usage"  // on every batch that waits

	// journalLimit is how many batches may wait in the shared store, while the
	// database is away, before usage is kept in the process instead.
	journalLimit = 5000
	// journalRead is how many are asked for, more than ever wait: a batch that
	// is added while an earlier one of its source is not would shut that out.
	journalRead = 4 * journalLimit
	// journalAge is how old a batch may be; a source is remembered for longer.
	journalAge = 7 * 24 * time.Hour
	// journalMissing is how long a batch may be named and not be there before
	// its name is dropped: its writer has long been answered then, and has
	// written both again if it was not.
	journalMissing = 30 * time.Second
	journalBudget  = 500 * time.Millisecond // one call
)

// journal is the way from the process to the shared store, one batch a value,
// and from there to the database, by whichever replica comes first. Both hops
// may be done any number of times: writing a batch again changes nothing, and
// the database adds a batch once, known by its source and sequence. So each
// hop's order is: write, be answered, only then forget. Batches of a source are
// written one after the other, so whoever sees one sees all before it.
type journal struct {
	stream
	shared  *shared
	sink    UsageSink
	log     *slog.Logger
	written *atomic.Uint64
	now     func() time.Time

	safe    atomic.Bool // the store is known not to evict what must be kept
	backlog int         // batches that wait, as of the last collection, and those written since
	missing map[string]time.Time
}

// batchValue is a batch in the shared store.
type batchValue struct {
	Source   string       `json:"source"`
	Sequence uint64       `json:"sequence"`
	At       time.Time    `json:"at"`
	Usage    []usageValue `json:"usage"`
}

type usageValue struct {
	KeyID string    `json:"key_id"`
	Count uint64    `json:"count"`
	Last  time.Time `json:"last_used_at"`
}

// usable tells whether usage goes through the shared store just now.
func (j *journal) usable(ctx context.Context) bool {
	if j.shared == nil || j.shared.breaker.current() != BreakerClosed || j.shared.full.Load() {
		return false
	}
	return (j.safe.Load() || j.learnPolicy(ctx)) && j.backlog < journalLimit
}

// learnPolicy asks once whether the store would evict counters, and tells if so.
func (j *journal) learnPolicy(ctx context.Context) bool {
	var m store.Memory
	err := j.shared.do(ctx, opMemory, journalBudget, func(ctx context.Context) (err error) {
		m, err = j.shared.store.Memory(ctx)
		return err
	})
	if err == nil {
		j.setPolicy(m)
	}
	return j.safe.Load()
}

func (j *journal) setPolicy(m store.Memory) {
	safe := !evictsAll(m.Policy)
	if before := j.safe.Swap(safe); before && !safe {
		j.log.Warn("Redis may now evict counted uses (maxmemory-policy "+m.Policy+"): usage goes to the database directly; set volatile-lru", "policy", m.Policy)
	}
}

func evictsAll(policy string) bool { return strings.HasPrefix(policy, "allkeys-") }

// write brings what take returns to the shared store. An error means that it is
// not known to be there, and is tried again.
func (j *journal) write(ctx context.Context, take func() []authz.Usage) error {
	return j.send(take, func(b authz.UsageBatch) error {
		item, err := j.item(b)
		if err != nil {
			return err
		}
		failPoint("usage: before a batch is in the shared store")
		err = j.shared.do(ctx, opUsage, journalBudget, func(ctx context.Context) error { return j.shared.store.Set(ctx, item) })
		if err == nil {
			j.backlog++
			failPoint("usage: after a batch is in the shared store")
		}
		return err
	})
}

func (j *journal) item(b authz.UsageBatch) (store.Item, error) {
	v := batchValue{Source: b.Source, Sequence: b.Sequence, At: j.now().UTC()}
	for _, u := range b.Usage {
		v.Usage = append(v.Usage, usageValue{u.KeyID, u.Count, u.LastUsedAt.UTC()})
	}
	data, err := json.Marshal(v)
	if err != nil {
		return store.Item{}, fmt.Errorf("encoding usage: %w", err)
	}
	return store.Item{Key: usageKeys + b.Source + ":" + strconv.FormatUint(b.Sequence, 10), Value: data, TTL: store.Forever, Tags: []string{tagUsage}}, nil
}

// collect brings all batches that wait to the database, whoever wrote them.
func (j *journal) collect(ctx context.Context) error {
	var keys []string
	err := j.shared.do(ctx, opUsage, journalBudget, func(ctx context.Context) (err error) {
		keys, err = j.shared.store.Tagged(ctx, tagUsage, journalRead)
		return err
	})
	if err != nil {
		return err
	}
	j.backlog = len(keys)
	batches, done, err := j.read(ctx, keys)
	if err != nil {
		return err
	}
	slices.SortFunc(batches, func(a, b authz.UsageBatch) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), cmp.Compare(a.Sequence, b.Sequence))
	})
	for some := range slices.Chunk(batches, 20) { // 20,000 rows at most
		failPoint("usage: before a batch is in the database")
		added, err := j.sink.AddUsage(ctx, some)
		if err != nil {
			return fmt.Errorf("bringing usage from Redis to the database: %w", err)
		}
		j.written.Add(added)
		failPoint("usage: after a batch is in the database")
		for _, b := range some {
			done = append(done, usageKeys+b.Source+":"+strconv.FormatUint(b.Sequence, 10))
		}
	}
	return j.forget(ctx, done)
}

// read returns the batches that are there, and the names of those that are of
// no use.
func (j *journal) read(ctx context.Context, keys []string) (batches []authz.UsageBatch, useless []string, err error) {
	named := make(map[string]bool, len(keys))
	for some := range slices.Chunk(keys, sharedBatch) {
		var values [][]byte
		err := j.shared.do(ctx, opUsage, journalBudget, func(ctx context.Context) (err error) {
			values, err = j.shared.store.MGet(ctx, some...)
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
	var v batchValue
	if err := json.Unmarshal(data, &v); err != nil {
		return authz.UsageBatch{}, err
	}
	b := authz.UsageBatch{Source: v.Source, Sequence: v.Sequence}
	switch {
	case key != usageKeys+b.Source+":"+strconv.FormatUint(b.Sequence, 10) || b.Sequence == 0:
		return b, errors.New("it stands under another name")
	case j.now().Sub(v.At) > journalAge:
		return b, fmt.Errorf("it is older than %s", journalAge)
	}
	for _, u := range v.Usage {
		b.Usage = append(b.Usage, authz.Usage{KeyID: u.KeyID, Count: u.Count, LastUsedAt: u.Last})
	}
	return b, nil
}

// missingLong tells whether a named batch was not there for long enough.
func (j *journal) missingLong(key string) bool {
	since, ok := j.missing[key]
	if !ok {
		since = j.now()
		j.missing[key] = since
	}
	return j.now().Sub(since) > journalMissing
}

// forget removes batches, first the values: a name without a value is found
// again.
func (j *journal) forget(ctx context.Context, keys []string) error {
	for some := range slices.Chunk(keys, sharedBatch) {
		err := j.shared.do(ctx, opUsage, journalBudget, func(ctx context.Context) error {
			if _, err := j.shared.store.Delete(ctx, some...); err != nil {
				return err
			}
			failPoint("usage: before a batch's name is forgotten")
			return j.shared.store.Untag(ctx, tagUsage, some...)
		})
		if err != nil {
			return err
		}
		j.backlog -= len(some)
	}
	return nil
}

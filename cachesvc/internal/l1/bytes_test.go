package l1

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/cachetest"
)

// largestKey has as much metadata as a key may have: 32 texts of 1,024 bytes.
func largestKey(i int) *Value[Credential] {
	v := &Value[Credential]{}
	v.Found, v.AsOf = true, time.Duration(i)
	metadata := map[string]string{}
	for n := range 32 {
		metadata[fmt.Sprint("field", n)] = strings.Repeat(fmt.Sprint(i%10), 1024)
	}
	v.Data.Record = authz.Record{ID: fmt.Sprint(i), Metadata: metadata}
	return v
}

func TestTable_LargeKeysStayWithinItsBytes(t *testing.T) {
	const bytes = 32 << 20
	heap := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	small := &Value[Credential]{}
	small.Found, small.Data.Record.UserID = true, strings.Repeat("u", 200)
	before := heap()
	table := NewTable(testKeys, bytes, HotValues, NewKeyCodec())
	scratch := &Value[Credential]{}
	for round := range 2 {
		for i := range 150_000 { // 30 MB of small keys
			table.Put(fmt.Sprint("small_", round, "_", i), small)
		}
		for i := range 4_000 { // then 130 MB of large keys, each used often enough to become hot
			id := fmt.Sprint("large_", round, "_", i)
			table.Put(id, largestKey(i))
			for range 4 {
				table.Get(id, scratch)
			}
			if i%10 > 0 {
				continue
			}
			// Some keys that were small become large.
			table.Put(fmt.Sprint("small_", round, "_", 149_999-i), largestKey(i))
			for i := range table.shards {
				if sh := &table.shards[i]; sh.arena.held > bytes/len(table.shards) || sh.arena.live > sh.admission.bytes {
					t.Fatalf("round %d: a shard holds %d bytes of its %d, in records %d of %d", round, sh.arena.held, bytes/len(table.shards), sh.arena.live, sh.admission.bytes)
				}
			}
		}
		if err := table.check(); err != nil {
			t.Fatal(err)
		}
	}
	// Index, queue and notes come on top. They grow with the largest number of records.
	if took := heap() - before; took > bytes+bytes/4 {
		t.Errorf("the table takes %d MiB, want %d and what finds them", took>>20, bytes>>20)
	}
	runtime.KeepAlive(table)
}

func TestTable_AScanOfLargeKeysDoesNotDisplaceAHotSet(t *testing.T) {
	table := NewTable(testKeys, 16<<20, 64, NewKeyCodec())
	hot := func(i int) string { return fmt.Sprint("hot_", i) }
	for i := range 100 {
		table.Put(hot(i), largestKey(i))
	}
	for i := range 10_000 {
		table.Put(fmt.Sprint("cold_", i), largestKey(i))
		if i%10 == 0 { // each hot key is used once while the table is filled twice over
			table.Get(hot(i/10%100), nil)
		}
	}
	missing := 0
	for i := range 100 {
		if table.Get(hot(i), nil) == nil {
			missing++
		}
	}
	if missing > 2 {
		t.Errorf("%d of 100 large keys in use are gone after a scan", missing)
	}
}

func TestInterned_IsBoundedByBytes(t *testing.T) {
	c := newInterned(readTexts)
	written := func(i int) []byte { return appendTexts(nil, []string{fmt.Sprint(i), strings.Repeat("x", 10_000)}) }
	take := func(i int) (uint32, bool) {
		if id, ok := c.take(written(i)); ok {
			return id, ok
		}
		// A value is added when it is seen a second time.
		return c.take(written(i))
	}
	var ids []uint32
	for i := range 2 * internedBytes / 10_000 {
		if id, ok := take(i); ok {
			ids = append(ids, id)
		}
	}
	if n := len(ids); n < internedBytes/10_100 || n > internedBytes/10_000 {
		t.Fatalf("%d values of 10,000 bytes are held", n)
	}
	c.release(ids[0])
	if _, ok := take(-1); !ok {
		t.Error("a value that was released left no space")
	}
}

func TestTable_AKeyTakesLessThanTwoHundredBytes(t *testing.T) {
	const n = 20_000
	p := cachetest.Population{Connection: cachetest.NewDatabase().Connect(), N: n, Kind: cachetest.KindReference}
	table := NewTable(n, testBytes, HotValues, NewKeyCodec())
	for i := range n {
		v := &Value[Credential]{}
		v.Data.Record, v.Data.Verifier = p.Key(i)
		v.Found, v.Version = true, v.Data.Record.Version
		v.AsOf, v.Expires, v.UsableUntil = time.Second, 300*time.Second, 600*time.Second
		table.Put(v.Data.Record.Prefix, v)
	}
	var held, records int
	for i := range table.shards {
		sh := &table.shards[i]
		held += sh.arena.live + 8*len(sh.index.slots)
		records += sh.index.count
	}
	if each := held / records; each > 170 {
		t.Errorf("a key takes %d bytes in the table", each)
	}
}

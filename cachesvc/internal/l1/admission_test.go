package l1

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestAdmission_AScanDoesNotDisplaceAHotSet(t *testing.T) {
	const limit, hotSet = 10_000, 5_000
	table := NewTable(limit, testBytes, 64, NewKeyCodec())
	e := keyValue(rand.New(rand.NewPCG(1, 1)), "")
	put := func(i int) { table.Put(prefix(i), e) }
	for i := range limit { // the hot keys are among these
		put(i)
	}
	r, misses, uses := rand.New(rand.NewPCG(1, 2)), 0, 0
	use := func() {
		i := r.IntN(hotSet)
		if uses++; table.Get(prefix(i), nil) == nil {
			misses++
			put(i)
		}
	}
	for range 10 * hotSet {
		use()
	}
	uses, misses = 0, 0
	scanned := 1_000_000
	if testing.Short() {
		scanned = 100_000
	}
	for i := range scanned { // ten cold keys for each use of a hot one
		if cold := limit + i; table.Get(prefix(cold), nil) == nil {
			put(cold)
		}
		if i%10 == 0 {
			use()
		}
	}
	if misses*100 > uses {
		t.Errorf("%d of %d uses of a hot key missed while %d cold ones came by", misses, uses, scanned)
	}
	if err := table.check(); err != nil {
		t.Error(err)
	}
}

func TestAdmission_ANewHotSetReplacesAnOldOne(t *testing.T) {
	const limit = 10_000
	table := NewTable(limit, testBytes, 64, NewKeyCodec())
	e := keyValue(rand.New(rand.NewPCG(1, 1)), "")
	r := rand.New(rand.NewPCG(1, 2))
	use := func(from int) (missed bool) {
		i := from + r.IntN(limit/2)
		if table.Get(prefix(i), nil) != nil {
			return false
		}
		table.Put(prefix(i), e)
		return true
	}
	for from := range 4 {
		for range 20 * limit {
			use(from * limit)
		}
		misses := 0
		for range limit {
			if use(from * limit) {
				misses++
			}
		}
		if misses > limit/100 {
			t.Errorf("set %d: %d of %d uses missed", from, misses, limit)
		}
	}
}

func TestAdmission_AKeyThatComesBackSoonIsEstablished(t *testing.T) {
	const limit = 200 // one shard
	table := NewTable(limit, testBytes, 64, NewKeyCodec())
	e := keyValue(rand.New(rand.NewPCG(1, 1)), "")
	next := 0
	scan := func(n int) {
		for range n {
			table.Put(fmt.Sprint("cold_", next), e)
			next++
		}
	}
	scan(2 * limit)
	table.Put("back", e)
	scan(limit / probationShare)
	if table.Get("back", nil) != nil {
		t.Fatal("a key that was not used is still there after its probation")
	}
	table.Put("back", e)
	scan(limit / 2)
	if table.Get("back", nil) == nil {
		t.Error("a key that came back is gone like one that was never there")
	}
}

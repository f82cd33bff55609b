package l1

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/cachesvc/internal/freshness"
)

// The bounds of a table that is as large as the service's.
const (
	testKeys  = 1_000_000
	testBytes = 512 << 20
)

func prefix(i int) string { return fmt.Sprintf("ak_live_%08d", i) }

// tooLarge is the length of a text that makes a key too large for a table of MinBytes.
const tooLarge = 200_000

// keyValue makes a value of a key whose fields come from r.
func keyValue(r *rand.Rand, id string) *Value[Credential] {
	v := &Value[Credential]{}
	span := func() time.Duration { return time.Duration(r.Int64N(int64(1<<uint(1+r.IntN(61))))) - time.Second }
	v.Version, v.Seq, v.Generation = r.Uint64()>>r.IntN(64), r.Uint64()>>r.IntN(64), r.Uint64()>>r.IntN(64)
	v.AsOf, v.Expires, v.UsableUntil = span(), span(), span()
	v.Shared, v.OutsideLease = r.IntN(2) == 0, r.IntN(2) == 0
	if v.Found = r.IntN(8) > 0; !v.Found {
		return v
	}
	some := func() bool { return r.IntN(4) == 0 }
	word := func() string { return strings.Repeat("wörd", r.IntN(8)) + fmt.Sprint(r.IntN(5)) }
	uuid := func() string {
		if some() {
			return strings.ToUpper("01890a5d-ac96-774b-bcce-b302099a8057")[:r.IntN(37)]
		}
		return fmt.Sprintf("%08x-%04x-7%03x-a%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Int64N(1<<48))
	}
	moment := func() time.Time {
		t := time.Unix(r.Int64N(1<<38)-1<<36, r.Int64N(1e9))
		if some() {
			return t.UTC()
		}
		return t.Truncate(time.Microsecond).UTC()
	}
	sets := func() (s authz.Scopes) {
		for i := range r.IntN(4) {
			s = append(s, authz.Scope{Resource: fmt.Sprintf("orders%d/%d", i, r.IntN(3)), Actions: []string{"create", "read"}[r.IntN(2):]})
		}
		return s
	}
	var digest [32]byte
	for i := range digest {
		digest[i] = byte(r.Uint32())
	}
	rec := authz.Record{ID: uuid(), UserID: uuid(), Name: word(), Prefix: id, Scopes: sets(), Active: !some(), CreatedAt: moment(), Version: v.Version, Environment: "live"}
	rec.UpdatedAt = rec.CreatedAt
	if some() {
		rec.UpdatedAt, rec.Prefix, rec.Version = moment(), word(), r.Uint64()
	}
	if some() {
		rec.Roles, rec.Project = []string{word(), word()}, word()
		rec.Grants = authz.Grants{Scopes: sets(), Projects: []string{word()}, Users: []string{word(), word()}}
	}
	if some() {
		rec.ExpiresAt, rec.RevokedAt, rec.ShadowUntil = moment(), moment(), moment()
		rec.ShadowEnd, rec.ShadowScopes = moment(), sets()
		rec.RotatedFrom, rec.Family = uuid(), uuid()
	}
	if some() {
		rec.Rate = authz.Rate{Count: r.IntN(1000), Per: time.Second}
		rec.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"), {}}
		size := r.IntN(5000)
		switch r.IntN(40) {
		case 0, 1:
			size = r.IntN(60_000)
		case 2:
			size = tooLarge
		}
		rec.Metadata = map[string]string{word(): word(), "team": strings.Repeat("x", size)}
	}
	v.Data = Credential{rec, authz.Verifier{Alg: authz.HashHMACSHA256, PepperID: word()}}
	if !some() {
		v.Data.Verifier.Digest = authz.NewDigest(digest)
	}
	return v
}

// differs describes how a value that was read differs from the one that was put; "" if it
// does not.
func differs(got, put *Value[Credential]) string {
	type plain struct {
		found, shared, outsideLease bool
		version, seq, gen           uint64
		asOf, expires, until        time.Duration
	}
	of := func(v *Value[Credential]) plain {
		return plain{v.Found, v.Shared, v.OutsideLease, v.Version, v.Seq, v.Generation, v.AsOf, v.Expires, v.UsableUntil}
	}
	if a, b := of(got), of(put); a != b {
		return fmt.Sprintf("stamp %+v, want %+v", a, b)
	}
	if a, b := got.Data.Record, put.Data.Record; !reflect.DeepEqual(a, b) {
		return fmt.Sprintf("record %+v, want %+v", a, b)
	}
	a, b := got.Data.Verifier, put.Data.Verifier
	one, has := a.Digest.Bytes()
	other, had := b.Digest.Bytes()
	if a.Alg != b.Alg || a.PepperID != b.PepperID || one != other || has != had {
		return "the verifier"
	}
	return ""
}

// check tests the invariants of a table.
func (t *Table[T]) check() error {
	for n := range t.shards {
		sh := &t.shards[n]
		var records, onProbation, live int
		for i, slot := range sh.index.slots {
			if slot == 0 {
				continue
			}
			records++
			p := slotLocation(slot)
			id := recordID(sh.arena.payload(p))
			of, hash := t.of(id)
			h := head(sh.arena.head(p).Load())
			if of != sh || slotTag(slot) != tagOf(hash) || sh.find(hash, id) != i || h&headFreed != 0 {
				return fmt.Errorf("%q is not found where it is", id)
			}
			live += blockSize(len(sh.arena.payload(p)))
			if h&headProbation != 0 {
				onProbation++
				queued := false
				for k := range sh.admission.waiting {
					queued = queued || uint64(sh.admission.queue[(sh.admission.first+k)%sh.admission.probationLimit]) == slotTag(slot)
				}
				if !queued {
					return fmt.Errorf("%q is on probation and not in the queue", id)
				}
			}
		}
		held := 0
		for _, s := range sh.arena.segments {
			held += len(s.data)
		}
		if records != sh.index.count || records > sh.admission.limit || onProbation != sh.admission.probation || live != sh.arena.live || held != sh.arena.held || live > sh.admission.bytes {
			return fmt.Errorf("%d records (%d counted), %d on probation (%d), %d bytes (%d) in %d (%d)", records, sh.index.count, onProbation, sh.admission.probation, live, sh.arena.live, held, sh.arena.held)
		}
		if sh.arena.held > sh.arena.live*9/8+wasteAllowance+4*segmentSize {
			return fmt.Errorf("%d bytes for %d", sh.arena.held, sh.arena.live)
		}
		for s := range sh.hot.sets {
			for way := range sh.hot.sets[s].ways {
				if v := sh.hot.sets[s].ways[way].Load(); v != nil {
					if _, hash := t.of(v.id); sh.find(hash, v.id) < 0 {
						return fmt.Errorf("%q is hot and not there", v.id)
					}
				}
			}
		}
	}
	return nil
}

// check compares the counts of interned scopes with the numbers of records that hold
// them.
func (k *KeyCodec) check(t *Table[Credential]) error {
	want := map[uint32]uint32{}
	for n := range t.shards {
		sh := &t.shards[n]
		for _, slot := range sh.index.slots {
			if slot == 0 {
				continue
			}
			var s freshness.Stamp
			f := decoder{textOf(sh.arena.payload(slotLocation(slot)))}
			f.plainText()
			if f.stamp(&s); !s.Found {
				continue
			}
			if flags := f.keyFlags(); flags&keyScopesCommon != 0 {
				want[uint32(f.uvarint())]++
			}
		}
	}
	got := map[uint32]uint32{}
	for i := range k.scopes.values {
		if n := k.scopes.values[i].records; n > 0 {
			got[uint32(i)] = n
		}
	}
	if !maps.Equal(want, got) {
		return fmt.Errorf("scopes in common are counted as %v, want %v", got, want)
	}
	return nil
}

// playTable applies steps to a table and to a plain map, and returns how they differ. The
// table may only lack values for which it had no space. What it holds must be what was
// put last.
func playTable(seed uint64, limit int, steps []byte) error {
	codec := NewKeyCodec()
	bytes := testBytes
	if seed%2 == 0 {
		bytes = MinBytes
	}
	table := NewTable(limit, bytes, 64, codec)
	scratch := &Value[Credential]{}
	model, claimed := map[string]*Value[Credential]{}, map[string]bool{}
	r := rand.New(rand.NewPCG(seed, seed))
	for n, step := range steps {
		id := fmt.Sprint("ak_live_", int(step>>3)*(1+r.IntN(1+n/16)))
		switch step & 7 {
		case 0, 1, 2:
			v := keyValue(r, id)
			table.Put(id, v)
			model[id] = v
			delete(claimed, id)
			fits := bytes > MinBytes || len(v.Data.Record.Metadata["team"]) < tooLarge
			if (table.Get(id, nil) != nil) != fits {
				return fmt.Errorf("step %d: %s was put and is not there", n, id)
			}
		case 3:
			had := table.Get(id, nil) != nil
			if dropped := table.Drop(id); dropped != had || table.Get(id, nil) != nil {
				return fmt.Errorf("step %d: %s was there: %v, dropped: %v", n, id, had, dropped)
			}
			delete(model, id)
		case 4:
			version := r.Uint64()
			match := func(v *Value[Credential]) bool { return (v.Version^version)&7 == 0 }
			before := table.Len()
			if dropped := table.DropWhere(match); before-dropped != table.Len() {
				return fmt.Errorf("step %d: %d of %d dropped, %d left", n, dropped, before, table.Len())
			}
			maps.DeleteFunc(model, func(_ string, v *Value[Credential]) bool { return match(v) })
		case 5:
			if v := table.Get(id, nil); v != nil {
				if stale := (&Value[Credential]{Stamp: freshness.Stamp{AsOf: v.AsOf + 1}}); table.Claim(id, stale) {
					return fmt.Errorf("step %d: an older value of %s was claimed", n, id)
				}
				if got := table.Claim(id, v); got == claimed[id] {
					return fmt.Errorf("step %d: claiming %s: %v, claimed before: %v", n, id, got, claimed[id])
				}
				claimed[id] = true
			}
		default:
			for range 3 { // often enough to become hot
				got, want := table.Get(id, scratch), model[id]
				if got == nil {
					continue
				}
				if got.Checked.Swap(1) > 1 {
					return fmt.Errorf("step %d: %s counts as checked", n, id)
				}
				if got == scratch {
					got.Checked.Store(2)
				}
				if want == nil {
					return fmt.Errorf("step %d: %s is there and was dropped", n, id)
				}
				if d := differs(got, want); d != "" {
					return fmt.Errorf("step %d: %s has another %s", n, id, d)
				}
			}
		}
		if bytes > MinBytes && limit > 8*len(steps) && table.Len() != len(model) {
			return fmt.Errorf("step %d: %d records, want %d", n, table.Len(), len(model))
		}
	}
	for id, want := range model {
		if got := table.Get(id, nil); got != nil && differs(got, want) != "" {
			return fmt.Errorf("%s has another %s", id, differs(got, want))
		}
	}
	if err := table.check(); err != nil {
		return err
	}
	if err := codec.check(table); err != nil {
		return err
	}
	table.DropWhere(func(*Value[Credential]) bool { return true })
	if err := table.check(); err != nil {
		return err
	}
	return codec.check(table)
}

func FuzzTable_IsAMap(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, limit := range []uint16{1, 2, 7, 30, 2000, 30_000} {
		steps := make([]byte, 600)
		for i := range steps {
			steps[i] = byte(r.Uint32())
		}
		f.Add(uint64(limit), limit, steps)
	}
	f.Fuzz(func(t *testing.T, seed uint64, limit uint16, steps []byte) {
		if len(steps) > 2000 {
			return
		}
		if err := playTable(seed, int(limit)+1, steps); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTable_OfManyShardsIsAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	steps := make([]byte, 60_000)
	for i := range steps {
		if steps[i] = byte(r.Uint32()); steps[i]&7 == 4 && r.IntN(500) > 0 {
			steps[i]--
		}
	}
	for _, limit := range []int{3000, 600_000} {
		if err := playTable(9, limit, steps); err != nil {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

// TestTable_AReturnedValueDoesNotChange: a value stays as it is while other goroutines
// change the table.
func TestTable_AReturnedValueDoesNotChange(t *testing.T) {
	table := NewTable(512, testBytes, 64, NewKeyCodec())
	values := make([]*Value[Credential], 64)
	for i := range values {
		values[i] = keyValue(rand.New(rand.NewPCG(uint64(i), 1)), "ak_live_0")
	}
	var running sync.WaitGroup
	for worker := range 4 {
		running.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 2))
			for range 5000 {
				n := r.IntN(40)
				id := fmt.Sprint("ak_live_", n)
				switch r.IntN(8) {
				case 0, 1:
					table.Put(id, values[r.IntN(len(values))])
				case 2:
					table.Drop(id)
				case 3:
					if v := table.Get(id, nil); v != nil {
						table.Claim(id, v)
					}
				default:
					if v := table.Get(id, nil); v != nil {
						before := *fingerprint(v)
						table.Put(fmt.Sprint("other_", r.IntN(1000)), values[r.IntN(len(values))])
						if !slices.ContainsFunc(values, func(want *Value[Credential]) bool { return sameValue(v, want) }) || *fingerprint(v) != before {
							t.Errorf("%s is none of the values that were put", id)
							return
						}
					}
				}
			}
		})
	}
	running.Wait()
	if err := table.check(); err != nil {
		t.Error(err)
	}
}

func fingerprint(v *Value[Credential]) *string {
	s := fmt.Sprintf("%+v %+v", v.Data.Record, v.AsOf)
	return &s
}

// sameValue compares a value with one that was put, whose own id does not matter.
func sameValue(got, put *Value[Credential]) bool {
	other := Value[Credential]{Data: put.Data}
	other.Found, other.Shared, other.OutsideLease = put.Found, put.Shared, put.OutsideLease
	other.Version, other.Seq, other.Generation = put.Version, put.Seq, put.Generation
	other.AsOf, other.Expires, other.UsableUntil = put.AsOf, put.Expires, put.UsableUntil
	return got.AsOf == put.AsOf && differs(got, &other) == ""
}

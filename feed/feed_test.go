package feed

import "testing"

func TestSnapshot_CoversWhatIsInTheOther(t *testing.T) {
	for name, c := range map[string]struct {
		s, other Snapshot
		covers   bool
	}{
		"nothing is covered by nothing":              {Snapshot{}, Snapshot{}, true},
		"nothing covers no change":                   {Snapshot{}, Snapshot{Next: 5}, false},
		"the same state":                             {Snapshot{Next: 9, Open: []uint64{4, 7}}, Snapshot{Next: 9, Open: []uint64{4, 7}}, true},
		"an earlier state":                           {Snapshot{Next: 9}, Snapshot{Next: 8}, true},
		"a later state":                              {Snapshot{Next: 8}, Snapshot{Next: 9}, false},
		"a transaction was open here alone":          {Snapshot{Next: 9, Open: []uint64{4}}, Snapshot{Next: 8}, false},
		"a transaction was open there alone":         {Snapshot{Next: 9}, Snapshot{Next: 9, Open: []uint64{4}}, true},
		"one of two transactions was open here only": {Snapshot{Next: 9, Open: []uint64{4, 7}}, Snapshot{Next: 9, Open: []uint64{4}}, false},
		"an open transaction began after the other":  {Snapshot{Next: 9, Open: []uint64{8}}, Snapshot{Next: 8}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.s.Covers(c.other); got != c.covers {
				t.Errorf("%+v covers %+v: %v, want %v", c.s, c.other, got, c.covers)
			}
		})
	}
}

func TestSnapshot_BelowIsTheFirstOpenTransaction(t *testing.T) {
	if got := (Snapshot{Next: 9, Open: []uint64{4, 7}}).Below(); got != 4 {
		t.Errorf("with open transactions: %d, want 4", got)
	}
	if got := (Snapshot{Next: 9}).Below(); got != 9 {
		t.Errorf("without: %d, want 9", got)
	}
}

func TestCursor_IsPartialWhileItHasATarget(t *testing.T) {
	if (Cursor{Seen: Snapshot{Next: 9}}).Partial() {
		t.Error("a cursor without a target is partial")
	}
	if !(Cursor{Target: Snapshot{Next: 9}}).Partial() {
		t.Error("a cursor on the way to a target is not partial")
	}
}

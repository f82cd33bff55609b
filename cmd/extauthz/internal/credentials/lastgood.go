package credentials

import "sync"

// LastGood reads something again and again, and keeps the last good value for when
// it can't be read: files are written one after the other, and are gone for a
// moment. Safe for concurrent use.
type LastGood[T any] struct {
	Read func() (T, error)
	// Changed is called when reading begins to fail, with the error, and when it
	// works again, with nil. It may be nil.
	Changed func(error)

	mu      sync.Mutex
	good    T
	known   bool
	failing bool
}

// Current returns the present value, or the last valid one. The error is for when
// there is none.
func (k *LastGood[T]) Current() (T, error) {
	next, err := k.Read()
	k.mu.Lock()
	defer k.mu.Unlock()
	if failing := err != nil; failing != k.failing {
		k.failing = failing
		if k.Changed != nil {
			k.Changed(err)
		}
	}
	if err == nil {
		k.good, k.known = next, true
	}
	if k.known {
		return k.good, nil
	}
	return k.good, err
}

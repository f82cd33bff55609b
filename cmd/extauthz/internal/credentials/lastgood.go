package credentials

import "sync"

// LastGood reads a value again and again. If it can't be read, LastGood returns the last
// good value, because files that belong together are replaced one after the other and may
// be missing for a moment. Safe for concurrent use.
type LastGood[T any] struct {
	Read func() (T, error)
	// Changed is called with the error when reading begins to fail, and with nil when it
	// works again. It may be nil.
	Changed func(error)

	mu      sync.Mutex
	good    T
	known   bool
	failing bool
}

// Current reads and returns the value, or returns the last good one. It returns an error
// only if no read has ever succeeded.
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

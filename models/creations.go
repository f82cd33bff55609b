package models

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"gorm.io/gorm"

	"extauthz/authz"
)

const (
	creationsAtOnce = 64               // in one transaction, at most
	creationTime    = 10 * time.Second // that writing them may take
)

// errNotWritten is what all get whose transaction ended by a panic.
var errNotWritten = errors.New("the key was not written")

// creation makes keys and depends on nothing that is stored.
type creation struct {
	writing
	answered chan struct{} // closed when after and err stand
	after    []authz.Record
	err      error
}

// creations writes what is created at the same time in one transaction: while
// one waits for the disk, the next ones gather. Who gets the turn writes for all
// that wait. Each is answered after the commit.
type creations struct {
	db      *gorm.DB
	turn    chan struct{} // holds one element while somebody writes
	mu      sync.Mutex
	waiting []*creation // oldest first
}

func newCreations(db *gorm.DB) *creations {
	return &creations{db: db, turn: make(chan struct{}, 1)}
}

// do writes w, alone or with others. Who leaves while it is being written waits
// all the same: only then it is known whether the key is there.
func (c *creations) do(ctx context.Context, w writing) ([]authz.Record, error) {
	own := &creation{writing: w, answered: make(chan struct{}), err: errNotWritten}
	c.mu.Lock()
	c.waiting = append(c.waiting, own)
	c.mu.Unlock()
	for {
		select {
		case <-own.answered:
			return own.after, own.err
		case c.turn <- struct{}{}:
			c.lead(ctx, own)
		case <-ctx.Done():
			if c.withdraw(own) {
				return nil, ctx.Err()
			}
			<-own.answered
		}
	}
}

func (c *creations) withdraw(own *creation) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.waiting, own)
	if i < 0 {
		return false
	}
	c.waiting = slices.Delete(c.waiting, i, i+1)
	return true
}

// lead writes those that wait longest, unless own was written meanwhile, and
// gives the turn back.
func (c *creations) lead(ctx context.Context, own *creation) {
	defer func() { <-c.turn }()
	select {
	case <-own.answered:
		return
	default:
	}
	c.mu.Lock()
	n := min(len(c.waiting), creationsAtOnce)
	some := slices.Clone(c.waiting[:n])
	c.waiting = slices.Delete(c.waiting, 0, n)
	c.mu.Unlock()
	defer func() {
		for _, one := range some {
			close(one.answered)
		}
	}()
	// The others must not fail because the leader's caller went away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), creationTime)
	defer cancel()
	c.write(ctx, some)
}

// write writes them together, and each by itself where that is refused, so that
// none fails because of another one. A commit that failed is not tried again:
// it may have been done.
func (c *creations) write(ctx context.Context, some []*creation) {
	var all writing
	for _, one := range some {
		all.create = append(all.create, one.create...)
		all.order = append(all.order, one.order...)
		all.audit = append(all.audit, one.audit...)
	}
	after, refused, err := all.commit(ctx, c.db)
	if refused && len(some) > 1 {
		for _, one := range some {
			one.after, _, one.err = one.commit(ctx, c.db)
		}
		return
	}
	for _, one := range some {
		one.err = err
		if err == nil {
			n := len(one.order)
			one.after, after = after[:n:n], after[n:]
		}
	}
}

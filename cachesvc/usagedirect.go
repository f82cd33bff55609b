package cachesvc

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"extauthz/authz"
)

// stream makes batches of usage and keeps those of which it is not known that
// they arrived: they are sent again as they are, so that who has them already
// can tell. Not for concurrent use, but for waiting.
type stream struct {
	source  string
	last    uint64 // sequence
	pending []authz.UsageBatch
	waiting atomic.Int64 // uses in pending
}

// send makes batches of what take returns and sends one after the other, those
// first that wait already; it takes nothing while one of them waits.
func (s *stream) send(take func() []authz.Usage, send func(authz.UsageBatch) error) error {
	if err := s.drain(send); err != nil {
		return err
	}
	for usage := range slices.Chunk(take(), usageBatch) {
		s.last++
		b := authz.UsageBatch{Source: s.source, Sequence: s.last, Usage: usage}
		s.pending = append(s.pending, b)
		s.waiting.Add(int64(b.Uses()))
	}
	return s.drain(send)
}

func (s *stream) drain(send func(authz.UsageBatch) error) error {
	for len(s.pending) > 0 {
		if err := send(s.pending[0]); err != nil {
			return err
		}
		s.waiting.Add(-int64(s.pending[0].Uses()))
		s.pending = s.pending[1:]
	}
	s.pending = nil
	return nil
}

// directUsage is the way from the process to the database.
type directUsage struct {
	stream
	sink    UsageSink
	written *atomic.Uint64
}

func (d *directUsage) write(ctx context.Context, take func() []authz.Usage) error {
	err := d.send(take, func(b authz.UsageBatch) error {
		added, err := d.sink.AddUsage(ctx, []authz.UsageBatch{b})
		d.written.Add(added)
		return err
	})
	if err != nil {
		return fmt.Errorf("flushing usage of %d batches: %w", len(d.pending), err)
	}
	return nil
}

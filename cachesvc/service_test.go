package cachesvc

import (
	"context"
	"testing"
	"time"

	"extauthz/cachesvc/internal/cachetest"
	"extauthz/cachesvc/seal"
	"extauthz/feed"
)

// start runs a service on a database until the test ends. In a synctest bubble
// it has read the feed once when start returns.
func start(t testing.TB, c Config) *Service {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return s
}

func run(t testing.TB, s *Service) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	<-s.Ready()
}

// slowRows is a connection on which each row of the feed takes the time row.
type slowRows struct {
	*cachetest.Connection
	row time.Duration
}

func (s slowRows) ReadFeed(ctx context.Context, from feed.Cursor, rows int) (feed.Page, error) {
	page, err := s.Connection.ReadFeed(ctx, from, rows)
	if err == nil {
		err = cachetest.Pause(ctx, time.Duration(len(page.Changes))*s.row)
	}
	return page, err
}

func sealingKey(t testing.TB, fill byte) seal.Key {
	t.Helper()
	raw := make([]byte, seal.MinKeyBytes)
	for i := range raw {
		raw[i] = fill
	}
	key, err := seal.NewKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

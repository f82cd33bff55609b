package server

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/authz"
)

// unpepperedPause is the least time between two log lines about keys that are
// refused for keys.require_pepper.
const unpepperedPause = 10 * time.Second

// unpeppered counts and logs keys that keys.require_pepper refuses. A client learns
// nothing of it, so this is where an operator finds it: either keys from before the
// peppers are in use, or something else writes to the database.
type unpeppered struct {
	log     *slog.Logger
	refused prometheus.Counter
	stored  prometheus.Gauge
	count   func(ctx context.Context, peppers []string) (int64, error)

	warned bool // of stored keys that are refused; of look's goroutine

	mu        sync.Mutex
	next      time.Time // of a log line
	notLogged int
}

func newUnpeppered(r prometheus.Registerer, log *slog.Logger, count func(context.Context, []string) (int64, error)) *unpeppered {
	u := &unpeppered{log: log, count: count,
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "extauthz_unpeppered_refused_total",
			Help: "Checks refused since the key's stored digest was made without a pepper (keys.require_pepper)."}),
		stored: prometheus.NewGauge(prometheus.GaugeOpts{Name: "extauthz_keys_unpeppered",
			Help: "Keys that may be used and whose stored digest was made without one of keys.pepper_files, counted every five minutes; 0 without peppers."})}
	r.MustRegister(u.refused, u.stored)
	return u
}

// record counts a refusal. Safe for concurrent use.
func (u *unpeppered) record(prefix string) {
	u.refused.Inc()
	now := time.Now()
	u.mu.Lock()
	if now.Before(u.next) {
		u.notLogged++
		u.mu.Unlock()
		return
	}
	u.next = now.Add(unpepperedPause)
	notLogged := u.notLogged
	u.notLogged = 0
	u.mu.Unlock()
	attrs := []slog.Attr{slog.String("key", strings.Clone(prefix))}
	if notLogged > 0 {
		attrs = append(attrs, slog.Int("not_logged", notLogged))
	}
	u.log.LogAttrs(context.Background(), slog.LevelWarn, "a key was refused whose digest was made without a pepper (keys.require_pepper): rotate it if it is from before the peppers; otherwise something else has written to the database", attrs...)
}

// countStored counts the stored keys that are refused, or would be, and warns once where
// they are. A count that fails leaves the last one. Not for concurrent use.
func (u *unpeppered) countStored(ctx context.Context, peppers *authz.Peppers) {
	ids := peppers.IDs()
	if len(ids) == 0 {
		u.stored.Set(0)
		return
	}
	n, err := u.count(ctx, ids)
	if err != nil {
		return
	}
	u.stored.Set(float64(n))
	refused := peppers.RejectsOthers() && n > 0
	if refused && !u.warned {
		u.log.WarnContext(ctx, "keys.require_pepper refuses keys that are stored with a digest made without a pepper: rotate them", "keys", n)
	}
	u.warned = refused
}

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

// unpepperedPause is the least time between two log lines about keys that
// keys.require_pepper refuses.
const unpepperedPause = 10 * time.Second

// unpeppered counts and logs keys that keys.require_pepper refuses. Clients do not learn
// this reason, so operators find it here: either keys from before the peppers are still
// in use, or another program writes to the database.
type unpeppered struct {
	log     *slog.Logger
	refused prometheus.Counter
	stored  prometheus.Gauge
	count   func(ctx context.Context, peppers []string) (int64, error)

	warned bool // whether the refused stored keys were logged; only countStored uses it

	mu        sync.Mutex
	next      time.Time // when the next line may be logged
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

// countStored counts the stored keys that keys.require_pepper refuses, or would refuse.
// It logs a warning once if there are refused ones. If a count fails, the last figure
// stays. Not for concurrent use.
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

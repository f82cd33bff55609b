package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"extauthz/authz"
	"extauthz/authz/keyring"
	"extauthz/cmd/extauthz/internal/config"
)

const (
	// firstPurge is how long after the start the first run comes, if the interval
	// is not shorter.
	firstPurge = time.Minute
	// deletionsRemembered is how many deleted keys every replica may have to remember at
	// once: a deletion is a change like any other, known for as long as the change feed
	// is kept.
	deletionsRemembered = 100_000
)

// retention deletes rows that have no more use, by itself and when it is asked.
type retention struct {
	settings *config.Config
	instance string
	delete   func(context.Context, authz.Purge) (authz.Purged, error)
	format   *authz.KeyFormat
	log      *slog.Logger
	pace     *deletionPace
	rows     *prometheus.CounterVec
	runs     *prometheus.CounterVec
}

var _ keyring.Purger = (*retention)(nil)

func newRetention(r prometheus.Registerer, c *config.Config, instance string, format *authz.KeyFormat, log *slog.Logger, purge func(context.Context, authz.Purge) (authz.Purged, error)) *retention {
	t := &retention{settings: c, instance: instance, delete: purge, format: format, log: log,
		pace: &deletionPace{each: c.Cache.Feed.Retention / deletionsRemembered},
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "extauthz_retention_deleted_total",
			Help: "Rows deleted since they had no more use, by kind: revoked_key, expired_key, audit_entry, idempotency_key, usage."}, []string{"kind"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "extauthz_retention_runs_total",
			Help: "Runs that delete rows which have no more use, by result: ok or failed. A replica that is not in charge counts its runs too."}, []string{"result"})}
	r.MustRegister(t.rows, t.runs)
	for _, result := range []string{"ok", "failed"} {
		t.runs.WithLabelValues(result)
	}
	return t
}

// Configured is what the settings delete.
func (t *retention) Configured() authz.Purge { return t.settings.Retention.Purge() }

// Purge deletes, at this replica's pace, and counts.
func (t *retention) Purge(ctx context.Context, p authz.Purge) (authz.Purged, error) {
	var err error
	if p.Keep, err = t.filedPrefixes(); err != nil {
		return authz.Purged{}, err
	}
	p.Pace = t.pace
	purged, err := t.delete(ctx, p)
	if !p.DryRun {
		for kind, n := range map[string]int64{"revoked_key": purged.RevokedKeys, "expired_key": purged.ExpiredKeys,
			"audit_entry": purged.AuditEntries, "idempotency_key": purged.IdempotencyKeys, "usage": purged.Usage} {
			t.rows.WithLabelValues(kind).Add(float64(n))
		}
	}
	return purged, err
}

// filedPrefixes are the prefixes of keys that files name: at a start without an
// administrator such a key would be made again if its row were gone.
func (t *retention) filedPrefixes() (prefixes []string, err error) {
	given, err := t.settings.BootstrapKey()
	if err != nil {
		return nil, fmt.Errorf("nothing is deleted: %w", err)
	}
	left, err := readKey(filepath.Join(t.settings.DataDir, AdminKeyFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("nothing is deleted: the first administrator's key can't be read: %w", err)
	}
	for _, key := range []authz.Secret{given, left} {
		if parsed, ok := t.format.Parse(key); ok {
			prefixes = append(prefixes, parsed.Prefix)
		}
	}
	return prefixes, nil
}

// run deletes what the settings say, now and then, until ctx ends.
func (t *retention) run(ctx context.Context) error {
	if c := t.Configured(); c.RevokedKeys+c.ExpiredKeys+c.AuditEntries+c.IdempotencyKeys+c.Usage == 0 {
		return nil
	}
	every := t.settings.Retention.Interval
	for next := time.NewTimer(min(firstPurge, every)); ; next.Reset(every) {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
			t.once(ctx)
		}
	}
}

// once is one run. It logs one line if anything was deleted, and one if it failed;
// rows that were deleted before stay deleted, and the next run continues.
func (t *retention) once(ctx context.Context) {
	began, p := time.Now(), t.Configured()
	p.Instance, p.By = t.instance, authz.AuditEntry{Actor: "retention"}
	purged, err := t.Purge(ctx, p)
	if purged.Total() > 0 {
		t.log.InfoContext(ctx, "rows that have no more use were deleted", "revoked_keys", purged.RevokedKeys, "expired_keys", purged.ExpiredKeys,
			"audit_entries", purged.AuditEntries, "idempotency_keys", purged.IdempotencyKeys, "usage", purged.Usage, "took", time.Since(began).Round(time.Millisecond).String())
	}
	switch {
	case err == nil:
		t.runs.WithLabelValues("ok").Inc()
	case ctx.Err() == nil:
		t.runs.WithLabelValues("failed").Inc()
		t.log.WarnContext(ctx, "rows that have no more use can't be deleted; the next run tries again", "error", err)
	}
}

// deletionPace is a rate of deleted keys. Safe for concurrent use.
type deletionPace struct {
	each time.Duration // for one key

	mu   sync.Mutex
	next time.Time // when more may be deleted
}

// Deleted takes in how many keys were deleted just now.
func (p *deletionPace) Deleted(keys int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(keys) * p.each)
}

// Wait returns when more may be deleted, or ctx's error.
func (p *deletionPace) Wait(ctx context.Context) error {
	p.mu.Lock()
	wait := time.Until(p.next)
	p.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

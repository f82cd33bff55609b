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
	// firstPurge is the time from the start to the first run, unless the interval is
	// shorter.
	firstPurge = time.Minute
	// deletionsRemembered limits how many deleted keys every replica may have to remember
	// at once. A deletion is a change like any other, and is remembered as long as the
	// change feed keeps it.
	deletionsRemembered = 100_000
)

// retention deletes rows that are no longer needed, by itself and on request.
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

// Configured returns what the settings delete.
func (t *retention) Configured() authz.Purge { return t.settings.Retention.Purge() }

// Purge deletes rows at this replica's pace, and counts them in the metrics.
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

// filedPrefixes returns the prefixes of keys in files. If the row of such a key were
// deleted, a start without an administrator would create the key again.
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

// run deletes, in regular runs, what the settings say, until ctx ends.
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

// once makes one run. It logs one line if it deleted rows, and one if it failed. After a
// failure the rows that it has deleted stay deleted, and the next run continues.
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

// deletionPace limits the rate of deleted keys. Safe for concurrent use.
type deletionPace struct {
	each time.Duration // time for each key

	mu   sync.Mutex
	next time.Time // when the next keys may be deleted
}

// Deleted records that keys were just deleted.
func (p *deletionPace) Deleted(keys int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(keys) * p.each)
}

// Wait waits until more keys may be deleted. It returns ctx's error if that ends first.
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

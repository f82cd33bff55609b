package models

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"extauthz/authz"
)

const (
	// purgeLock is the advisory lock that lets only one transaction at a time purge, in
	// Postgres.
	purgeLock = 0x65787470757267
	// maxPurgePause is the longest pause after a page; otherwise it is as long as the
	// page took.
	maxPurgePause = time.Second
	// purgeClockError is how far the database's clock and this machine's may be
	// apart. With a clock that is ahead, valid keys would look expired.
	purgeClockError = 10 * time.Minute
)

// auditPurge is the action of the audit entry of a purge.
const auditPurge = "purge"

// errNotInCharge ends a purge that belongs to another replica.
var errNotInCharge = errors.New("another replica purges")

// purgeSizes bounds what one statement reads and one transaction deletes: so little that
// no other transaction waits for long.
type purgeSizes struct {
	page     int // rows that one statement examines
	batch    int // rows that one transaction deletes
	keys     int // keys that one transaction deletes
	families int // rotation families from which one transaction deletes keys
}

// purge is one call of [DB.Purge].
type purge struct {
	*DB
	authz.Purge
	size   purgeSizes
	purged authz.Purged
	ends   time.Time // zero: no budget
}

func newPurge(db *DB, p authz.Purge) *purge {
	c := &purge{DB: db, Purge: p, size: purgeSizes{page: 5000, batch: 1000, keys: 500, families: 100}}
	if p.Budget > 0 {
		c.ends = time.Now().Add(p.Budget)
	}
	return c
}

// Purge deletes what p covers: idempotency keys, usage without a key, audit entries, and
// keys last. It works in transactions of few rows, with pauses between them, so that no
// writer waits long. Each transaction that deletes keys or audit entries writes an audit
// entry of its own. Counts that are returned with an error are of rows that were deleted.
//
// A rotation family stays as a whole while any of its keys has not ended long enough ago,
// has scopes on the reserved resource, is in p.Keep, has a column that can't be read, or
// is named as predecessor by a key of another family.
func (db *DB) Purge(ctx context.Context, p authz.Purge) (authz.Purged, error) {
	return newPurge(db, p).do(ctx)
}

func (c *purge) do(ctx context.Context) (authz.Purged, error) {
	err := c.run(ctx)
	if errors.Is(err, errNotInCharge) {
		err = nil
	}
	if !c.purged.More {
		c.purged.After = ""
	}
	if err != nil {
		return c.purged, fmt.Errorf("purge: %w", oneLine(err))
	}
	return c.purged, nil
}

func (c *purge) run(ctx context.Context) (err error) {
	if err := c.inCharge(c.read.WithContext(ctx)); err != nil {
		return err
	}
	if c.purged.At, err = c.Now(ctx); err != nil {
		return err
	}
	if err := sameTime(c.purged.At, time.Now()); err != nil {
		return err
	}
	if c.After == "" {
		for _, step := range []func(context.Context) error{c.idempotencyKeys, c.orphanedUsage, c.auditEntries} {
			if err := step(ctx); err != nil || c.purged.More {
				return err
			}
		}
	}
	return c.keys(ctx)
}

// sameTime refuses a database's time that is far from this machine's.
func sameTime(database, here time.Time) error {
	if off := database.Sub(here).Abs(); off > purgeClockError {
		return fmt.Errorf("the clocks of the database and of this machine differ by %v: nothing is deleted, since valid keys could look expired: set them right", off.Round(time.Second))
	}
	return nil
}

// before returns the cut-off for rows that are kept for this long: older ones are
// deleted.
func (c *purge) before(kept time.Duration) time.Time { return instant(c.purged.At.Add(-kept)) }

// late reports whether the time budget is used up, and records it in purged.More.
func (c *purge) late() bool {
	c.purged.More = !c.ends.IsZero() && time.Now().After(c.ends)
	return c.purged.More
}

// inTransaction runs do in a transaction, while no other transaction purges, and only if
// this replica is still in charge.
func (c *purge) inTransaction(ctx context.Context, do func(tx *gorm.DB) error) error {
	return c.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if c.driver == SQLite {
			return do(tx)
		}
		if err := tx.Exec("SELECT pg_advisory_xact_lock(?::bigint)", purgeLock).Error; err != nil {
			return err
		}
		if err := c.inCharge(tx); err != nil {
			return err
		}
		return do(tx)
	})
}

// inCharge returns errNotInCharge unless an operator requested the purge, or this
// replica is the first of the living ones.
func (c *purge) inCharge(q *gorm.DB) error {
	if c.Instance == "" || c.driver == SQLite {
		return nil
	}
	var others int64
	err := q.Raw("SELECT count(*) FROM replicas WHERE instance < ? AND at >= clock_timestamp() - make_interval(secs => ?)",
		c.Instance, ReplicaTerm.Seconds()).Row().Scan(&others)
	if err == nil && others > 0 {
		err = errNotInCharge
	}
	return err
}

// idempotencyKeys deletes old rows of idempotency_keys.
func (c *purge) idempotencyKeys(ctx context.Context) error {
	if c.IdempotencyKeys == 0 {
		return nil
	}
	before, last := c.before(c.IdempotencyKeys), idempotencyRow{}
	for !c.late() {
		var rows []idempotencyRow
		if err := c.read.WithContext(ctx).Select("principal", "key").Where("(principal, key) > (?, ?) AND at < ?", last.Principal, last.Key, before).
			Order("principal, key").Limit(c.size.batch).Find(&rows).Error; err != nil || len(rows) == 0 {
			return err
		}
		last = rows[len(rows)-1]
		if c.DryRun {
			c.purged.IdempotencyKeys += int64(len(rows))
			continue
		}
		keys := make([][]any, len(rows))
		for i, r := range rows {
			keys[i] = []any{r.Principal, r.Key}
		}
		var n int64
		if err := c.inTransaction(ctx, func(tx *gorm.DB) error {
			res := tx.Where("(principal, key) IN ? AND at < ?", keys, before).Delete(&idempotencyRow{})
			n = res.RowsAffected
			return res.Error
		}); err != nil {
			return err
		}
		c.purged.IdempotencyKeys += n
	}
	return nil
}

const orphaned = "last_used_at < ? AND NOT EXISTS (SELECT 1 FROM api_keys k WHERE k.id = key_usage.key_id)"

// orphanedUsage deletes usage whose key does not exist: the key was deleted by hand, or
// the usage was written after the key had been purged.
func (c *purge) orphanedUsage(ctx context.Context) error {
	if c.Purge.Usage == 0 {
		return nil
	}
	before := c.before(c.Purge.Usage)
	return c.pages(ctx, "key_usage", "key_id", "", func(from, to string) error {
		ids, err := c.pageIDs(ctx, "key_usage", "key_id", from, to, orphaned, before)
		if err != nil {
			return err
		}
		return c.deleteSome(ctx, ids, &c.purged.Usage, func(tx *gorm.DB, some []string) (int64, error) {
			res := tx.Where("key_id IN ? AND "+orphaned, some, before).Delete(&usageRow{})
			return res.RowsAffected, res.Error
		})
	})
}

// auditEntries deletes old rows of audit_log. If entries are chained one day, this is
// the place to leave a checkpoint.
func (c *purge) auditEntries(ctx context.Context) error {
	if c.AuditEntries == 0 {
		return nil
	}
	before := c.before(c.AuditEntries)
	return c.pages(ctx, "audit_log", "id", "", func(from, to string) error {
		ids, err := c.pageIDs(ctx, "audit_log", "id", from, to, "at < ?", before)
		if err != nil {
			return err
		}
		return c.deleteSome(ctx, ids, &c.purged.AuditEntries, func(tx *gorm.DB, some []string) (int64, error) {
			res := tx.Where("id IN ? AND at < ?", some, before).Delete(&auditRow{})
			if res.Error != nil || res.RowsAffected == 0 {
				return 0, res.Error
			}
			return res.RowsAffected, c.audit(tx, map[string]string{"audit_entries": strconv.FormatInt(res.RowsAffected, 10), "written_before": before.Format(time.RFC3339)})
		})
	})
}

// deleteSome deletes rows by their ids, some in each transaction, and counts them.
func (c *purge) deleteSome(ctx context.Context, ids []string, count *int64, do func(tx *gorm.DB, some []string) (int64, error)) error {
	if c.DryRun {
		*count += int64(len(ids))
		return nil
	}
	for len(ids) > 0 {
		some := ids[:min(len(ids), c.size.batch)]
		ids = ids[len(some):]
		var n int64
		if err := c.inTransaction(ctx, func(tx *gorm.DB) (err error) {
			n, err = do(tx, some)
			return err
		}); err != nil {
			return err
		}
		*count += n
	}
	return nil
}

// pages calls do for one part of a table after the other: the rows whose column is
// greater than from and at most to. If to is "", they are all that are left. After each
// part it pauses for as long as the part took, at most maxPurgePause. It ends early when
// the budget is used up.
func (c *purge) pages(ctx context.Context, table, column, from string, do func(from, to string) error) error {
	for !c.late() {
		began := time.Now()
		var ends []string
		if err := c.read.WithContext(ctx).Table(table).Where(column+" > ?", from).Order(column).Offset(c.size.page-1).Limit(1).Pluck(column, &ends).Error; err != nil {
			return err
		}
		to := ""
		if len(ends) > 0 {
			to = ends[0]
		}
		if err := do(from, to); err != nil || to == "" {
			return err
		}
		from = to
		if err := pause(ctx, min(time.Since(began), maxPurgePause)); err != nil {
			return err
		}
	}
	return nil
}

// page selects the part of a table that [purge.pages] passes to its do.
func (c *purge) page(ctx context.Context, table, column, from, to string) *gorm.DB {
	q := c.read.WithContext(ctx).Table(table).Where(table+"."+column+" > ?", from)
	if to != "" {
		q = q.Where(table+"."+column+" <= ?", to)
	}
	return q
}

func (c *purge) pageIDs(ctx context.Context, table, column, from, to, where string, arg any) (ids []string, err error) {
	err = c.page(ctx, table, column, from, to).Where(where, arg).Order(column).Pluck(column, &ids).Error
	return ids, err
}

// audit writes an audit entry about deleted rows, in the transaction that deletes them.
func (c *purge) audit(tx *gorm.DB, detail map[string]string) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	e := c.By
	e.ID, e.At, e.Action, e.Detail = id.String(), c.purged.At, auditPurge, detail
	return insertAudit(tx, auditRows([]authz.AuditEntry{e}))
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

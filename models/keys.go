package models

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"extauthz/authz"
	"extauthz/authz/subject"
)

// KeyByPrefix finds a key and its verifier, by one indexed query.
func (db *DB) KeyByPrefix(ctx context.Context, prefix string) (authz.Record, authz.Verifier, error) {
	row, err := db.one(ctx, "key_prefix = ?", prefix)
	if err != nil {
		return authz.Record{}, authz.Verifier{}, err
	}
	rec, err := row.record()
	var v authz.Verifier
	if err == nil {
		v, err = row.verifier()
	}
	if err != nil {
		db.unreadable.Store(true)
		return authz.Record{}, authz.Verifier{}, err
	}
	return rec, v, nil
}

// MetUnreadable reports whether a look-up met a row that can't be read since the last call.
func (db *DB) MetUnreadable() bool { return db.unreadable.Swap(false) }

// KeysByPrefixes calls yield with each key that has one of the prefixes, in any order. An
// error from yield ends it. Rows that can't be read are left out and reported at the end,
// so that one of them does not prevent reading the others.
func (db *DB) KeysByPrefixes(ctx context.Context, prefixes []string, yield func(authz.Record, authz.Verifier) error) error {
	var unreadable []error
	for some := range slices.Chunk(prefixes, rowsAtOnce) {
		var rows []keyRow
		if err := db.read.WithContext(ctx).Where("key_prefix IN ?", some).Find(&rows).Error; err != nil {
			return err
		}
		for i := range rows {
			rec, err := rows[i].record()
			var v authz.Verifier
			if err == nil {
				v, err = rows[i].verifier()
			}
			if err != nil {
				unreadable = append(unreadable, err)
				continue
			}
			if err := yield(rec, v); err != nil {
				return err
			}
		}
	}
	return errors.Join(unreadable...)
}

// warmAtOnce is how many keys one statement of [DB.MostUsed] returns. Fewer would mean
// more statements, each of which waits on a busy machine. More would take more memory:
// with all the metadata that keys may have, these are 70 MB already.
const warmAtOnce = 2000

// MostUsed calls yield with up to limit active keys: first the used ones, the most used
// first, then the others, the newest first. An error from yield ends it. Rows that can't
// be read are left out.
func (db *DB) MostUsed(ctx context.Context, limit int, yield func(authz.Record, authz.Verifier) error) error {
	active := db.read.WithContext(ctx).Model(&keyRow{}).Where("is_active AND revoked_at IS NULL").Session(&gorm.Session{})
	// Only ids are read and sorted first, so that sorting needs little memory.
	var ids []string
	if err := active.Joins("JOIN key_usage u ON u.key_id = api_keys.id").Order("u.count DESC, api_keys.id DESC").Limit(limit).Pluck("api_keys.id", &ids).Error; err != nil {
		return fmt.Errorf("the most used keys can't be read: %w", err)
	}
	for some := range slices.Chunk(ids, warmAtOnce) {
		var rows []keyRow
		if err := db.read.WithContext(ctx).Where("id IN ?", some).Find(&rows).Error; err != nil {
			return fmt.Errorf("the most used keys can't be read: %w", err)
		}
		place := make(map[string]int, len(some))
		for i, id := range some {
			place[id] = i
		}
		slices.SortFunc(rows, func(a, b keyRow) int { return place[a.ID] - place[b.ID] })
		if err := yieldReadable(rows, yield); err != nil {
			return err
		}
	}
	// The others follow page by page, so that no statement takes long.
	unused := active.Where("NOT EXISTS (SELECT 1 FROM key_usage u WHERE u.key_id = api_keys.id)").Order("id DESC").Session(&gorm.Session{})
	page := unused
	for left := limit - len(ids); left > 0; {
		var rows []keyRow
		if err := page.Limit(min(left, warmAtOnce)).Find(&rows).Error; err != nil {
			return fmt.Errorf("the most used keys can't be read: %w", err)
		}
		if len(rows) == 0 {
			return nil
		}
		if err := yieldReadable(rows, yield); err != nil {
			return err
		}
		left -= len(rows)
		page = unused.Where("id < ?", rows[len(rows)-1].ID)
	}
	return nil
}

// yieldReadable calls yield with each row, and leaves out rows that can't be read.
func yieldReadable(rows []keyRow, yield func(authz.Record, authz.Verifier) error) error {
	for i := range rows {
		rec, err := rows[i].record()
		if err != nil {
			continue
		}
		v, err := rows[i].verifier()
		if err != nil {
			continue
		}
		if err := yield(rec, v); err != nil {
			return err
		}
	}
	return nil
}

// prefixesAtOnce is how many prefixes one statement of [DB.Prefixes] returns.
const prefixesAtOnce = 10_000

// Prefixes calls yield with the prefix of every key. An error from yield ends it. The
// prefixes are not of one snapshot. A caller that takes a feed cursor first, and then
// reads the feed from there, misses no change.
func (db *DB) Prefixes(ctx context.Context, yield func(prefix string) error) error {
	next, order := "key_prefix > ?", "key_prefix"
	if db.driver == Postgres { // in the order of its index: by bytes
		next, order = "key_prefix ~>~ ?", "key_prefix USING ~<~"
	}
	for last := ""; ; {
		var some []string
		err := db.read.WithContext(ctx).Model(&keyRow{}).Where(next, last).Order(order).Limit(prefixesAtOnce).Pluck("key_prefix", &some).Error
		if err != nil {
			return err
		}
		for _, p := range some {
			if err := yield(p); err != nil {
				return err
			}
		}
		if len(some) < prefixesAtOnce {
			return nil
		}
		last = some[len(some)-1]
	}
}

// KeyByRef finds a key by its id or its prefix, even if its row can't be read.
func (db *DB) KeyByRef(ctx context.Context, ref string) (authz.Record, error) {
	row, err := db.one(ctx, "id = ? OR key_prefix = ?", ref, ref)
	if err != nil {
		return authz.Record{}, err
	}
	return row.listed(), nil
}

func (db *DB) one(ctx context.Context, where, ref string, more ...any) (*keyRow, error) {
	if !storable(ref) {
		return nil, fmt.Errorf("key: %w", authz.ErrNotFound)
	}
	var row keyRow
	err := db.read.WithContext(ctx).Where(where, append([]any{ref}, more...)...).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, fmt.Errorf("key: %w", authz.ErrNotFound)
	}
	return &row, err
}

// ListKeys returns keys newest first: ids are UUIDv7, which sort by time. With f.After,
// the page begins with the next older key. With f.Text, the keys come in another order:
// see [DB.search].
func (db *DB) ListKeys(ctx context.Context, f authz.KeyFilter) ([]authz.Listed, error) {
	if err := checkPage(f.Limit, append([]string{f.UserID, f.Project, f.Text, f.After}, f.Projects...)...); err != nil {
		return nil, err
	}
	q := db.read.WithContext(ctx)
	if f.UserID != "" {
		q = q.Where("user_id IN ?", subject.Forms(f.UserID))
	}
	if f.Project != "" {
		q = q.Where("project = ?", f.Project)
	}
	if f.Projects != nil {
		q = q.Where("project IN ?", f.Projects)
	}
	if f.ActiveOnly {
		q = q.Where("is_active AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)", f.Now.UTC())
	}
	if !f.UnusedSince.IsZero() {
		since := f.UnusedSince.UTC()
		q = q.Where("created_at < ? AND NOT EXISTS (SELECT 1 FROM key_usage u WHERE u.key_id = api_keys.id AND u.last_used_at >= ?)", since, since)
	}
	rows, err := db.listRows(q, f)
	if err != nil {
		return nil, err
	}
	out := make([]authz.Listed, len(rows))
	ids := make([]string, len(rows))
	for i := range rows {
		out[i], ids[i] = authz.Listed{Record: rows[i].listed()}, rows[i].ID
	}
	if !f.WithUsage {
		return out, nil
	}
	usage, err := db.Usage(ctx, ids)
	if err != nil {
		return nil, err
	}
	byID := map[string]authz.Usage{}
	for _, u := range usage {
		byID[u.KeyID] = u
	}
	for i := range out {
		u := byID[out[i].ID]
		u.KeyID = out[i].ID
		out[i].Usage = &u
	}
	return out, nil
}

func (db *DB) listRows(q *gorm.DB, f authz.KeyFilter) (rows []keyRow, err error) {
	if f.Text != "" {
		return db.search(q, f)
	}
	if f.After != "" {
		q = q.Where("id < ?", f.After)
	}
	err = q.Order("id DESC").Limit(f.Limit).Find(&rows).Error
	return rows, err
}

// checkPage refuses page sizes outside of 1 to 1000, and filters that no stored text can
// match.
func checkPage(limit int, filters ...string) error {
	if limit < 1 || limit > 1000 {
		return fmt.Errorf("a page of %d was asked for: ask for 1 to 1000", limit)
	}
	if !storable(filters...) {
		return fmt.Errorf("filter: %w", errUnstorable)
	}
	return nil
}

// CountUnpeppered counts the keys that are not revoked and whose digest was made without
// any of these peppers, given by their ids.
func (db *DB) CountUnpeppered(ctx context.Context, peppers []string) (n int64, err error) {
	err = db.read.WithContext(ctx).Model(&keyRow{}).
		Where("revoked_at IS NULL AND NOT (hash_alg = ? AND pepper_id IN ?)", string(authz.HashHMACSHA256), append([]string{""}, peppers...)).Count(&n).Error
	return n, err
}

// CountKeys counts keys by state at now: "active", "revoked", "disabled",
// "expired".
func (db *DB) CountKeys(ctx context.Context, now time.Time) (map[string]int64, error) {
	var rows []struct {
		State string
		N     int64
	}
	err := db.read.WithContext(ctx).Raw(`SELECT CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN NOT is_active THEN 'disabled'
		WHEN expires_at <= ? THEN 'expired' ELSE 'active' END AS state, count(*) AS n FROM api_keys GROUP BY 1`, now.UTC()).Scan(&rows).Error
	out := map[string]int64{}
	for _, r := range rows {
		out[r.State] = r.N
	}
	return out, err
}

package models

import (
	"context"
	"fmt"
	"time"

	"extauthz/authz"
)

// maxPeppers bounds how many pepper ids are returned.
const maxPeppers = 10

// KeysByMissingPepper counts the keys that are neither revoked nor expired at now, but
// whose pepper is none of ids. It returns the counts for the ten most frequent pepper
// ids. It reads the whole table.
func (db *DB) KeysByMissingPepper(ctx context.Context, ids []string, now time.Time) (map[string]int64, error) {
	var rows []struct {
		PepperID string
		N        int64
	}
	err := db.read.WithContext(ctx).Model(&keyRow{}).Select("pepper_id, count(*) AS n").
		Where("revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?) AND hash_alg = ? AND pepper_id NOT IN ?", now.UTC(), string(authz.HashHMACSHA256), append([]string{""}, ids...)).
		Group("pepper_id").Order("n DESC, pepper_id").Limit(maxPeppers).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("keys can't be counted by their peppers: %w", err)
	}
	counts := make(map[string]int64, len(rows))
	for _, r := range rows {
		counts[r.PepperID] = r.N
	}
	return counts, nil
}

// inspectPage is how many rows one statement of [DB.UnreadableKeys] returns. The pause
// after a page is inspectShare times as long as the page took: reading a million rows is
// some ten seconds of work, which must not slow down checks.
const (
	inspectPage  = 500
	inspectShare = 19
)

// UnreadableKeys counts the keys that are not revoked and whose row can't be read, and
// returns the error of the first. It reads the whole table, page by page. If unhurried,
// it pauses after each page for inspectShare times as long as the page took.
func (db *DB) UnreadableKeys(ctx context.Context, unhurried bool) (n int, first error, err error) {
	for last := ""; ; {
		start := time.Now()
		var rows []keyRow
		if err := db.read.WithContext(ctx).Where("id > ?", last).Order("id").Limit(inspectPage).Find(&rows).Error; err != nil {
			return n, first, fmt.Errorf("rows of keys can't be inspected: %w", err)
		}
		for i := range rows {
			_, err := rows[i].record()
			if err == nil {
				_, err = rows[i].verifier()
			}
			if err == nil || rows[i].RevokedAt != nil { // a revocation that can't be read revokes nothing
				continue
			}
			if n++; first == nil {
				first = err
			}
		}
		if len(rows) < inspectPage {
			return n, first, nil
		}
		last = rows[len(rows)-1].ID
		if !unhurried {
			continue
		}
		select {
		case <-ctx.Done():
			return n, first, ctx.Err()
		case <-time.After(inspectShare * time.Since(start)):
		}
	}
}

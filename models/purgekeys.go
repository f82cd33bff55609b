package models

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"extauthz/authz"
)

// forUpdateSkipLocked locks the rows that no other transaction has locked, and leaves out
// the others.
var forUpdateSkipLocked = clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"}

// endedKey holds the columns of a row of api_keys that decide whether the key may be
// deleted.
type endedKey struct {
	id, prefix, family string
	scopes             string
	expires, revoked   lenientTime
}

const endedColumns = "id, key_prefix, family, scopes, expires_at, revoked_at"

// lenientTime is a column with a time that a person may have written in an invalid form.
// Such a value is marked as unclear. It is not an error, which would keep the other rows
// from being read.
type lenientTime struct {
	time    time.Time // zero for NULL
	unclear bool
}

// Scan accepts whatever the driver returns for the column.
func (t *lenientTime) Scan(value any) error {
	*t = lenientTime{}
	switch v := value.(type) {
	case nil:
	case time.Time:
		t.time, t.unclear = v.UTC(), v.Year() < 2000 // 0, or a year alone, is read as seconds since 1970
	default:
		t.unclear = true
	}
	return nil
}

// group identifies the rotation family. A key without a family is a group of its own.
func (k *endedKey) group() string {
	if k.family != "" {
		return k.family
	}
	return k.id
}

// ended reports whether the key ended long enough ago, and whether it was revoked. A
// revoked key is judged by its revocation only, whenever it expires.
func (c *purge) ended(k *endedKey) (revoked, ended bool) {
	at, kept := k.expires.time, c.ExpiredKeys
	if revoked = !k.revoked.time.IsZero(); revoked {
		at, kept = k.revoked.time, c.RevokedKeys
	}
	return revoked, kept > 0 && !at.IsZero() && !k.expires.unclear && !k.revoked.unclear && at.Before(c.before(kept))
}

// protected reports whether a key stays whatever its state is. It is true for a key that
// has, or may have, scopes on the reserved resource: by such keys, releases before there
// were administrators decide whether a start makes one. It is also true for a key that a
// file names, since it would be made again from that file.
func (c *purge) protected(k *endedKey) bool {
	return strings.Contains(k.scopes, `"`+authz.ReservedResource) || strings.Contains(k.scopes, `\`) || slices.Contains(c.Keep, k.prefix)
}

// keys deletes ended keys, by whole rotation families.
func (c *purge) keys(ctx context.Context) error {
	if c.RevokedKeys == 0 && c.ExpiredKeys == 0 {
		return nil
	}
	referred, err := c.referred(ctx)
	if err != nil {
		return err
	}
	return c.pages(ctx, "api_keys", "id", c.After, func(from, to string) error {
		c.purged.After = from
		candidates, err := c.candidates(ctx, from, to)
		if err != nil {
			return err
		}
		for some := range slices.Chunk(candidates, c.size.families) {
			if done, err := c.wholly(ctx, some, referred); err != nil || !done {
				return err
			}
			c.purged.After = some[len(some)-1].id
		}
		if to != "" {
			c.purged.After = to
		}
		return nil
	})
}

// wholly deletes all of the candidates' families that can be deleted. done is false if
// the budget was used up before that. A table of another program may refer to api_keys by
// a foreign key. The families that it refers to stay, but don't keep others from being
// deleted.
func (c *purge) wholly(ctx context.Context, candidates []endedKey, referred map[string]bool) (done bool, err error) {
	for rest := true; rest; {
		if err := c.pace(ctx); err != nil || c.late() {
			return false, err
		}
		rest, err = c.families(ctx, candidates, referred)
		switch {
		case err == nil:
		case !errors.Is(err, gorm.ErrForeignKeyViolated):
			return false, err
		case len(candidates) == 1:
			return true, nil
		default:
			for one := range slices.Chunk(candidates, 1) {
				if done, err := c.wholly(ctx, one, referred); err != nil || !done {
					return false, err
				}
			}
			return true, nil
		}
	}
	return true, nil
}

// pace waits until more keys may be deleted, or the budget is used up.
func (c *purge) pace(ctx context.Context) error {
	if c.Pace == nil || c.DryRun {
		return nil
	}
	limited := ctx
	if !c.ends.IsZero() {
		var cancel context.CancelFunc
		limited, cancel = context.WithDeadline(ctx, c.ends)
		defer cancel()
	}
	if err := c.Pace.Wait(limited); limited.Err() == nil || ctx.Err() != nil {
		return err
	}
	return nil // the budget is used up; the caller calls late
}

// referred returns the ids of the keys that a key of another family names as its
// predecessor. Only hand-written SQL and migration 14 make such keys. No index finds them, so one
// statement reads the whole table.
func (c *purge) referred(ctx context.Context) (map[string]bool, error) {
	var ids []string
	err := c.read.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if c.driver == Postgres {
			if err := tx.Exec("SET LOCAL statement_timeout = 0").Error; err != nil {
				return err
			}
		}
		return tx.Raw(`SELECT k.id FROM api_keys m JOIN api_keys k ON k.id = m.rotated_from WHERE m.rotated_from <> '' AND k.family <> m.family
			UNION ALL SELECT k.id FROM administrators a JOIN api_keys k ON k.family = a.family WHERE a.family <> ''`).Scan(&ids).Error
	})
	found := make(map[string]bool, len(ids))
	for _, id := range ids {
		found[id] = true
	}
	return found, err
}

// candidates returns the keys of a page that ended long enough ago and are not protected.
func (c *purge) candidates(ctx context.Context, from, to string) (found []endedKey, err error) {
	keys, err := readEnded(c.page(ctx, "api_keys", "id", from, to).Where("revoked_at IS NOT NULL OR expires_at IS NOT NULL").Order("id"))
	if err != nil {
		return nil, err
	}
	for i := range keys {
		if _, ended := c.ended(&keys[i]); ended && !c.protected(&keys[i]) {
			found = append(found, keys[i])
		}
	}
	return found, nil
}

func readEnded(q *gorm.DB) (keys []endedKey, err error) {
	rows, err := q.Select(endedColumns).Rows()
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var k endedKey
		if err := rows.Scan(&k.id, &k.prefix, &k.family, &k.scopes, &k.expires, &k.revoked); err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, rows.Err()
}

// families deletes those of the candidates' families of which every member has ended. It
// deletes a family only if the member with the lowest id is among the candidates, so that
// none is counted twice. rest reports that these families have more keys than one
// transaction deletes.
func (c *purge) families(ctx context.Context, candidates []endedKey, referred map[string]bool) (rest bool, err error) {
	var ended endedKeys
	var usage int64
	do := func(tx *gorm.DB) error {
		locked, err := c.lockFamilies(tx, candidates)
		if err != nil {
			return err
		}
		members, err := readEnded(c.inFamilies(tx, candidates).Order("id"))
		if err != nil {
			return err
		}
		ended = c.wholeFamilies(candidates, members, func(k *endedKey) bool {
			return (locked == nil || locked[k.id]) && !referred[k.id]
		})
		if len(ended.ids) == 0 {
			return nil
		}
		usage, err = c.deleteKeys(tx, ended.ids)
		if err != nil || c.DryRun {
			return err
		}
		return c.audit(tx, map[string]string{"revoked_keys": strconv.FormatInt(ended.revoked, 10), "expired_keys": strconv.FormatInt(ended.expired, 10),
			"revoked_for": c.RevokedKeys.String(), "expired_for": c.ExpiredKeys.String()})
	}
	if c.DryRun {
		err = do(c.read.WithContext(ctx))
	} else {
		err = c.inTransaction(ctx, do)
	}
	if err != nil {
		return false, err
	}
	c.purged.RevokedKeys += ended.revoked
	c.purged.ExpiredKeys += ended.expired
	c.purged.Usage += usage
	if c.Pace != nil && !c.DryRun {
		c.Pace.Deleted(len(ended.ids))
	}
	return ended.rest, nil
}

func (c *purge) inFamilies(tx *gorm.DB, candidates []endedKey) *gorm.DB {
	var families, alone []string
	for i := range candidates {
		if candidates[i].family == "" {
			alone = append(alone, candidates[i].id)
		} else {
			families = append(families, candidates[i].family)
		}
	}
	return tx.Table("api_keys").Where("family IN ? OR family = '' AND id IN ?", families, alone)
}

// lockFamilies locks those members that no other transaction has locked, and returns
// their ids. A rotation or a change locks all members of a family, so rows that are read
// afterwards don't change until the transaction ends. It returns nil if no locks are
// needed.
func (c *purge) lockFamilies(tx *gorm.DB, candidates []endedKey) (map[string]bool, error) {
	if c.driver == SQLite || c.DryRun {
		return nil, nil
	}
	var ids []string
	if err := c.inFamilies(tx, candidates).Order("id").Clauses(forUpdateSkipLocked).Pluck("id", &ids).Error; err != nil {
		return nil, err
	}
	locked := make(map[string]bool, len(ids))
	for _, id := range ids {
		locked[id] = true
	}
	return locked, nil
}

// endedKeys are the keys that one transaction deletes.
type endedKeys struct {
	ids              []string
	revoked, expired int64
	rest             bool // there are more keys to delete
}

// wholeFamilies chooses the members of those families that have ended as a whole and
// whose first member is among the candidates. If a family is larger than one transaction,
// its last members are chosen first, so that its first member stays until the last
// transaction.
func (c *purge) wholeFamilies(candidates, members []endedKey, may func(*endedKey) bool) (chosen endedKeys) {
	first := map[string]bool{}
	for i := range candidates {
		first[candidates[i].id] = true
	}
	groups := map[string][]*endedKey{}
	var order []string
	for i := range members {
		g := members[i].group()
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], &members[i])
	}
	for _, g := range order {
		family := groups[g]
		if !first[family[0].id] || slices.ContainsFunc(family, func(k *endedKey) bool {
			_, ended := c.ended(k)
			return !ended || c.protected(k) || !may(k)
		}) {
			continue
		}
		for _, k := range slices.Backward(family) {
			if len(chosen.ids) == c.size.keys && !c.DryRun {
				chosen.rest = true
				return chosen
			}
			chosen.ids = append(chosen.ids, k.id)
			if byRevocation, _ := c.ended(k); byRevocation {
				chosen.revoked++
			} else {
				chosen.expired++
			}
		}
	}
	return chosen
}

// deleteKeys deletes keys and their usage, or counts the usage in a dry run. Usage that
// another transaction has locked is left to [purge.orphanedUsage].
func (c *purge) deleteKeys(tx *gorm.DB, ids []string) (usage int64, err error) {
	for some := range slices.Chunk(ids, rowsAtOnce) {
		var used []string
		q := tx.Table("key_usage").Where("key_id IN ?", some)
		if c.driver == Postgres && !c.DryRun {
			q = q.Clauses(forUpdateSkipLocked)
		}
		if err := q.Pluck("key_id", &used).Error; err != nil {
			return 0, err
		}
		usage += int64(len(used))
		if c.DryRun {
			continue
		}
		if err := tx.Where("id IN ?", some).Delete(&keyRow{}).Error; err != nil {
			return 0, err
		}
		if len(used) > 0 {
			if err := tx.Where("key_id IN ?", used).Delete(&usageRow{}).Error; err != nil {
				return 0, err
			}
		}
	}
	return usage, nil
}

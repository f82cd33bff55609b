package models

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/feed"
)

const day = 24 * time.Hour

// purgeAll covers everything that ended or was written more than 30 days ago.
func purgeAll() authz.Purge {
	return authz.Purge{RevokedKeys: 30 * day, ExpiredKeys: 30 * day, AuditEntries: 30 * day, IdempotencyKeys: 30 * day, Usage: 30 * day,
		By: authz.AuditEntry{Actor: "retention"}}
}

// purged makes a dry run, which must change nothing, and then a real run, which must
// return the same counts. It returns these counts.
func purged(t *testing.T, db *DB, p authz.Purge) authz.Purged {
	t.Helper()
	return purgedBy(t, db, newPurge(db, p))
}

// purgedBy does the same as purged, with the sizes of c.
func purgedBy(t *testing.T, db *DB, c *purge) authz.Purged {
	t.Helper()
	before := contents(t, db)
	dryRun := *c
	dryRun.DryRun = true
	dry, err := dryRun.do(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after := contents(t, db); after != before {
		t.Errorf("the dry run changed something:\n%s\n%s", before, after)
	}
	run, err := c.do(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dry.At, run.At = time.Time{}, time.Time{}
	if dry != run {
		t.Errorf("the dry run counted %+v, the run after it %+v", dry, run)
	}
	return run
}

// contents returns all rows that a purge might change, as a text.
func contents(t *testing.T, db *DB) string {
	t.Helper()
	var b strings.Builder
	for _, table := range []string{"api_keys", "key_usage", "audit_log", "idempotency_keys", "outbox"} {
		var n int64
		if err := db.gorm.Table(table).Count(&n).Error; err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %d ", table, n)
	}
	return b.String()
}

// names returns the names of all keys.
func names(t *testing.T, db *DB) map[string]bool {
	t.Helper()
	var found []string
	if err := db.gorm.Table("api_keys").Pluck("name", &found).Error; err != nil {
		t.Fatal(err)
	}
	set := map[string]bool{}
	for _, n := range found {
		set[n] = true
	}
	return set
}

// ended makes a key that was revoked and that expired so long ago. 0 means never, a
// negative duration means in the future.
func ended(t *testing.T, name string, revoked, expired time.Duration, edit func(*authz.Record)) authz.NewKey {
	t.Helper()
	return newKey(t, func(r *authz.Record) {
		r.Name = name
		now := time.Now().UTC()
		if revoked != 0 {
			r.RevokedAt, r.Active = now.Add(-revoked), false
		}
		if expired != 0 {
			r.ExpiresAt = now.Add(-expired)
		}
		if edit != nil {
			edit(r)
		}
	})
}

func administrates(r *authz.Record) {
	r.Scopes = authz.Scopes{{Resource: authz.ReservedResource, Actions: []string{"*"}}}
}

func TestPurge_DeletesOnlyWhatEnded(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		of := func(family string) func(*authz.Record) { return func(r *authz.Record) { r.Family = family } }
		old := ended(t, "cross", 40*day, 0, nil)
		keys := []authz.NewKey{
			ended(t, "live", 0, 0, nil),
			ended(t, "live with expiry", 0, -day, nil),
			ended(t, "revoked lately", 20*day, 0, nil),
			ended(t, "expired lately", 0, 20*day, nil),
			ended(t, "revoked lately, expired long ago", 20*day, 40*day, nil),
			ended(t, "disabled", 0, 0, func(r *authz.Record) { r.Active = false }),
			ended(t, "family of a live one, first", 40*day, 0, of("a")),
			ended(t, "family of a live one, second", 0, 40*day, of("a")),
			ended(t, "family of a live one, third", 0, 0, of("a")),
			ended(t, "family in grace, first", 0, 40*day, of("b")),
			ended(t, "family in grace, second", 0, -time.Hour, of("b")),
			ended(t, "family revoked lately, first", 0, 40*day, of("c")),
			ended(t, "family revoked lately, second", day, 0, of("c")),
			ended(t, "administrator, expired", 0, 40*day, administrates),
			ended(t, "administrator, revoked", 40*day, 0, administrates),
			ended(t, "administrator's, expired", 0, 40*day, of("administrator's")),
			ended(t, "administrator's, revoked", 40*day, 0, of("administrator's")),
			ended(t, "named by a file", 40*day, 0, nil),
			old,
			ended(t, "successor typed by hand", 0, 0, func(r *authz.Record) { r.RotatedFrom = old.Record.ID }),
		}
		gone := []authz.NewKey{
			ended(t, "gone revoked", 31*day, 0, nil),
			ended(t, "gone expired", 0, 31*day, nil),
			ended(t, "gone expired and disabled", 0, 31*day, func(r *authz.Record) { r.Active = false }),
			ended(t, "gone family, first", 0, 50*day, of("d")),
			ended(t, "gone family, second", 40*day, 45*day, of("d")),
		}
		insert(t, db, append(keys, gone...)...)
		run(t, db, "UPDATE api_keys SET family = '' WHERE name = 'gone revoked'")
		run(t, db, "INSERT INTO administrators (id, name, family, created_at, updated_at) VALUES ('a', 'a', 'administrator''s', ?, ?)", testTime, testTime)
		p := purgeAll()
		for _, k := range keys {
			if k.Record.Name == "named by a file" {
				p.Keep = []string{k.Record.Prefix}
			}
		}
		for _, k := range append(keys[:1:1], gone...) {
			run(t, db, "INSERT INTO key_usage (key_id, count, last_used_at) VALUES (?, 3, ?)", k.Record.ID, time.Now().UTC())
		}
		run(t, db, "INSERT INTO key_usage (key_id, count, last_used_at) VALUES ('unknown', 3, ?), ('unknown lately', 3, ?)", time.Now().Add(-31*day).UTC(), time.Now().UTC())
		got := purged(t, db, p)
		if got.RevokedKeys != 2 || got.ExpiredKeys != 3 || got.Usage != 6 || got.More {
			t.Errorf("got %+v", got)
		}
		left := names(t, db)
		for _, k := range keys {
			if !left[k.Record.Name] {
				t.Errorf("%s was deleted", k.Record.Name)
			}
		}
		for _, k := range gone {
			if left[k.Record.Name] {
				t.Errorf("%s is still there", k.Record.Name)
			}
			if _, _, err := db.KeyByPrefix(t.Context(), k.Record.Prefix); err == nil {
				t.Errorf("%s is still found", k.Record.Name)
			}
		}
		page, err := db.ReadFeed(t.Context(), feed.Cursor{}, feed.MaxRows)
		if err != nil {
			t.Fatal(err)
		}
		carried := map[string]int{}
		for _, c := range page.Changes {
			carried[c.Prefix]++
		}
		for _, k := range gone {
			if carried[k.Record.Prefix] < 2 {
				t.Errorf("the feed does not carry the deletion of %s", k.Record.Name)
			}
		}
		entries, err := db.ListAudit(t.Context(), authz.AuditFilter{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != 1 || entries[0].Actor != "retention" || entries[0].Action != "purge" ||
			entries[0].Detail["revoked_keys"] != "2" || entries[0].Detail["expired_keys"] != "3" {
			t.Errorf("audit: %+v", entries)
		}
		if again := purged(t, db, p); again.Total() != 0 {
			t.Errorf("the second run deleted %+v", again)
		}
	})
}

func TestPurge_KindsThatAreOffStay(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		insert(t, db, ended(t, "revoked", 90*day, 90*day, nil), ended(t, "expired", 0, 90*day, nil))
		long := time.Now().Add(-90 * day).UTC()
		run(t, db, "INSERT INTO key_usage (key_id, count, last_used_at) VALUES ('unknown', 3, ?)", long)
		run(t, db, "INSERT INTO idempotency_keys (principal, key, fingerprint, key_id, at) VALUES ('p', 'k', 'f', 'id', ?)", long)
		run(t, db, "INSERT INTO audit_log (id, at, actor, actor_name, action, key_id, prefix, user_id, role, request_id, source, detail) VALUES ('typed', ?, '', '', '', '', '', '', '', '', '', '{}')", long)
		for _, one := range []struct {
			purge authz.Purge
			want  authz.Purged
		}{
			{authz.Purge{}, authz.Purged{}},
			{authz.Purge{RevokedKeys: 91 * day, ExpiredKeys: 91 * day, AuditEntries: 91 * day, IdempotencyKeys: 91 * day, Usage: 91 * day}, authz.Purged{}},
			{authz.Purge{ExpiredKeys: day}, authz.Purged{ExpiredKeys: 1}},
			{authz.Purge{RevokedKeys: day}, authz.Purged{RevokedKeys: 1}},
			{authz.Purge{Usage: day}, authz.Purged{Usage: 1}},
			{authz.Purge{IdempotencyKeys: day}, authz.Purged{IdempotencyKeys: 1}},
			{authz.Purge{AuditEntries: day}, authz.Purged{AuditEntries: 1}},
		} {
			if got := purged(t, db, one.purge); got != one.want {
				t.Errorf("%+v: got %+v, want %+v", one.purge, got, one.want)
			}
		}
	})
}

// TestPurge_LargeTablesInSmallTransactions: every table has more rows than a page and a
// transaction take. Some families are larger than a transaction.
func TestPurge_LargeTablesInSmallTransactions(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		const n = 217
		series := "(WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < %d) SELECT i FROM s) s"
		from := fmt.Sprintf(series, n)
		long := time.Now().Add(-90 * day).UTC()
		text := "CAST(i AS TEXT)"
		run(t, db, `INSERT INTO api_keys (id, user_id, key_prefix, key_hash, created_at, updated_at, revoked_at, family)
			SELECT 'k' || `+text+`, 'u', 'p' || `+text+`, 'h', ?, ?, CASE WHEN i % 3 = 0 THEN NULL ELSE CAST(? AS `+timeType(db)+`) END,
			CASE WHEN i % 3 = 1 THEN 'family' || CAST(i / 60 AS TEXT) ELSE 'k' || `+text+` END FROM `+from, long, long, long)
		run(t, db, `INSERT INTO audit_log (id, at, actor, actor_name, action, key_id, prefix, user_id, role, request_id, source, detail)
			SELECT 'a' || `+text+`, ?, '', '', '', '', '', '', '', '', '', '{}' FROM `+from, long)
		run(t, db, "INSERT INTO idempotency_keys (principal, key, fingerprint, key_id, at) SELECT 'p', 'i' || "+text+", 'f', '', ? FROM "+from, long)
		run(t, db, "INSERT INTO key_usage (key_id, count, last_used_at) SELECT 'k' || "+text+", 1, ? FROM "+from, long)
		paced := &pacer{}
		p := purgeAll()
		p.Pace = paced
		c := newPurge(db, p)
		c.size = purgeSizes{page: 50, batch: 20, keys: 10, families: 7}
		got := purgedBy(t, db, c)
		dead := int64(n - n/3)
		if got.RevokedKeys != dead || got.AuditEntries != n || got.IdempotencyKeys != n || got.Usage != dead {
			t.Errorf("got %+v, want %d keys", got, dead)
		}
		if paced.most > c.size.keys || paced.most < c.size.keys/2 || paced.transactions < int(dead)/c.size.keys {
			t.Errorf("%d transactions, the largest of %d keys", paced.transactions, paced.most)
		}
	})
}

func timeType(db *DB) string {
	if db.driver == Postgres {
		return "TIMESTAMPTZ"
	}
	return "TEXT"
}

func TestPurge_BudgetEndsACallAndTheNextGoesOn(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		var keys []authz.NewKey
		for range 31 {
			keys = append(keys, ended(t, "old", 90*day, 0, nil))
		}
		insert(t, db, keys...)
		p := authz.Purge{RevokedKeys: day, Budget: 200 * time.Millisecond}
		paced := &pacer{holds: true}
		p.Pace = paced
		var total authz.Purged
		calls := 0
		for more := true; more; calls++ {
			if calls == 100 {
				t.Fatal("it does not end")
			}
			paced.deleted = 0
			c := newPurge(db, p)
			c.size.families = 10
			got, err := c.do(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			total.Add(got)
			p.After, more = got.After, got.More
		}
		if total.RevokedKeys != int64(len(keys)) || calls < 4 {
			t.Errorf("%d keys in %d calls", total.RevokedKeys, calls)
		}
	})
}

// TestPurge_TimesThatPeopleTyped: a time in an invalid form keeps its own key from being
// deleted, and no other key.
func TestPurge_TimesThatPeopleTyped(t *testing.T) {
	typed := map[string][]string{
		SQLite:   {"'soon'", "''", "'2019'", "4102444800", "1.5", "x'00'", "'2999-13-45'", "'2999-01-01T00:00:00Z'", "'9999-12-31'"},
		Postgres: {"'infinity'", "'-infinity'", "'2999-01-01'"},
	}
	each(t, func(t *testing.T, db *DB) {
		for _, column := range []string{"expires_at", "revoked_at"} {
			for _, value := range typed[db.driver] {
				k := ended(t, column+" "+value, 0, 90*day, nil)
				insert(t, db, k)
				run(t, db, "UPDATE api_keys SET "+column+" = "+value+" WHERE id = ?", k.Record.ID)
			}
		}
		insert(t, db, ended(t, "good row", 0, 90*day, nil))
		if got := purged(t, db, purgeAll()); got.ExpiredKeys != 1 || got.RevokedKeys != 0 {
			t.Errorf("got %+v, left are %v", got, names(t, db))
		}
	})
}

// TestPurge_ForeignKeys: a key that another program's table refers to stays, and keeps no
// other key from being deleted.
func TestPurge_ForeignKeys(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		run(t, db, "CREATE TABLE theirs (key_id TEXT REFERENCES api_keys (id))")
		for i := range 5 {
			k := ended(t, fmt.Sprintf("key %d", i), 0, 90*day, nil)
			insert(t, db, k)
			if i == 2 {
				run(t, db, "INSERT INTO theirs VALUES (?)", k.Record.ID)
			}
		}
		if got, err := db.Purge(t.Context(), purgeAll()); err != nil || got.ExpiredKeys != 4 || !names(t, db)["key 2"] {
			t.Errorf("got %+v, %v, left are %v", got, err, names(t, db))
		}
	})
}

// TestPurge_WaitsForNoWriter: a family that another transaction is changing is left out.
// The next run sees the result of that change.
func TestPurge_WaitsForNoWriter(t *testing.T) {
	db := migrated(t, postgresConfig(t))
	keys := []authz.NewKey{
		ended(t, "changed", 0, 90*day, func(r *authz.Record) { r.Family = "a" }),
		ended(t, "its sibling", 0, 90*day, func(r *authz.Record) { r.Family = "a" }),
		ended(t, "another", 0, 90*day, nil),
	}
	insert(t, db, keys...)
	_, err := db.Mutate(t.Context(), authz.Selection{Family: "a"}, func(selected []authz.Record) (authz.Mutation, error) {
		got, err := db.Purge(t.Context(), purgeAll())
		if err != nil || got.ExpiredKeys != 1 {
			t.Errorf("got %+v, %v", got, err)
		}
		selected[0].ExpiresAt = time.Now().Add(time.Hour)
		return authz.Mutation{Update: selected[:1]}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := purged(t, db, purgeAll()); got.ExpiredKeys != 0 {
		t.Errorf("a family with a valid member was deleted: %+v", got)
	}
}

// TestPurge_OneReplicaIsInCharge: the living replica with the lowest name purges.
func TestPurge_OneReplicaIsInCharge(t *testing.T) {
	db := migrated(t, postgresConfig(t))
	for _, instance := range []string{"b", "c"} {
		if _, err := db.Beat(t.Context(), instance); err != nil {
			t.Fatal(err)
		}
	}
	run(t, db, "INSERT INTO replicas (instance, at) VALUES ('a', clock_timestamp() - interval '1 minute')")
	insert(t, db, ended(t, "old", 90*day, 0, nil))
	p := purgeAll()
	for _, turn := range []struct {
		instance string
		want     int64
	}{{"c", 0}, {"b", 1}} {
		p.Instance = turn.instance
		if got, err := db.Purge(t.Context(), p); err != nil || got.RevokedKeys != turn.want {
			t.Errorf("%s: got %+v, %v", turn.instance, got, err)
		}
	}
}

func TestPurge_ClocksThatDifferDeleteNothing(t *testing.T) {
	for off, refused := range map[time.Duration]bool{0: false, 9 * time.Minute: false, 11 * time.Minute: true, -11 * time.Minute: true, 400 * day: true} {
		now := time.Now()
		if err := sameTime(now.Add(off), now); (err != nil) != refused {
			t.Errorf("%v apart: %v", off, err)
		}
	}
}

// pacer counts deleted keys. If it holds, it lets nothing be deleted after the first
// transaction until ctx ends.
type pacer struct {
	holds                       bool
	deleted, transactions, most int
}

func (p *pacer) Wait(ctx context.Context) error {
	if p.holds && p.deleted > 0 {
		<-ctx.Done()
	}
	return ctx.Err()
}

func (p *pacer) Deleted(keys int) {
	p.deleted += keys
	p.most = max(p.most, keys)
	if keys > 0 {
		p.transactions++
	}
}

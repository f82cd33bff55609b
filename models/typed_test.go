package models

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
)

// typedByHand lists, for each driver, changes that people make by SQL to columns that are
// not texts. Each makes the row unreadable.
var typedByHand = map[string][]string{
	SQLite: {`is_active = 'yes'`, `is_active = 2`, `is_active = x'00ff'`, `expires_at = 'tomorrow'`, `expires_at = '31.12.2027'`, `expires_at = ''`, `expires_at = 'infinity '`,
		`revoked_at = 'no'`, `created_at = 'today'`, `created_at = 1.5`, `updated_at = x'00'`, `shadow_until = 'soon'`, `shadow_end = 'later'`},
	Postgres: {`expires_at = '-infinity'`, `expires_at = '20000-01-01'`, `revoked_at = 'infinity'`, `created_at = '-infinity'`,
		`updated_at = '4000-01-01 BC'`, `shadow_until = '-infinity'`, `shadow_end = '12345-01-01'`},
}

// textsByHand lists changes that people make to texts and JSON, in either database.
var textsByHand = []string{`scopes = 'orders:read'`, `scopes = ''`, `scopes = '{"resource":"orders"}'`, `scopes = '[null]'`, `scopes = '["extauthz"'`, `scopes = '[1]'`,
	`metadata = '{"a":1}'`, `metadata = '{"a":'`, `metadata = '[]'`, `allowed_cidrs = '"10.0.0.0/8"'`, `allowed_cidrs = '[""]'`, `allowed_cidrs = '[null]'`,
	`roles = 'reader'`, `roles = '[7]'`, `grants = '[]'`, `grants = '{"scopes":"orders:read"}'`, `rate = '100'`, `rate = 'fast'`, `shadow_scopes = 'x'`}

// TestUnreadable_FailsNoOtherRow: whatever one row contains, every statement that reads
// many rows still reads the others, and the row's key can be ended.
func TestUnreadable_FailsNoOtherRow(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		keys := insert(t, db, newKey(t, nil), newKey(t, nil), newKey(t, nil))
		bad := keys[1]
		if _, err := db.AddUsage(t.Context(), []authz.UsageBatch{{Source: "s", Sequence: 1, Usage: []authz.Usage{{KeyID: bad.ID, Count: 1, LastUsedAt: testTime}}}}); err != nil {
			t.Fatal(err)
		}
		before := rowOf(t, db, bad.ID)
		for _, change := range append(typedByHand[db.driver], textsByHand...) {
			run(t, db, `UPDATE api_keys SET `+change+` WHERE id = ?`, bad.ID)
			column, _, _ := strings.Cut(change, " = ")
			if got, err := db.KeyByRef(t.Context(), bad.ID); err != nil || !strings.HasPrefix(got.Unreadable, "column "+column+": ") {
				t.Errorf("%s: %q, %v", change, got.Unreadable, err)
			}
			othersGoOn(t, db, change, bad)
			ends(t, db, change, bad)
			restore(t, db, before)
		}
	})
}

// TestUnreadable_DigestOfAnUnknownKind: a mistyped hash_alg is a fault of the row, and not a
// client's wrong secret; the row is met by the look-up, which asks for an inspection.
func TestUnreadable_DigestOfAnUnknownKind(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		k := insert(t, db, newKey(t, nil))[0]
		if _, _, err := db.KeyByPrefix(t.Context(), k.Prefix); err != nil || db.MetUnreadable() {
			t.Fatalf("before: %v", err)
		}
		for _, alg := range []string{"SHA256", "", "md5"} {
			run(t, db, `UPDATE api_keys SET hash_alg = ?`, alg)
			if _, _, err := db.KeyByPrefix(t.Context(), k.Prefix); !errors.Is(err, authz.ErrUnreadable) || !strings.Contains(err.Error(), "hash_alg") {
				t.Errorf("%q: %v", alg, err)
			}
			if !db.MetUnreadable() || db.MetUnreadable() {
				t.Errorf("%q: the look-up is not reported once", alg)
			}
			if n, first, err := db.UnreadableKeys(t.Context(), false); n != 1 || err != nil {
				t.Errorf("%q: %d unreadable keys, %v, %v", alg, n, first, err)
			}
		}
	})
}

// TestKeyRow_AddressesAreNetworks: a single address, as people type it and as commands take it.
func TestKeyRow_AddressesAreNetworks(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		k := insert(t, db, newKey(t, nil))[0]
		run(t, db, `UPDATE api_keys SET allowed_cidrs = '["10.0.0.1", "192.0.2.0/24", "2001:db8::1"]'`)
		got, _, err := db.KeyByPrefix(t.Context(), k.Prefix)
		if want := "[10.0.0.1/32 192.0.2.0/24 2001:db8::1/128]"; err != nil || fmt.Sprint(got.AllowedCIDRs) != want {
			t.Errorf("got %v, %v; want %s", got.AllowedCIDRs, err, want)
		}
	})
}

// TestUnreadable_InfinityIsNever: a key that never expires in Postgres never does.
func TestUnreadable_InfinityIsNever(t *testing.T) {
	db := migrated(t, postgresConfig(t))
	k := insert(t, db, newKey(t, nil))[0]
	run(t, db, `UPDATE api_keys SET expires_at = 'infinity'`)
	got, _, err := db.KeyByPrefix(t.Context(), k.Prefix)
	if err != nil || !got.ExpiresAt.IsZero() || got.Status(time.Now()) != authz.StatusActive {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestTyped_OtherTablesGoOn: rows of roles, usage and audit with arbitrary values don't
// fail the others.
func TestTyped_OtherTablesGoOn(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		k := insert(t, db, newKey(t, nil))[0]
		run(t, db, `INSERT INTO roles (name, created_at, updated_at) VALUES ('a', ?, ?), ('b', ?, ?)`, testTime, testTime, testTime, testTime)
		run(t, db, `INSERT INTO key_usage (key_id, count, last_used_at) VALUES (?, 1, ?)`, k.ID, testTime)
		run(t, db, `INSERT INTO audit_log (id, at, actor, actor_name, action, key_id, prefix, user_id, role, request_id, source, detail) VALUES ('1', ?, '', '', '', '', '', '', '', '', '', 'by hand')`, testTime)
		time := `'-infinity'`
		if db.driver == SQLite {
			time = `'now'`
			run(t, db, `UPDATE key_usage SET count = 'many'`)
		}
		run(t, db, `UPDATE roles SET created_at = `+time+` WHERE name = 'a'`)
		run(t, db, `UPDATE key_usage SET last_used_at = `+time)
		run(t, db, `UPDATE audit_log SET at = `+time)
		roles, err := db.ListRoles(t.Context(), "", 10)
		if err != nil || len(roles) != 2 || !strings.HasPrefix(roles[0].Unreadable, "column created_at: ") || roles[1].Unreadable != "" {
			t.Errorf("roles %+v, %v", roles, err)
		}
		if list, err := db.ListKeys(t.Context(), authz.KeyFilter{Limit: 10, WithUsage: true}); err != nil || len(list) != 1 {
			t.Errorf("keys with usage: %v, %v", list, err)
		}
		if entries, err := db.ListAudit(t.Context(), authz.AuditFilter{Limit: 10}); err != nil || len(entries) != 1 || entries[0].Detail["unreadable"] == "" {
			t.Errorf("audit %+v, %v", entries, err)
		}
	})
}

func othersGoOn(t *testing.T, db *DB, change string, bad authz.Record) {
	t.Helper()
	check := func(what string, err error, n, want int) {
		if err != nil || n != want {
			t.Errorf("%s: %s: %d for %d, %v", change, what, n, want, err)
		}
	}
	count := 0
	yield := func(authz.Record, authz.Verifier) error { count++; return nil }
	for what, filter := range map[string]authz.KeyFilter{"list": {}, "user's list": {UserID: "u"}, "search": {Text: "N"}} {
		filter.Limit, filter.WithUsage, filter.Now = 10, true, testTime
		list, err := db.ListKeys(t.Context(), filter)
		check(what, err, len(list), 3)
	}
	check("warming", db.MostUsed(t.Context(), 10, yield), count, 2)
	prefixes := 0
	check("membership", db.Prefixes(t.Context(), func(string) error { prefixes++; return nil }), prefixes, 3)
	a, err := db.Administration(t.Context())
	check("administration", err, len(a.Keys), 0)
	counts, err := db.CountKeys(t.Context(), testTime)
	total := int64(0)
	for _, n := range counts {
		total += n
	}
	check("counts", err, int(total), 3)
	_, err = db.CountUnpeppered(t.Context(), []string{"x"})
	check("unpeppered", err, 0, 0)
	for what, sel := range map[string]authz.Selection{"by user": {UserID: "u"}, "by refs": {Refs: []string{bad.ID}}} {
		_, err := db.Mutate(t.Context(), sel, func(got []authz.Record) (authz.Mutation, error) {
			if len(got) != map[string]int{"by user": 3, "by refs": 1}[what] {
				return authz.Mutation{}, fmt.Errorf("%d are selected", len(got))
			}
			return authz.Mutation{}, nil
		})
		check(what, err, 0, 0)
	}
	found, first, err := db.UnreadableKeys(t.Context(), false)
	check("unreadable", err, found, 1)
	column, _, _ := strings.Cut(change, " = ")
	if first == nil || !strings.Contains(first.Error()+":", "key "+bad.Prefix+": column "+column+":") {
		t.Errorf("%s: %v", change, first)
	}
}

// ends revokes the key in the way the keys service does, and checks that nothing else was
// written.
func ends(t *testing.T, db *DB, change string, bad authz.Record) {
	t.Helper()
	column, _, _ := strings.Cut(change, " = ")
	stored := func() (text string) {
		if err := db.gorm.Raw(`SELECT CAST(`+column+` AS TEXT) FROM api_keys WHERE id = ?`, bad.ID).Row().Scan(&text); err != nil {
			t.Errorf("%s: %v", change, err)
		}
		return text
	}
	was := stored()
	after, err := db.Mutate(t.Context(), authz.Selection{Ref: bad.Prefix}, func(got []authz.Record) (authz.Mutation, error) {
		next := got[0]
		next.Active, next.RevokedAt, next.UpdatedAt = false, testTime.Add(time.Hour), testTime.Add(time.Hour)
		return authz.Mutation{Update: []authz.Record{next}}, nil
	})
	if err != nil || len(after) != 1 || !after[0].RevokedAt.Equal(testTime.Add(time.Hour)) || after[0].Active || after[0].Version <= bad.Version {
		t.Errorf("%s: ended: %+v, %v", change, after, err)
	}
	if column != "is_active" && column != "revoked_at" && column != "updated_at" && stored() != was {
		t.Errorf("%s: it is %s now", change, stored())
	}
}

func rowOf(t *testing.T, db *DB, id string) keyRow {
	t.Helper()
	var r keyRow
	if err := db.gorm.Take(&r, "id = ?", id).Error; err != nil {
		t.Fatal(err)
	}
	return r
}

func restore(t *testing.T, db *DB, r keyRow) {
	t.Helper()
	if err := db.gorm.Model(&keyRow{ID: r.ID}).Select("*").Omit("id", "version").Updates(&r).Error; err != nil {
		t.Fatal(err)
	}
}

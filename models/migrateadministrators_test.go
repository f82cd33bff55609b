package models

import (
	"errors"
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/administrators"
	"extauthz/authz/keyring"
)

// before14 is a database as the release before administrators left it.
func before14(t *testing.T, c Config) *DB {
	t.Helper()
	db := opened(t, c)
	p, err := db.provider()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), 12); err != nil {
		t.Fatal(err)
	}
	return db
}

func store(t *testing.T, db *DB, edit func(*authz.Record)) authz.Record {
	t.Helper()
	k := newKey(t, edit)
	if k.Record.Family == "" {
		k.Record.Family = k.Record.ID
	}
	row, err := newRow(&k)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.gorm.Create(row).Error; err != nil {
		t.Fatal(err)
	}
	return k.Record
}

// TestMigrate_MakesAdministratorsOfKeys: each family that could manage keys becomes one,
// with what it could do and no more; keys stay as they are.
func TestMigrate_MakesAdministratorsOfKeys(t *testing.T) {
	test := func(t *testing.T, c Config) {
		db := before14(t, c)
		everything := authz.Grants{Scopes: parsed(t, "*:*"), Projects: []string{"*"}}
		shop := authz.Grants{Scopes: parsed(t, "orders:*", "extauthz/keys:read"), Projects: []string{"shop"}, Users: []string{"acme-*"}}
		first := store(t, db, func(r *authz.Record) {
			r.Name, r.Scopes, r.Grants = "First Administrator!", parsed(t, "extauthz:*"), everything
		})
		run(t, db, `INSERT INTO roles (name, scopes, created_at, updated_at) VALUES ('lender', '["extauthz/keys:read", "orders:read"]', ?, ?), ('damaged', '["extauthz', ?, ?), ('reader', '["orders:read"]', ?, ?)`,
			testTime, testTime, testTime, testTime, testTime, testTime)
		limited := store(t, db, func(r *authz.Record) {
			r.Name, r.Scopes, r.Grants, r.ExpiresAt = "ci", parsed(t, "extauthz:*"), shop, testTime.Add(time.Hour)
		})
		byRole := store(t, db, func(r *authz.Record) { r.Name, r.Scopes, r.Roles = "ci", nil, []string{"lender"} })
		same := store(t, db, func(r *authz.Record) { r.Name, r.Scopes = "ci", parsed(t, "extauthz/keys:read", "orders:read") })
		old := store(t, db, func(r *authz.Record) { r.Name, r.Scopes, r.Grants = "old", parsed(t, "extauthz/keys:*"), everything })
		next := store(t, db, func(r *authz.Record) { // its successor, which is disabled
			r.Name, r.Scopes, r.Family, r.CreatedAt, r.Active = "new", parsed(t, "extauthz/audit:read"), old.Family, testTime.Add(time.Minute), false
		})
		unreadable := store(t, db, func(r *authz.Record) { r.Name, r.Scopes = "unreadable", parsed(t, "extauthz:*") })
		run(t, db, `UPDATE api_keys SET grants = 'x' WHERE id = ?`, unreadable.ID)
		store(t, db, func(r *authz.Record) {
			r.Name, r.Scopes, r.RevokedAt, r.Active = "revoked", parsed(t, "extauthz:*"), testTime, false
		})
		store(t, db, func(r *authz.Record) { r.Name, r.Roles = "reader", []string{"reader", "damaged"} })
		store(t, db, func(r *authz.Record) { r.Name, r.Scopes = "no permission", parsed(t, "extauthz/nothing:read") })
		bare := store(t, db, func(r *authz.Record) { r.Name, r.Scopes = "", parsed(t, "extauthz/cache:*") })
		run(t, db, `UPDATE api_keys SET name = ?, family = '' WHERE id = ?`, "日本", bare.ID)
		var before []keyRow
		if err := db.gorm.Where("id NOT IN (?, ?)", bare.ID, next.ID).Order("id").Find(&before).Error; err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}

		var after []keyRow
		if err := db.gorm.Where("id NOT IN (?, ?)", bare.ID, next.ID).Order("id").Find(&after).Error; err != nil || len(after) != len(before) {
			t.Fatal(err)
		}
		for i := range after {
			if after[i] != before[i] && after[i].Version != before[i].Version {
				t.Errorf("the key %s was changed", after[i].KeyPrefix)
			}
		}
		a, err := db.Administration(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		of := map[string]*authz.Administrator{}
		for i := range a.Administrators {
			of[a.Administrators[i].Family] = &a.Administrators[i]
		}
		if len(of) != 8 {
			t.Errorf("%d administrators: %+v", len(of), a.Administrators)
		}
		see := func(family, name, grants string, active bool, permissions ...string) {
			t.Helper()
			x := of[family]
			if x == nil {
				t.Errorf("%s is missing", name)
				return
			}
			power := administrators.PowerOf(x, a.Roles)
			granted := strings.Join(x.Grants.Scopes.Strings(), " ") + "|" + strings.Join(x.Grants.Projects, " ") + "|" + strings.Join(x.Grants.Users, " ")
			if x.Name != name || x.Active != active || granted != grants || strings.Join(power.Permissions.Strings(), " ") != strings.Join(permissions, " ") || x.CreatedBy != "migration" {
				t.Errorf("got %+v with %v", x, power.Permissions.Strings())
			}
		}
		familyOf := func(id string) string {
			rec, err := db.KeyByRef(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return rec.Family
		}
		see(first.Family, "first-administrator", "*:*|*|", true, "extauthz:*")
		see(byRole.Family, "ci-2", "||", true, "extauthz/keys:read")
		see(same.Family, "ci", "||", true, "extauthz/keys:read")
		see(old.Family, "old", "*:*|*|", true, "extauthz/keys:create", "extauthz/keys:purge", "extauthz/keys:read", "extauthz/keys:revoke", "extauthz/keys:rotate", "extauthz/keys:update")
		see(familyOf(next.ID), "new", "||", false, "extauthz/audit:read")
		see(unreadable.Family, "unreadable", "||", false)
		see(bare.ID, "administrator", "||", true, "extauthz/cache:invalidate", "extauthz/cache:read", "extauthz/cache:warm")
		see(limited.Family, "ci-3", "orders:*|shop|acme-*", true, formerPermissions...)
		if x := of[limited.Family]; x != nil && !x.ExpiresAt.Equal(limited.ExpiresAt) {
			t.Errorf("it ends at %s", x.ExpiresAt)
		}
		if strings.Join(of[first.Family].Roles, " ") != "owner" || strings.Join(of[byRole.Family].Roles, " ") != strings.Join(of[same.Family].Roles, " ") {
			t.Errorf("roles %v, %v, %v", of[first.Family].Roles, of[byRole.Family].Roles, of[same.Family].Roles)
		}
		if rec, err := db.KeyByRef(t.Context(), bare.ID); err != nil || rec.Family != bare.ID {
			t.Errorf("family %q, %v", rec.Family, err)
		}
		// The owner manages at once; only owners may manage administrators.
		admins, _ := administratorsOn(t, db)
		if has, err := admins.HasOwner(t.Context()); !has || err != nil {
			t.Errorf("an owner: %t, %v", has, err)
		}
		for _, x := range a.Administrators { // whatever a former release accepted can be changed now
			_, err := admins.Update(t.Context(), keyring.Principal{System: true}, x.ID, administrators.Patch{Description: new("changed")})
			if (x.Unreadable == "" && len(x.Roles) > 0) != (err == nil) {
				t.Errorf("%s: %v", x.Name, err)
			}
		}
		for _, p := range formerPermissions {
			if strings.Contains(p, "administrator") {
				t.Errorf("%s is new", p)
			}
		}
	}
	t.Run(SQLite, func(t *testing.T) { test(t, sqliteConfig(t)) })
	t.Run(Postgres, func(t *testing.T) { test(t, postgresConfig(t)) })
}

// TestMigrate_WithoutKeysMakesNoAdministrator: a first start is to make one.
func TestMigrate_WithoutKeysMakesNoAdministrator(t *testing.T) {
	db := migrated(t, sqliteConfig(t))
	if has, err := db.HasAdministrator(t.Context()); has || err != nil {
		t.Errorf("got %t, %v", has, err)
	}
}

// TestMigrate_KeysOfAFamilyGetNoMoreThanTheyHad: keys of one family could have other rights,
// where an update changed one of them between two rotations. A key that could do less than
// the newest one must not get the newest one's power.
func TestMigrate_KeysOfAFamilyGetNoMoreThanTheyHad(t *testing.T) {
	const live, expired = false, true
	everything := authz.Grants{Scopes: parsed(t, "*:*"), Projects: []string{"*"}}
	type member struct {
		scopes string
		grants authz.Grants
		ended  bool
		power  string // permissions afterwards; empty: no administrator
		leaves bool
	}
	for name, members := range map[string][]member{ // oldest first
		"an ordinary key":         {{"orders:read", authz.Grants{}, live, "", true}, {"extauthz:*", everything, live, "extauthz:*", false}},
		"a lesser administrator":  {{"extauthz/keys:read", authz.Grants{}, live, "extauthz/keys:read", true}, {"extauthz:*", everything, live, "extauthz:*", false}},
		"fewer grants":            {{"extauthz/keys:read", authz.Grants{}, live, "extauthz/keys:read", true}, {"extauthz/keys:read", everything, live, "extauthz/keys:read", false}},
		"the same":                {{"extauthz:* orders:read", everything, live, "extauthz:*", false}, {"extauthz:*", everything, live, "extauthz:*", false}},
		"expired":                 {{"orders:read", authz.Grants{}, expired, "extauthz:*", false}, {"extauthz:*", everything, live, "extauthz:*", false}},
		"taken from the newest":   {{"extauthz:*", everything, live, "extauthz:*", true}, {"orders:read", authz.Grants{}, live, "", false}},
		"and expired":             {{"extauthz:*", everything, expired, "extauthz:*", true}, {"orders:read", authz.Grants{}, live, "", false}},
		"the newest is expired":   {{"extauthz:*", everything, live, "extauthz:*", false}, {"orders:read", authz.Grants{}, expired, "", true}},
		"all are expired":         {{"orders:read", authz.Grants{}, expired, "extauthz:*", false}, {"extauthz:*", everything, expired, "extauthz:*", false}},
		"one that can't be read":  {{"extauthz:* unreadable", everything, live, "", true}, {"extauthz:*", everything, live, "extauthz:*", false}},
		"the newest has no scope": {{"extauthz/keys:read", authz.Grants{}, live, "extauthz/keys:read", true}, {"", authz.Grants{}, live, "", false}},
	} {
		test := func(t *testing.T, c Config) {
			db := before14(t, c)
			var stored []authz.Record
			for i, m := range members {
				stored = append(stored, store(t, db, func(r *authz.Record) {
					text, _ := strings.CutSuffix(m.scopes, " unreadable")
					r.Scopes, r.Grants, r.CreatedAt = parsed(t, strings.Fields(text)...), m.grants, testTime.Add(time.Duration(i)*time.Minute)
					if i > 0 {
						r.Family = stored[0].Family
					}
					if r.ExpiresAt = time.Now().Add(time.Hour); m.ended {
						r.ExpiresAt = time.Now().Add(-time.Minute)
					}
				}))
				if strings.HasSuffix(m.scopes, "unreadable") {
					run(t, db, "UPDATE api_keys SET grants = 'x' WHERE id = ?", stored[i].ID)
				}
			}
			if err := db.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i, m := range members {
				rec, err := db.KeyByRef(t.Context(), stored[i].ID)
				if err != nil {
					t.Fatal(err)
				}
				if left := rec.Family != stored[i].Family; left != m.leaves {
					t.Errorf("key %d is in the family %s of %s", i, rec.Family, stored[0].ID)
				}
				a, err := db.AdministratorOf(t.Context(), rec.Family)
				if err != nil && !errors.Is(err, authz.ErrNotFound) {
					t.Fatal(err)
				}
				power := ""
				if err == nil {
					power = strings.Join(administrators.PowerOf(&a.Administrators[0], a.Roles).Permissions.Strings(), " ")
				}
				if power != m.power {
					t.Errorf("key %d may %q, not %q", i, power, m.power)
				}
			}
		}
		t.Run(name+"/"+SQLite, func(t *testing.T) { test(t, sqliteConfig(t)) })
		t.Run(name+"/"+Postgres, func(t *testing.T) { test(t, postgresConfig(t)) })
	}
}

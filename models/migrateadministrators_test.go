package models

import (
	"strings"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/administrators"
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
		store(t, db, func(r *authz.Record) { // its successor
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
		if err := db.gorm.Where("id <> ?", bare.ID).Order("id").Find(&before).Error; err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}

		var after []keyRow
		if err := db.gorm.Where("id <> ?", bare.ID).Order("id").Find(&after).Error; err != nil || len(after) != len(before) {
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
		if len(of) != 7 {
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
		see(first.Family, "first-administrator", "*:*|*|", true, "extauthz:*")
		see(byRole.Family, "ci-2", "||", true, "extauthz/keys:read")
		see(same.Family, "ci", "||", true, "extauthz/keys:read")
		see(old.Family, "new", "||", false, "extauthz/audit:read")
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

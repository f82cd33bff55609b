package models

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"extauthz/authz"
)

// TestScopes_AreReadAsPeopleWriteThem: people who write scopes by SQL write them as
// texts.
func TestScopes_AreReadAsPeopleWriteThem(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		k := insert(t, db, newKey(t, nil))[0]
		if err := db.gorm.Exec(`UPDATE api_keys SET scopes = '["orders:read,create", {"resource":"bills","actions":["read"]}, "orders:delete"]',
			grants = '{"scopes":["orders/eu:*"],"projects":["a"],"users":["b*"]}', shadow_scopes = '["bills:read"]' WHERE id = ?`, k.ID).Error; err != nil {
			t.Fatal(err)
		}
		got, err := db.KeyByRef(t.Context(), k.ID)
		if err != nil {
			t.Fatal(err)
		}
		scopes := func(texts ...string) authz.Scopes {
			s, err := authz.ParseScopes(texts)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		grants := authz.Grants{Scopes: scopes("orders/eu:*"), Projects: []string{"a"}, Users: []string{"b*"}}
		if want := scopes("orders:read,create,delete", "bills:read"); !reflect.DeepEqual(got.Scopes, want) ||
			!reflect.DeepEqual(got.Grants, grants) || !reflect.DeepEqual(got.ShadowScopes, scopes("bills:read")) {
			t.Errorf("got %v, grants %v, shadow %v", got.Scopes, got.Grants, got.ShadowScopes)
		}
	})
}

// TestLists_ShowRowsThatCanNotBeRead: an unreadable row that someone wrote by hand hides
// no other row, and does not count as a key with fewer limits.
func TestLists_ShowRowsThatCanNotBeRead(t *testing.T) {
	for column, text := range map[string]string{
		"scopes":        `orders:read`,
		"shadow_scopes": `["orders"]`,
		"allowed_cidrs": `["10.0.0.0/33"]`,
		"metadata":      `["a"]`,
		"roles":         `"reader"`,
		"grants":        `{"scopes":["UPPER:READ"]}`,
		"rate":          `fast`,
	} {
		t.Run(column, func(t *testing.T) {
			each(t, func(t *testing.T, db *DB) {
				keys := insert(t, db, newKey(t, nil), newKey(t, nil), newKey(t, nil))
				bad := keys[1]
				if err := db.gorm.Exec(`UPDATE api_keys SET `+column+` = ? WHERE id = ?`, text, bad.ID).Error; err != nil {
					t.Fatal(err)
				}
				list, err := db.ListKeys(t.Context(), authz.KeyFilter{Limit: 10, WithUsage: true})
				if err != nil || len(list) != 3 {
					t.Fatalf("got %d keys, %v", len(list), err)
				}
				for _, k := range list {
					if k.ID == bad.ID {
						if !strings.HasPrefix(k.Unreadable, "column "+column+": ") || k.Prefix != bad.Prefix || k.UserID != "u" || k.Scopes != nil {
							t.Errorf("got %+v", k)
						}
					} else if k.Unreadable != "" || k.Scopes == nil {
						t.Errorf("got %+v", k)
					}
				}
				if got, err := db.KeyByRef(t.Context(), bad.ID); err != nil || got.Unreadable == "" || got.Scopes != nil {
					t.Errorf("by its id: %+v, %v", got, err)
				}
				if _, _, err := db.KeyByPrefix(t.Context(), bad.Prefix); !errors.Is(err, authz.ErrUnreadable) {
					t.Errorf("for a decision: %v", err)
				}
			})
		})
	}
}

func TestLists_ShowRolesThatCanNotBeRead(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		scopes, err := authz.ParseScopes([]string{"orders:read"})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b", "c"} {
			if _, err := db.Mutate(t.Context(), authz.Selection{}, func([]authz.Record) (authz.Mutation, error) {
				return authz.Mutation{PutRoles: []authz.Role{{Name: name, Scopes: scopes, CreatedAt: testTime, UpdatedAt: testTime}}}, nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.gorm.Exec(`UPDATE roles SET scopes = 'orders:read' WHERE name = 'b'`).Error; err != nil {
			t.Fatal(err)
		}
		list, err := db.ListRoles(t.Context(), "", 10)
		if err != nil || len(list) != 3 || !strings.HasPrefix(list[1].Unreadable, "column scopes: ") || list[1].Scopes != nil || list[0].Unreadable+list[2].Unreadable != "" {
			t.Errorf("got %+v, %v", list, err)
		}
		if _, err := db.Roles(t.Context(), []string{"a", "b"}); !errors.Is(err, authz.ErrUnreadable) {
			t.Errorf("for a decision: %v", err)
		}
	})
}

// TestUnreadableKeys_LeavesOutWhatIsRevoked: a revoked key is refused anyway, so it is
// left out. A revocation that can't be read revokes nothing, so its key is counted.
func TestUnreadableKeys_LeavesOutWhatIsRevoked(t *testing.T) {
	db := migrated(t, sqliteConfig(t))
	odd := insert(t, db, newKey(t, nil))[0]
	revoked := insert(t, db, newKey(t, nil))[0]
	run(t, db, "UPDATE api_keys SET revoked_at = 'yes' WHERE id = ?", odd.ID)
	run(t, db, "UPDATE api_keys SET revoked_at = '2026-01-01 00:00:00+00:00', scopes = 'junk' WHERE id = ?", revoked.ID)
	if n, first, err := db.UnreadableKeys(t.Context(), false); err != nil || n != 1 || !strings.Contains(first.Error(), odd.Prefix+": column revoked_at") {
		t.Errorf("%d, %v, %v", n, first, err)
	}
}

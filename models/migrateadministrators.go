package models

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/pressly/goose/v3"

	"extauthz/authz"
)

// formerPermissions are those that scopes on the reserved resource could give a key, in
// releases in which there were no administrators. The list never changes.
var formerPermissions = []string{
	"extauthz/audit:purge", "extauthz/audit:read", "extauthz/cache:invalidate", "extauthz/cache:read", "extauthz/cache:warm",
	"extauthz/explain:create", "extauthz/keys:create", "extauthz/keys:purge", "extauthz/keys:read", "extauthz/keys:revoke",
	"extauthz/keys:rotate", "extauthz/keys:update", "extauthz/roles:create", "extauthz/roles:delete", "extauthz/roles:read",
	"extauthz/roles:update", "extauthz/routes:read", "extauthz/shadow:update", "extauthz/usage:read",
}

// makeAdministrators makes an administrator of each rotation family with a key that could
// manage keys by its scopes, its own or its roles'. One that could do and grant everything
// becomes an owner. Any other gets a management role with exactly what it could do: no
// administrator gets more than before, and none but owners may manage administrators.
//
// Keys keep what they have, since replicas of the release before may still run. An
// administrator's keys have the same power, though, and keys of one family need not have
// had: an update between two rotations changes one of them. A key with other rights than
// the one that stands for its family therefore leaves the family (see split).
func makeAdministrators(driver string) *goose.Migration {
	return goose.NewGoMigration(14, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
		m := &administratorMigration{tx: tx, driver: driver, now: time.Now().UTC().Truncate(time.Microsecond), names: map[string]bool{}, roles: map[string]string{}}
		if err := m.run(ctx); err != nil {
			return fmt.Errorf("administrators can't be made of the keys that there are: %w", err)
		}
		return nil
	}}, nil)
}

// formerKey is a key that could manage keys, or another one of its family. Its times are
// not read: what is stored in them need not be a time.
type formerKey struct {
	id, name, prefix, scopes, roles, grants, networks, family string

	active, expired bool
	suspect         bool // its row looks as if it had scopes on the reserved resource

	permissions []string // what it could do
	may         authz.Grants
	fault       error // why its row can't be read
}

// usable reports whether the key worked.
func (k *formerKey) usable() bool { return k.active && !k.expired && k.fault == nil }

// equals reports whether two keys could do and grant the same.
func (k *formerKey) equals(o *formerKey) bool {
	return k.fault == nil && o.fault == nil && slices.Equal(k.permissions, o.permissions) && asJSON(k.may, "{}") == asJSON(o.may, "{}")
}

type administratorMigration struct {
	tx     *sql.Tx
	driver string
	now    time.Time
	lent   map[string]authz.Scopes // on the reserved resource, by roles
	names  map[string]bool         // that are taken
	roles  map[string]string       // names of management roles, by their permissions
}

func (m *administratorMigration) run(ctx context.Context) error {
	if m.driver == Postgres {
		if err := execAll(ctx, m.tx, "SET LOCAL statement_timeout = 0", "SET LOCAL lock_timeout = 0"); err != nil {
			return err
		}
	}
	if err := m.readRoles(ctx); err != nil {
		return err
	}
	suspects, err := m.suspects(ctx)
	if err != nil {
		return err
	}
	suspect, done := map[string]bool{}, map[string]bool{}
	for i := range suspects {
		suspect[suspects[i].id] = true
	}
	for i := range suspects {
		family := suspects[i].family
		if done[family] {
			continue
		}
		done[family] = true
		members, err := m.members(ctx, family)
		if err != nil {
			return err
		}
		for n := range members {
			members[n].suspect = suspect[members[n].id]
		}
		if err := m.split(ctx, members); err != nil {
			return fmt.Errorf("key %s: %w", suspects[i].prefix, err)
		}
	}
	return nil
}

// split makes an administrator of a family, whose newest key that works stands for it.
// Older keys with the same rights stay in the family. So do expired ones: no operation gives
// an older key of an administrator a later end. Each other key leaves the family, and is an
// administrator of its own if it could manage keys. Otherwise a key that could do less, or
// nothing, would get the power of the newest one.
func (m *administratorMigration) split(ctx context.Context, members []formerKey) error {
	at := max(slices.IndexFunc(members, func(k formerKey) bool { return k.usable() }), 0)
	first := &members[at]
	for i := range members {
		k := &members[i]
		if i == at || i > at && (k.equals(first) || k.expired && len(first.permissions) > 0) {
			continue
		}
		family, err := uuid.NewV7() // the family is called by the id of its first key, which may be this one
		if err != nil {
			return err
		}
		k.family = family.String()
		if _, err := m.tx.ExecContext(ctx, m.placed("UPDATE api_keys SET family = ? WHERE id = ?"), k.family, k.id); err != nil {
			return err
		}
		if err := m.administrator(ctx, k); err != nil {
			return err
		}
	}
	return m.administrator(ctx, first)
}

func (m *administratorMigration) readRoles(ctx context.Context) error {
	stored, err := pairs(ctx, m.tx, `SELECT name, scopes FROM roles WHERE scopes LIKE '%"`+authz.ReservedResource+`%'`)
	if err != nil {
		return err
	}
	m.lent = map[string]authz.Scopes{}
	for name, text := range stored {
		// A damaged role lends nothing, and its keys were refused.
		if scopes, err := readScopes(text); err == nil && len(scopes.Reserved()) > 0 {
			m.lent[name] = scopes.Reserved()
		}
	}
	return nil
}

// suspects finds keys that are not revoked and that may hold scopes on the reserved resource,
// newest first: by an index, and only where roles lend some it looks through all keys.
func (m *administratorMigration) suspects(ctx context.Context) ([]formerKey, error) {
	where := `scopes LIKE '%"` + authz.ReservedResource + `%'`
	var args []any
	for _, name := range sortedKeys(m.lent) {
		text, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		args = append(args, string(text))
		if m.driver == Postgres {
			where += " OR strpos(roles, $" + strconv.Itoa(len(args)) + ") > 0"
		} else {
			where += " OR instr(roles, ?) > 0"
		}
	}
	return m.keys(ctx, where, args...)
}

// members finds the keys of a family that are not revoked, newest first.
func (m *administratorMigration) members(ctx context.Context, family string) ([]formerKey, error) {
	if m.driver == Postgres {
		return m.keys(ctx, "family = $1 OR id = $1 AND family = ''", family)
	}
	return m.keys(ctx, "family = ?1 OR id = ?1 AND family = ''", family)
}

// keys finds keys that are not revoked, newest first. A key from before there were families
// is its own.
func (m *administratorMigration) keys(ctx context.Context, where string, args ...any) (keys []formerKey, err error) {
	expired := "COALESCE(expires_at <= now(), FALSE)"
	if m.driver != Postgres {
		expired = "COALESCE(datetime(expires_at) <= datetime('now'), FALSE)"
	}
	// #nosec G202 -- both texts are of this file; values are arguments
	rows, err := m.tx.QueryContext(ctx, `SELECT id, name, key_prefix, scopes, roles, grants, allowed_cidrs, CASE WHEN family = '' THEN id ELSE family END,
		CASE WHEN is_active THEN 1 ELSE 0 END, CASE WHEN `+expired+` THEN 1 ELSE 0 END
		FROM api_keys WHERE revoked_at IS NULL AND (`+where+`) ORDER BY created_at DESC, id DESC`, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var k formerKey
		var active, expired int
		if err := rows.Scan(&k.id, &k.name, &k.prefix, &k.scopes, &k.roles, &k.grants, &k.networks, &k.family, &active, &expired); err != nil {
			return nil, err
		}
		k.active, k.expired = active == 1, expired == 1
		k.permissions, k.may, k.fault = m.read(&k)
		keys = append(keys, k)
	}
	return keys, rows.Err()
}

func sortedKeys(m map[string]authz.Scopes) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// administrator makes one of the key, unless the key could manage nothing. A key whose row
// can't be read gets one that is disabled and has no roles: a start must not take the
// database for one without an administrator.
func (m *administratorMigration) administrator(ctx context.Context, k *formerKey) error {
	roles, grants, networks, active := []string{}, authz.Grants{}, "[]", false
	description := "made of the key " + k.prefix + " by an upgrade"
	switch {
	case !k.suspect || k.fault == nil && len(k.permissions) == 0:
		return nil
	case k.fault != nil:
		description += "; its row can't be read"
	default:
		role, err := m.role(ctx, k.permissions, k.may)
		if err != nil {
			return err
		}
		roles, grants, networks, active = append(roles, role), k.may, k.networks, k.active
		grants.Scopes = grants.Scopes.Ordinary()
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	_, err = m.tx.ExecContext(ctx, m.placed(`INSERT INTO administrators (id, name, description, roles, grants, allowed_cidrs, is_active, expires_at, family, created_by, created_at, updated_at, version)
		SELECT ?, ?, ?, ?, ?, ?, ?, expires_at, ?, 'migration', created_at, updated_at, 1 FROM api_keys WHERE id = ?`),
		id.String(), m.name(k.name), description, asJSON(roles, "[]"), asJSON(grants, "{}"), networks, active, k.family, k.id)
	if err != nil {
		return err
	}
	_, err = m.tx.ExecContext(ctx, m.placed("UPDATE api_keys SET family = id WHERE id = ? AND family = ''"), k.id)
	return err
}

// read returns what the key could do and grant.
func (m *administratorMigration) read(k *formerKey) (may []string, grants authz.Grants, err error) {
	scopes, err := readScopes(k.scopes)
	if err != nil {
		return nil, grants, err
	}
	var roles []string
	if err := json.Unmarshal([]byte(k.roles), &roles); err != nil {
		return nil, grants, err
	}
	if _, err := readNetworks(k.networks); err != nil {
		return nil, grants, err
	}
	if grants, err = readGrants(k.grants); err != nil {
		return nil, grants, err
	}
	for _, name := range roles {
		scopes = scopes.Union(m.lent[name])
	}
	for _, permission := range formerPermissions {
		if resource, action, _ := strings.Cut(permission, ":"); scopes.Allows(resource, action) {
			may = append(may, permission)
		}
	}
	return may, grants, nil
}

// role returns the name of the management role for what a key could do; it is made where
// it is not there yet.
func (m *administratorMigration) role(ctx context.Context, may []string, grants authz.Grants) (string, error) {
	everything := authz.Scopes{{Resource: "*", Actions: []string{"*"}}}
	if len(may) == len(formerPermissions) && grants.Scopes.Covers(everything) && slices.Contains(grants.Projects, "*") && len(grants.Users) == 0 {
		return "owner", nil
	}
	known := strings.Join(may, " ")
	if name, there := m.roles[known]; there {
		return name, nil
	}
	permissions, err := authz.ParseScopes(may)
	if err != nil {
		return "", err
	}
	name := "migrated-" + strconv.Itoa(len(m.roles)+1)
	m.roles[known] = name
	_, err = m.tx.ExecContext(ctx, m.placed("INSERT INTO administrator_roles (name, description, permissions, created_at, updated_at, version) VALUES (?, ?, ?, ?, ?, 1)"),
		name, "what keys could do by their scopes before an upgrade", asJSON(permissions, "[]"), m.now, m.now)
	return name, err
}

// name makes an administrator's name of a key's: of another form, and unique.
func (m *administratorMigration) name(of string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(of) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', b.Len() > 0 && strings.ContainsRune("._@+-", c):
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= 80 {
			break
		}
	}
	name := strings.Trim(b.String(), "-")
	if name == "" || uuid.Validate(name) == nil {
		name = "administrator"
	}
	free := name
	for n := 2; m.names[free]; n++ {
		free = name + "-" + strconv.Itoa(n)
	}
	m.names[free] = true
	return free
}

// placed writes the places of a statement as the driver wants them.
func (m *administratorMigration) placed(statement string) string {
	if m.driver != Postgres {
		return statement
	}
	var b strings.Builder
	n := 0
	for _, c := range statement {
		if c == '?' {
			n++
			b.WriteString("$" + strconv.Itoa(n))
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

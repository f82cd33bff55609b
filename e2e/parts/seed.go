package parts

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"extauthz/authz"
)

// Shape determines the sizes and contents of seeded keys.
type Shape struct {
	User             string // a format for the number of the user
	Name             string // # stands for the number of the key
	Scopes, Metadata string // JSON, as in the columns
}

// SeedKeys writes n keys into a migrated database as if they had been made long ago,
// without triggers and feed, and returns them. Each may read orders; each user has 10 of
// them.
func SeedKeys(tb testing.TB, dsn string, n int) []string {
	tb.Helper()
	return SeedKeysOf(tb, dsn, n, Shape{"user-%d", "seeded", `[{"resource":"orders","actions":["read"]}]`, "{}"})
}

// SeedKeysOf is SeedKeys for keys of another shape.
func SeedKeysOf(tb testing.TB, dsn string, n int, shape Shape) []string {
	tb.Helper()
	format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	if err != nil {
		tb.Fatal(err)
	}
	keys := make([]string, n)
	made := time.Now().Add(-24 * time.Hour)
	rows := pgx.CopyFromSlice(n, func(i int) ([]any, error) {
		key, prefix, err := format.Generate("live", rand.Reader)
		if err != nil {
			return nil, err
		}
		keys[i] = key.Reveal()
		digest := sha256.Sum256([]byte(keys[i]))
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		return []any{id.String(), fmt.Sprintf(shape.User, i/10), strings.ReplaceAll(shape.Name, "#", strconv.Itoa(i)), prefix, hex.EncodeToString(digest[:]), shape.Scopes, shape.Metadata, made, made, "live", i + 1}, nil
	})
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c, err := db.Conn(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	err = c.Raw(func(driver any) error {
		conn := driver.(*stdlib.Conn).Conn()
		if _, err := conn.Exec(ctx, "SET session_replication_role = replica"); err != nil { // no triggers
			return err
		}
		columns := []string{"id", "user_id", "name", "key_prefix", "key_hash", "scopes", "metadata", "created_at", "updated_at", "environment", "version"}
		if _, err := conn.CopyFrom(ctx, pgx.Identifier{"api_keys"}, columns, rows); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "SELECT setval('change_version', greatest($1, nextval('change_version')))", n)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, "ANALYZE api_keys"); err != nil {
		tb.Fatal(err)
	}
	return keys
}

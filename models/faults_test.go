package models

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"extauthz/authz"
)

func kindOf(err error) FaultKind {
	f, _ := FaultOf(err)
	return f.Kind
}

func TestFaultOf_PostgresCodes(t *testing.T) {
	for code, want := range map[string]FaultKind{
		"53100": FaultDiskFull, "53200": FaultResources, "53300": FaultConnections, "54023": FaultResources,
		"25006": FaultReadOnly, "42501": FaultPermission, "28P01": FaultRefused, "28000": FaultRefused,
		"3D000": FaultNoDatabase, "42P01": FaultSchemaMissing, "3F000": FaultSchemaMissing, "42703": FaultSchemaMissing,
		"57P01": FaultStarting, "57P03": FaultStarting, "57P04": FaultNoDatabase, "57014": FaultTimeout,
		"55P03": FaultBusy, "40001": FaultBusy, "40P01": FaultBusy, "58030": FaultIO, "XX001": FaultCorrupt,
		"08006": FaultUnreachable, "23505": FaultData, "22P02": FaultData, "XX000": FaultOther, "": FaultOther, "99999": FaultOther,
	} {
		err := fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code, Message: "a secret value"})
		f, ok := FaultOf(err)
		if !ok || f.Kind != want || f.What == "" || f.Do == "" || strings.Contains(f.String(), "secret") {
			t.Errorf("%s: %+v, want %s", code, f, want)
		}
	}
	for kind, f := range faultTexts {
		if f.What == "" || f.Do == "" || strings.ContainsAny(f.String(), "\n") {
			t.Errorf("%s: %q", kind, f)
		}
	}
	if _, ok := FaultOf(nil); ok {
		t.Error("nil is a fault")
	}
}

// TestFaultOf_Real: errors of real databases are classified.
func TestFaultOf_Real(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		if got := kindOf(db.gorm.Exec("SELECT 1 FROM nowhere").Error); got != FaultSchemaMissing {
			t.Errorf("no table: %s", got)
		}
		past, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		if got := kindOf(db.gorm.WithContext(past).Exec("SELECT 1").Error); got != FaultTimeout {
			t.Errorf("a deadline: %s", got)
		}
	})
	t.Run("no server", func(t *testing.T) {
		_, err := Open(t.Context(), Config{Driver: Postgres, DSN: "postgres://u:secret@127.0.0.1:1/x?sslmode=disable"})
		f, _ := FaultOf(err)
		if f.Kind != FaultUnreachable || !strings.Contains(f.What, "connection refused") || strings.Contains(f.String(), "secret") {
			t.Errorf("%+v", f)
		}
		_, err = Open(t.Context(), Config{Driver: Postgres, DSN: "postgres://u@no-such-host.invalid:1/x?sslmode=disable"})
		if f, _ := FaultOf(err); f.Kind != FaultUnreachable || !strings.Contains(f.What, "host name") {
			t.Errorf("%+v", f)
		}
	})
	t.Run("no database", func(t *testing.T) {
		c := postgresConfig(t)
		c.DSN = strings.Replace(c.DSN, "/test", "/absent", 1)
		_, err := Open(t.Context(), c)
		if got := kindOf(err); got != FaultNoDatabase {
			t.Errorf("%s: %v", got, err)
		}
	})
	t.Run("SQLite file", func(t *testing.T) {
		junk := filepath.Join(t.TempDir(), "junk.db")
		if err := os.WriteFile(junk, []byte(strings.Repeat("this is no database ", 100)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), Config{Driver: SQLite, DSN: junk}); kindOf(err) != FaultCorrupt {
			t.Errorf("junk: %v", err)
		}
		if _, err := Open(t.Context(), Config{Driver: SQLite, DSN: filepath.Join(t.TempDir(), "none", "x.db")}); kindOf(err) != FaultPermission {
			t.Errorf("no folder: %v", err)
		}
	})
}

// fillDisk makes the database accept no more rows until end is called.
func fillDisk(t *testing.T, db *DB) (end func()) {
	t.Helper()
	if db.driver == SQLite {
		var pages int
		if err := db.gorm.Raw("PRAGMA page_count").Row().Scan(&pages); err != nil {
			t.Fatal(err)
		}
		run(t, db, fmt.Sprintf("PRAGMA max_page_count = %d", pages))
		return func() { run(t, db, "PRAGMA max_page_count = 1000000") }
	}
	run(t, db, "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$")
	for _, table := range []string{"api_keys", "key_usage", "usage_marks"} {
		run(t, db, "CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON "+table+" EXECUTE FUNCTION full_disk()")
	}
	return func() {
		for _, table := range []string{"api_keys", "key_usage", "usage_marks"} {
			run(t, db, "DROP TRIGGER full_disk ON "+table)
		}
	}
}

// TestWrites_FailAndRecover: any kind of write detects both, and so does the probe if
// there are no writes.
func TestWrites_FailAndRecover(t *testing.T) {
	for _, write := range []string{"create", "change", "usage", "probe"} {
		t.Run(write, func(t *testing.T) {
			each(t, func(t *testing.T, db *DB) {
				k := insert(t, db, newKey(t, nil))[0]
				if _, fail := db.WritesFail(time.Now()); fail {
					t.Fatal("writes fail from the start")
				}
				try := func() error {
					switch write {
					case "create":
						_, err := db.Mutate(t.Context(), authz.Selection{}, func([]authz.Record) (authz.Mutation, error) {
							return authz.Mutation{Create: []authz.NewKey{newKey(t, func(r *authz.Record) { r.Metadata = map[string]string{"x": strings.Repeat("x", 8000)} })}}, nil
						})
						return err
					case "change":
						_, err := db.Mutate(t.Context(), authz.Selection{Ref: k.ID}, func(found []authz.Record) (authz.Mutation, error) {
							found[0].Metadata = map[string]string{"x": strings.Repeat("y", 8000)}
							return authz.Mutation{Update: found}, nil
						})
						return err
					case "usage":
						var some []authz.Usage
						for i := range 500 {
							some = append(some, authz.Usage{KeyID: fmt.Sprintf("%s-%d", k.ID, i), Count: 1, LastUsedAt: time.Now()})
						}
						_, err := db.AddUsage(t.Context(), []authz.UsageBatch{{Source: "x", Sequence: uint64(time.Now().UnixNano()), Usage: some}})
						return err
					}
					return db.ProbeWrite(t.Context(), 0)
				}
				end := fillDisk(t, db)
				err := try()
				if f, _ := FaultOf(err); f.Kind != FaultDiskFull || !strings.Contains(f.String(), "the disk under the database is full") {
					t.Fatalf("got %v, %+v", err, f)
				}
				if f, fail := db.WritesFail(time.Now()); !fail || f.Kind != FaultDiskFull {
					t.Errorf("writes fail: %v, %+v", fail, f)
				}
				if _, err := db.KeyByRef(t.Context(), k.ID); err != nil {
					t.Errorf("reading: %v", err)
				}
				end()
				if err := try(); err != nil {
					t.Fatal(err)
				}
				if _, fail := db.WritesFail(time.Now()); !fail {
					t.Error("one write that went well ends it at once: another may still find no room")
				}
				if _, fail := db.WritesFail(time.Now().Add(writesCalm)); fail {
					t.Error("writes still fail")
				}
			})
		})
	}
}

// TestWrites_ReadOnlyDatabaseIsNoticedByTheBeat: the beat is enough, without any change
// of a key.
func TestWrites_ReadOnlyDatabaseIsNoticedByTheBeat(t *testing.T) {
	c := postgresConfig(t)
	c.DSN += "&default_transaction_read_only=off"
	db := migrated(t, c)
	if _, err := db.Beat(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	c.DSN = strings.Replace(c.DSN, "read_only=off", "read_only=on", 1)
	readOnly := opened(t, c)
	if _, err := readOnly.Beat(t.Context(), "a"); kindOf(err) != FaultReadOnly {
		t.Errorf("got %v", err)
	}
	if f, fail := readOnly.WritesFail(time.Now()); !fail || f.Kind != FaultReadOnly {
		t.Errorf("writes fail: %v, %+v", fail, f)
	}
}

// TestWrites_OneStatementsBadLuckIsNoCondition: locks and time-outs are reported only
// when they last. A statement that is refused for its content is never reported.
func TestWrites_OneStatementsBadLuckIsNoCondition(t *testing.T) {
	db := &DB{}
	later := func() time.Time { return time.Now().Add(writesPersist + time.Second) }
	for range 10 {
		for _, err := range []error{authz.ErrConflict, context.Canceled, errors.New("something"), &pgconn.PgError{Code: "23505"}} {
			db.recordWrite(err)
		}
	}
	if f, fail := db.WritesFail(later()); fail {
		t.Errorf("%+v", f)
	}
	for i := range minFailures {
		if _, fail := db.WritesFail(later()); fail {
			t.Errorf("after %d failures", i)
		}
		db.recordWrite(context.DeadlineExceeded)
	}
	if _, fail := db.WritesFail(later()); !fail {
		t.Error("what lasts is not noticed")
	}
	db.recordWrite(nil)
	if _, fail := db.WritesFail(later()); fail {
		t.Error("a write went well")
	}
}

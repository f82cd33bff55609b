//go:build full

package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"extauthz/e2e/parts"
)

// TestConditions_DatabaseIsReplacedByAnEmptyOne: the service notices it at once, migrates
// it again, and refuses the keys of the lost database.
func TestConditions_DatabaseIsReplacedByAnEmptyOne(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	postgres := parts.StartPostgres(t)
	dsn := postgres.NewDatabase(t)
	file, _ := administratorFile(t)
	configuration := fmt.Sprintf("database: {driver: postgres, dsn: %q, listen_dsn: %q}\nadmin: {bootstrap_key_file: %q}", dsn, dsn, file)
	a, b := parts.StartService(t, configuration), parts.StartService(t, configuration)
	admin, err := sql.Open("pgx", postgres.Superuser())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close() }()
	inDatabase := func(statements ...string) {
		t.Helper()
		db, err := sql.Open("pgx", dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		for _, s := range statements {
			if _, err := db.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	name := dsnDatabase(dsn)
	for how, replace := range map[string]func(){
		"database dropped and made anew": func() {
			for _, s := range []string{"DROP DATABASE " + name + " WITH (FORCE)", "CREATE DATABASE " + name} {
				if _, err := admin.Exec(s); err != nil {
					t.Fatal(err)
				}
			}
		},
		"schema dropped and made anew": func() { inDatabase("DROP SCHEMA public CASCADE", "CREATE SCHEMA public") },
	} {
		t.Run(how, func(t *testing.T) {
			k, checkA, checkB := knownToBoth(t, a.On(t), b.On(t))
			replace()
			for _, s := range []*parts.Service{a, b} {
				soon(t, func() error {
					if !strings.Contains(s.Log(), `"condition":"schema_missing"`) {
						return errors.New("not noticed")
					}
					return nil
				})
			}
			for _, check := range []func(path, key string) string{checkA, checkB} {
				soon(t, func() error {
					if got := check("/orders", k.Key); got != "unknown_key" {
						return fmt.Errorf("a key of the lost database: %s", got)
					}
					return nil
				})
			}
			for _, s := range []*parts.Service{a, b} {
				soon(t, func() error {
					if got := conditionsOf(t, s); len(got) != 0 {
						return fmt.Errorf("after it was migrated again: %v", got)
					}
					return nil
				})
			}
			knownToBoth(t, a.On(t), b.On(t)) // and keys can be made again
		})
	}
	a.Stop()
	b.Stop()
}

// TestConditions_DatabaseThatCanNotBeMigratedAgain: the replica is not ready until the
// database is repaired.
func TestConditions_DatabaseThatCanNotBeMigratedAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	postgres := parts.StartPostgres(t)
	dsn := postgres.NewDatabase(t)
	file, _ := administratorFile(t)
	s := parts.StartService(t, fmt.Sprintf("database: {driver: postgres, dsn: %q}\nadmin: {bootstrap_key_file: %q}", dsn, file))
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec("ALTER TABLE extauthz_meta RENAME TO elsewhere"); err != nil { // so only some tables exist
		t.Fatal(err)
	}
	showsSoon(t, s, "schema_missing", "", "lacks extauthz's tables")
	showsSoon(t, s, "migration_failed", "", "restore it whole")
	if status, body := opsAnswer(t, "http://"+s.Ops+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, `"state":"not_ready"`) {
		t.Errorf("/readyz answers %d: %s", status, body)
	}
	if got := servingStatus(t, s); got != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("gRPC health: %s", got)
	}
	if _, err := db.Exec("ALTER TABLE elsewhere RENAME TO extauthz_meta"); err != nil {
		t.Fatal(err)
	}
	endsSoon(t, s, "migration_failed", "")
	endsSoon(t, s, "schema_missing", "")
	soon(t, func() error {
		if got := servingStatus(t, s); got != healthv1.HealthCheckResponse_SERVING {
			return fmt.Errorf("gRPC health: %s", got)
		}
		return nil
	})
	s.Stop()
}

func servingStatus(t *testing.T, s *parts.Service) healthv1.HealthCheckResponse_ServingStatus {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+s.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	res, err := healthv1.NewHealthClient(c).Check(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return res.GetStatus()
}

// TestConditions_SQLiteFileIsReplaced: after the file is removed or replaced, the service
// uses the new one.
func TestConditions_SQLiteFileIsReplaced(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary")
	}
	for how, replace := range map[string]func(t *testing.T, path string){
		"removed": func(t *testing.T, path string) {
			for _, suffix := range []string{"", "-wal", "-shm"} {
				if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
		},
		"the file alone removed": func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		},
		"another one in its place": func(t *testing.T, path string) {
			other := parts.StartService(t, "")
			other.Stop()
			if err := os.Rename(filepath.Join(other.DataDir, "extauthz.db"), path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(how, func(t *testing.T) {
			s := parts.StartService(t, "")
			check := reasonOf(checker(t, s))
			k := s.NewKey("--scope", "orders:read")
			if got := check("/orders", k.Key); got != "granted" {
				t.Fatal(got)
			}
			replace(t, filepath.Join(s.DataDir, "extauthz.db"))
			soon(t, func() error {
				if got := check("/orders", k.Key); got != "unknown_key" {
					return fmt.Errorf("a key of the lost file: %s", got)
				}
				return nil
			})
			soon(t, func() error {
				if got := conditionsOf(t, s); len(got) != 0 {
					return fmt.Errorf("later: %v", got)
				}
				return nil
			})
			s.Stop()
			s.Restart() // the file is complete
			s.Stop()
		})
	}
}

// startsOnAFullDisk: a clean stop removes the files beside SQLite's, which a start has to
// make again. The service waits, and reports why, until there is space.
func startsOnAFullDisk(t *testing.T, s *parts.Service, filler string) {
	t.Helper()
	fillDisk(t, filler)
	s.Launch()
	soon(t, func() error {
		_, body := opsAnswer(t, "http://"+s.Ops+"/readyz")
		if !strings.Contains(body, "database_wait") || !strings.Contains(body, "the disk under the database is full") {
			return fmt.Errorf("a start on a full disk: %s", body)
		}
		return nil
	})
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	soon(t, func() error {
		if status, body := opsAnswer(t, "http://"+s.Ops+"/readyz"); status != http.StatusOK {
			return fmt.Errorf("with free space again: %d %s", status, body)
		}
		return nil
	})
	s.Stop()
}

// TestConditions_DiskIsFull: the error of a revocation names the cause and the remedy,
// a condition reports it, checks go on, and nothing needs a restart afterwards.
func TestConditions_DiskIsFull(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	if !parts.Isolated(t) {
		return
	}
	for _, driver := range []string{"sqlite", "postgres"} {
		t.Run(driver, func(t *testing.T) {
			t.Setenv("TMPDIR", "/tmp") // Postgres runs as another user, which must be able to reach it
			dir, err := os.MkdirTemp("", "disk-")
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m,mode=0777"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := errors.Join(syscall.Unmount(dir, syscall.MNT_DETACH), os.Remove(dir)); err != nil {
					t.Error(err)
				}
			})
			configuration := fmt.Sprintf("database: {dsn: %q}", filepath.Join(dir, "x.db"))
			if driver == "postgres" {
				configuration = onSmallTablespace(t, dir)
			}
			s := parts.StartService(t, configuration)
			check := reasonOf(checker(t, s))
			k := s.NewKey("--scope", "orders:read")
			if got := check("/orders", k.Key); got != "granted" {
				t.Fatal(got)
			}
			filler := filepath.Join(dir, "filler")
			fillDisk(t, filler)
			create := func() (stderr string, err error) {
				args := []string{"keys", "create", "--user", "u", "--name", "n", "--scope", "a:b"}
				for i := range 8 {
					args = append(args, "--meta", fmt.Sprintf("m%d=%s", i, strings.Repeat("x", 900)))
				}
				_, stderr, err = s.CLI(args...)
				return stderr, err
			}
			soon(t, func() error {
				if stderr, err := create(); err == nil || !strings.Contains(stderr, "the disk under the database is full") || !strings.Contains(stderr, "free or add space") {
					return fmt.Errorf("the command line reports %w, %s", err, stderr)
				}
				return nil
			})
			soon(t, func() error {
				for _, c := range conditionsOf(t, s) {
					if c.Name == "database_writes_fail" && strings.Contains(c.Text, "the disk under the database is full") {
						return nil
					}
				}
				return fmt.Errorf("no condition: %v", conditionsOf(t, s))
			})
			if status, body := opsAnswer(t, "http://"+s.Ops+"/readyz"); status != http.StatusOK {
				t.Errorf("/readyz answers %d: %s", status, body)
			}
			if got := check("/orders", k.Key); got != "granted" {
				t.Errorf("a check: %s", got)
			}
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			soon(t, func() error {
				if got := conditionsOf(t, s); len(got) > 0 {
					return fmt.Errorf("with free space again: %v", got)
				}
				return nil
			})
			if stderr, err := create(); err != nil {
				t.Errorf("with free space again: %v, %s", err, stderr)
			}
			s.Must("keys", "revoke", k.ID)
			s.Stop()
			if driver == "sqlite" {
				startsOnAFullDisk(t, s, filler)
			}
		})
	}
}

// onSmallTablespace makes a database in a folder, and returns the service's configuration
// for it.
func onSmallTablespace(t *testing.T, dir string) string {
	t.Helper()
	postgres := parts.StartPostgres(t)
	space := filepath.Join(dir, "space")
	if err := os.Mkdir(space, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Own(space); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", postgres.Superuser())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for _, statement := range []string{fmt.Sprintf("CREATE TABLESPACE small LOCATION '%s'", space), "CREATE DATABASE small TABLESPACE small"} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	file, _ := administratorFile(t)
	return fmt.Sprintf("database: {driver: postgres, dsn: %q}\nadmin: {bootstrap_key_file: %q}", strings.Replace(postgres.Superuser(), "/postgres?", "/small?", 1), file)
}

// fillDisk writes a file until there is no space.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1 << 20, 4 << 10} {
		for {
			if _, err = f.Write(make([]byte, size)); err != nil {
				break
			}
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	_ = f.Close()
}

// TestConditions_SealingKeysDiffer: both replicas report it until one of them has the
// other's key too.
func TestConditions_SealingKeysDiffer(t *testing.T) {
	redis := parts.StartRedis(t)
	other := filepath.Join(t.TempDir(), "other.key")
	if err := os.WriteFile(other, []byte(strings.Repeat("fedcba9876543210", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	file := sealingKeyFile(t)
	dsn := parts.StartPostgres(t).NewDatabase(t)
	administrator, _ := administratorFile(t)
	configuration := func(sealing string) string {
		return fmt.Sprintf("database: {driver: postgres, dsn: %q}\nadmin: {bootstrap_key_file: %q}\ncache: {sealing_key_file: %q, monitor: {interval: 1s}, redis: {addresses: [%q]}}", dsn, administrator, sealing, redis.Addr())
	}
	a, b := parts.StartService(t, configuration(file)), parts.StartService(t, configuration(other))
	for _, s := range []*parts.Service{a, b} {
		soon(t, func() error {
			for _, c := range conditionsOf(t, s) {
				if c.Name == "sealing_mismatch" && strings.Contains(c.Text, "which this one does not have") {
					return nil
				}
			}
			return fmt.Errorf("not reported: %v", conditionsOf(t, s))
		})
	}
	if err := os.WriteFile(b.Configuration, []byte(configuration(file)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*parts.Service{a, b} {
		soon(t, func() error {
			if got := conditionsOf(t, s); len(got) > 0 {
				return fmt.Errorf("with the same key: %v", got)
			}
			return nil
		})
	}
	a.Stop()
	b.Stop()
}

// TestConditions_RowsCanNotBeRead: the service finds them at a start, although the key is
// not used.
func TestConditions_RowsCanNotBeRead(t *testing.T) {
	s := parts.StartService(t, "")
	k := s.NewKey("--scope", "orders:read")
	s.Stop()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.DataDir, "extauthz.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("UPDATE api_keys SET rate = 'fast' WHERE id = ?", k.ID); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	showsSoon(t, s, "rows_unreadable", "", k.Prefix)
	s.Stop()
}

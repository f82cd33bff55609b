package models

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// rotation is a role whose password changes, and the place from which the service reads
// the password.
type rotation struct {
	role    string
	n       int
	config  Config
	publish func(password string) // writes it to that place
}

func (r *rotation) password() string { return fmt.Sprintf("secret-%d", r.n) }

// rotate gives the role another password on the server, and then writes it to the place.
// In between, the service still reads the old password.
func (r *rotation) rotate(t *testing.T) {
	t.Helper()
	r.n++
	if err := server.Exec(fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", r.role, r.password())); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // a mounted secret takes time to arrive too
	r.publish(r.password())
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// passwordIn is a password source that reads a file.
type passwordIn string

func (p passwordIn) Password(context.Context) (string, error) {
	text, err := os.ReadFile(string(p))
	return string(text), err
}

func (passwordIn) Rejected() {}

// rotations lists the places where a password can be.
var rotations = map[string]func(t *testing.T, r *rotation){
	"dsn_file": func(t *testing.T, r *rotation) {
		path := filepath.Join(t.TempDir(), "dsn")
		r.config.ReadDSN = func() (string, error) {
			text, err := os.ReadFile(path)
			return string(text), err
		}
		r.publish = func(password string) {
			write(t, path, fmt.Sprintf("postgres://%s:%s@%s/postgres?sslmode=disable", r.role, password, local(server)))
		}
	},
	"passfile": func(t *testing.T, r *rotation) {
		path := filepath.Join(t.TempDir(), "pgpass")
		r.config.DSN = fmt.Sprintf("postgres://%s@%s/postgres?sslmode=disable&passfile=%s", r.role, local(server), path)
		r.publish = func(password string) { write(t, path, "*:*:*:*:"+password+"\n") }
	},
	"password source": func(t *testing.T, r *rotation) {
		path := filepath.Join(t.TempDir(), "password")
		r.config.DSN = fmt.Sprintf("postgres://%s@%s/postgres?sslmode=disable", r.role, local(server))
		r.config.Password = passwordIn(path)
		r.publish = func(password string) { write(t, path, password) }
	},
}

func newRotation(t *testing.T, place string) *rotation {
	t.Helper()
	needsPostgres(t)
	role := fmt.Sprintf("rotated%d", time.Now().UnixNano())
	r := &rotation{role: role, config: Config{Driver: Postgres}}
	rotations[place](t, r)
	if err := errors.Join(server.Exec("CREATE ROLE "+role+" LOGIN"), server.RequirePassword(role)); err != nil {
		t.Fatal(err)
	}
	r.rotate(t)
	return r
}

// load sends queries from many callers until stop is called, and counts errors. It does
// so in waves, so that the pool shrinks and grows.
func load(t *testing.T, db *DB) (stop func() (asked, failed int, last error)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var mu sync.Mutex
	var asked, failed int
	var last error
	for i := range 12 {
		group.Go(func() {
			for ctx.Err() == nil {
				limited, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
				_, err := db.pools[0].ExecContext(limited, "SELECT pg_sleep(0.002)")
				done()
				mu.Lock()
				asked++
				if err != nil {
					failed, last = failed+1, err
				}
				mu.Unlock()
				time.Sleep(time.Duration(i) * 3 * time.Millisecond)
			}
		})
	}
	return func() (int, int, error) {
		cancel()
		group.Wait()
		return asked, failed, last
	}
}

func rotateUnderLoad(t *testing.T, place string, times int, every time.Duration) {
	t.Helper()
	r := newRotation(t, place)
	db := connections(t, r.config, 6)
	stop := load(t, db)
	for range times {
		time.Sleep(every)
		r.rotate(t)
	}
	time.Sleep(min(every, time.Second))
	changed := time.Now()
	eventually(t, "connections of older passwords", func(ctx context.Context) error {
		var old int
		err := superuser(t).pools[0].QueryRowContext(ctx, "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND backend_start < $2", r.role, changed.Add(-every-time.Second)).Scan(&old)
		if err == nil && old > 0 {
			err = fmt.Errorf("%d are still in use", old)
		}
		return err
	})
	asked, failed, last := stop()
	if failed > 0 || asked == 0 {
		t.Errorf("%d of %d failed: %v", failed, asked, last)
	}
	t.Logf("%d statements, none failed, over %d changes", asked, times)
}

func superuser(t *testing.T) *DB { return connections(t, Config{DSN: server.Superuser()}, 1) }

func TestConnector_PasswordChangesUnderLoad(t *testing.T) {
	for place := range rotations {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			rotateUnderLoad(t, place, 4, 600*time.Millisecond)
		})
	}
}

func TestConnector_WrongSettingsKeepWhatWorks(t *testing.T) {
	r := newRotation(t, "password source")
	good := r.config.DSN
	path := filepath.Join(t.TempDir(), "dsn")
	r.config.ReadDSN = func() (string, error) {
		text, err := os.ReadFile(path)
		return string(text), err
	}
	write(t, path, good)
	db := connections(t, r.config, 1) // nearly each call needs a new connection
	for what, wrong := range map[string]string{
		"another role":      fmt.Sprintf("postgres://unknown@%s/postgres?sslmode=disable", local(server)),
		"another database":  fmt.Sprintf("postgres://%s@%s/nowhere?sslmode=disable", r.role, local(server)),
		"an empty file":     "",
		"a host that hangs": fmt.Sprintf("postgres://%s@%s/postgres?sslmode=disable", r.role, parts.Mute(t)),
		"a dead host":       fmt.Sprintf("postgres://%s@127.0.0.1:1/postgres?sslmode=disable", r.role),
		"no certificate":    good + "&sslcert=/nowhere&sslkey=/nowhere",
	} {
		t.Run(what, func(t *testing.T) {
			if n := all(t, db, server.Port(), patience); n > 0 {
				t.Fatalf("%d callers failed before", n)
			}
			write(t, path, wrong)
			defer write(t, path, good)
			for end := time.Now().Add(1200 * time.Millisecond); time.Now().Before(end); {
				if n := all(t, db, server.Port(), patience); n > 0 {
					t.Fatalf("%d callers failed", n)
				}
			}
		})
	}
}

// TestConnector_CallersShareWhatThereIs: callers share the existing connections while the
// server has a new password that the service can't read yet.
func TestConnector_CallersShareWhatThereIs(t *testing.T) {
	r := newRotation(t, "password source")
	admin, db := superuser(t), connections(t, r.config, 6)
	open := func() (n int) {
		t.Helper()
		if err := admin.pools[0].QueryRow("SELECT count(*) FROM pg_stat_activity WHERE usename = $1", r.role).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if _, err := servedBy(t.Context(), db, patience); err != nil { // one connection
		t.Fatal(err)
	}
	if err := server.Exec("ALTER ROLE " + r.role + " PASSWORD 'not here yet'"); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if n := all(t, db, server.Port(), patience); n > 0 {
			t.Fatalf("%d callers failed", n)
		}
	}
	if n := open(); n != 1 {
		t.Fatalf("%d connections: the old password is accepted", n)
	}
	r.publish("not here yet")
	eventually(t, "more connections", func(context.Context) error {
		if n := all(t, db, server.Port(), patience); n > 0 {
			return parts.Final(fmt.Errorf("%d callers failed", n))
		}
		if n := open(); n < 2 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
}

func TestConnector_ClientCertificateIsExchanged(t *testing.T) {
	p := secondServer(t)
	authority := parts.NewAuthority(t)
	if err := errors.Join(p.Exec("CREATE ROLE test LOGIN"), p.RequireCertificate(t, authority, "test")); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	own := authority.Issue(dir)
	c := Config{Driver: Postgres, DSN: fmt.Sprintf("postgres://test@%s/postgres?sslmode=verify-full&sslrootcert=%s&sslcert=%s&sslkey=%s", local(p), own.CAFile, own.CertFile, own.KeyFile)}
	db := connections(t, c, 6)
	serial := func(ctx context.Context) (n int, err error) {
		err = db.pools[0].QueryRowContext(ctx, "SELECT client_serial::int FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&n)
		return n, err
	}
	before, err := serial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	authority.Issue(dir)
	eventually(t, "the new certificate", func(ctx context.Context) error {
		after, err := serial(ctx)
		if err != nil {
			return parts.Final(err)
		}
		if after == before {
			return errors.New("the old one is shown")
		}
		return nil
	})
}

func TestListen_GoesOnWithNewCredentials(t *testing.T) {
	r := newRotation(t, "passfile")
	listening := make(chan bool, 100)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	notified := make(chan struct{}, 100)
	go func() {
		done <- Listen(ctx, ListenConfig{Database: r.config, Notify: func() { notified <- struct{}{} }, Listening: func(is bool) { listening <- is }, Logger: slog.New(slog.DiscardHandler)})
	}()
	<-notified
	admin := superuser(t)
	process := func(ctx context.Context) (pid int, err error) {
		err = admin.pools[0].QueryRowContext(ctx, "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE usename = $1 AND query LIKE 'LISTEN%' OR usename = $1 AND query LIKE '-- ping%'", r.role).Scan(&pid)
		return pid, err
	}
	before, err := process(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.rotate(t)
	eventually(t, "another connection", func(ctx context.Context) error {
		after, err := process(ctx)
		if err == nil && (after == before || after == 0) {
			err = errors.New("it is the old one")
		}
		return err
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if first, second := <-listening, <-listening; !first || second || len(listening) > 0 {
		t.Error("it stopped to listen in between")
	}
}

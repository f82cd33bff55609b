package parts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver that databases are made with
)

// ErrNoPostgres means that no Postgres is installed. A test may be skipped for it, unless
// the environment variable CI is set.
var ErrNoPostgres = errors.New("no Postgres is installed: run scripts/install-parts.sh postgres")

// portTries is how often the start of a server is tried again because another process
// took its port.
const portTries = 3

// Postgres is a throw-away server on loopback. Durability is off, except for
// [StartDurablePostgres].
type Postgres struct {
	dir, bin string
	durable  bool
	port     int
	owner    *syscall.SysProcAttr // nil: this process's user
	next     atomic.Int64
	rules    sync.Mutex // guards pg_hba.conf
}

// StartPostgres starts a server that ends with the test. Without Postgres the test is
// skipped; if CI is set, it fails.
func StartPostgres(tb testing.TB) *Postgres {
	tb.Helper()
	return startPostgres(tb, false)
}

// StartDurablePostgres is StartPostgres with fsync, synchronous commits and full page
// writes on, as measurements of writes need.
func StartDurablePostgres(tb testing.TB) *Postgres {
	tb.Helper()
	return startPostgres(tb, true)
}

func startPostgres(tb testing.TB, durable bool) *Postgres {
	tb.Helper()
	p, stop, err := runPostgres(durable)
	if errors.Is(err, ErrNoPostgres) && os.Getenv("CI") == "" {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := stop(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// RunPostgres starts a server for the tests of a whole package, from TestMain;
// stop ends it and removes its files.
func RunPostgres() (p *Postgres, stop func() error, err error) { return runPostgres(false) }

func runPostgres(durable bool) (p *Postgres, stop func() error, err error) {
	p = &Postgres{durable: durable}
	if p.bin, err = postgresBin(); err != nil {
		return nil, nil, err
	}
	if p.dir, err = os.MkdirTemp("", "extauthz-postgres-"); err != nil {
		return nil, nil, err
	}
	defer func(dir string) {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}(p.dir)
	if os.Geteuid() == 0 { // Postgres refuses to run as root
		if err := p.becomePostgres(); err != nil {
			return nil, nil, err
		}
	}
	if err := p.run("initdb", "-D", p.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"); err != nil {
		return nil, nil, err
	}
	for range portTries {
		if p.port, err = FreePort(); err != nil {
			return nil, nil, err
		}
		if err = p.Start(); err == nil {
			return p, func() error { return errors.Join(p.Stop(), os.RemoveAll(p.dir)) }, nil
		}
	}
	return nil, nil, err
}

// Start starts the server again, on its port and data, after [Postgres.Stop] or
// a kill, and waits until it answers.
func (p *Postgres) Start() error {
	options := fmt.Sprintf("-p %d -c listen_addresses=127.0.0.1 -k %s", p.port, p.dir)
	if !p.durable {
		options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
	}
	return p.run("pg_ctl", "-D", p.data(), "-w", "-l", filepath.Join(p.dir, "log"), "-o", options, "start")
}

// Stop ends the server and all connections at once; databases stay. It is no error if the
// server does not run.
func (p *Postgres) Stop() error {
	if p.run("pg_ctl", "-D", p.data(), "status") != nil {
		return nil
	}
	return p.run("pg_ctl", "-D", p.data(), "-m", "immediate", "stop")
}

// PID returns the server's process, which has one child for each connection. To freeze or
// kill the server, signal the children too.
func (p *Postgres) PID() (int, error) {
	file, err := os.ReadFile(filepath.Join(p.data(), "postmaster.pid"))
	if err != nil {
		return 0, fmt.Errorf("postgres does not run: %w", err)
	}
	first, _, _ := strings.Cut(string(file), "\n")
	return strconv.Atoi(first)
}

// Kill ends the server and all its processes with SIGKILL; Start recovers it.
func (p *Postgres) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	deadline := time.Now().Add(stopTime)
	for p.run("pg_ctl", "-D", p.data(), "status") == nil {
		if time.Now().After(deadline) {
			return errors.New("postgres did not die")
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// Freeze suspends the server and all its processes; connections stay open. Thaw resumes
// them.
func (p *Postgres) Freeze() error { return p.signal(syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (p *Postgres) Thaw() error { return p.signal(syscall.SIGCONT) }

// signal sends a signal to the server and its children.
func (p *Postgres) signal(signal syscall.Signal) error {
	pid, err := p.PID()
	if err != nil {
		return err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return err
	}
	errs := []error{syscall.Kill(pid, signal)}
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(n, signal) // it may have ended
		}
	}
	return errors.Join(errs...)
}

// Backup copies the server's files, as a snapshot of its volume would. It returns a
// function that puts the copy in place of the present files. The server is down
// meanwhile.
func (p *Postgres) Backup() (restore func() error, err error) {
	kept := filepath.Join(p.dir, fmt.Sprintf("backup%d", p.next.Add(1)))
	if err := errors.Join(p.Stop(), p.copyFiles(p.data(), kept), p.Start()); err != nil {
		return nil, err
	}
	return func() error {
		if err := p.Stop(); err != nil {
			return err
		}
		return errors.Join(os.RemoveAll(p.data()), p.copyFiles(kept, p.data()), p.Start())
	}, nil
}

func (p *Postgres) copyFiles(from, to string) error {
	out, err := exec.Command("cp", "-a", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return nil
}

// Standby starts a server that follows this one until [Postgres.Detach], and
// ends with the test.
func (p *Postgres) Standby(tb testing.TB) *Postgres {
	tb.Helper()
	s := &Postgres{bin: p.bin, owner: p.owner}
	var err error
	if s.dir, err = os.MkdirTemp("", "extauthz-postgres-"); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := errors.Join(s.Stop(), os.RemoveAll(s.dir)); err != nil {
			tb.Error(err)
		}
	})
	if s.owner != nil {
		if err := os.Chown(s.dir, int(s.owner.Credential.Uid), int(s.owner.Credential.Gid)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := s.run("pg_basebackup", "-h", "127.0.0.1", "-p", strconv.Itoa(p.port), "-U", "postgres", "-D", s.data(), "-R", "-c", "fast", "--no-sync"); err != nil {
		tb.Fatal(err)
	}
	for range portTries {
		if s.port, err = FreePort(); err != nil {
			tb.Fatal(err)
		}
		if err = s.Start(); err == nil {
			return s
		}
	}
	tb.Fatal(err)
	return nil
}

// Detach stops a standby's replication, so that it lags behind.
func (p *Postgres) Detach() error {
	return p.sql("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
}

// Promote makes a standby a primary.
func (p *Postgres) Promote() error { return p.run("pg_ctl", "-D", p.data(), "-w", "promote") }

func (p *Postgres) sql(statements ...string) error {
	db, err := sql.Open("pgx", p.Superuser())
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// Or returns the connection string of a database that is on this server or, once the
// other one is promoted, on that one.
func (p *Postgres) Or(other *Postgres, dsn string) string {
	return strings.Replace(dsn, fmt.Sprintf(":%d/", p.port), fmt.Sprintf(":%d,127.0.0.1:%d/", p.port, other.port), 1) + "&target_session_attrs=read-write"
}

// Superuser returns a connection string to the server as superuser.
func (p *Postgres) Superuser() string { return p.dsn("postgres") }

// NewDatabase makes an empty database that is dropped with the test.
func (p *Postgres) NewDatabase(tb testing.TB) (dsn string) {
	tb.Helper()
	name := fmt.Sprintf("test%d", p.next.Add(1))
	admin, err := sql.Open("pgx", p.dsn("postgres"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if _, err := admin.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			tb.Error(err)
		}
		_ = admin.Close()
	})
	if _, err := admin.Exec("CREATE DATABASE " + name); err != nil {
		tb.Fatal(err)
	}
	return p.dsn(name)
}

// Own makes the server's user the owner of a folder.
func (p *Postgres) Own(dir string) error {
	if p.owner == nil {
		return nil
	}
	return os.Chown(dir, int(p.owner.Credential.Uid), int(p.owner.Credential.Gid))
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

func (p *Postgres) dsn(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", p.port, database)
}

func (p *Postgres) becomePostgres() error {
	u, err := user.Lookup("postgres")
	if err != nil {
		return fmt.Errorf("as root the user postgres is needed: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	p.owner = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return os.Chown(p.dir, int(uid), int(gid))
}

func (p *Postgres) run(name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, name), args...)
	cmd.Dir, cmd.SysProcAttr = p.dir, p.owner
	// The output goes to a file, not a pipe: the server keeps it open, and Wait would
	// wait for it.
	out, err := os.CreateTemp(p.dir, name+"-")
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
		return fmt.Errorf("%s: %w: %s%s", name, err, said, log)
	}
	return nil
}

// postgresBin finds the program folder of the newest server: programs in PATH may be
// wrappers.
func postgresBin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	newest, bin := 0, ""
	for _, path := range found {
		dir := filepath.Dir(path)
		if version, err := strconv.Atoi(filepath.Base(filepath.Dir(dir))); err == nil && version > newest {
			newest, bin = version, dir
		}
	}
	if bin != "" {
		return bin, nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", ErrNoPostgres
	}
	return filepath.Dir(path), nil
}

// Exec runs statements as the superuser.
func (p *Postgres) Exec(statements ...string) error { return p.sql(statements...) }

// Port is where the server listens on 127.0.0.1.
func (p *Postgres) Port() int { return p.port }

package parts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver that databases are made with
)

// Postgres is a throw-away server on loopback, with durability off.
type Postgres struct {
	dir, bin string
	port     int
	owner    *syscall.SysProcAttr // nil: ourselves
	next     atomic.Int64
}

// RunPostgres starts a server; stop ends it and removes its files. It is meant
// for TestMain.
func RunPostgres() (p *Postgres, stop func() error, err error) {
	p = &Postgres{}
	if p.bin, err = postgresBin(); err != nil {
		return nil, nil, err
	}
	if p.dir, err = os.MkdirTemp("", "extauthz-postgres-"); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(p.dir)
		}
	}()
	if os.Geteuid() == 0 { // Postgres refuses to run as root
		if err := p.becomePostgres(); err != nil {
			return nil, nil, err
		}
	}
	if p.port, err = FreePort(); err != nil {
		return nil, nil, err
	}
	data := filepath.Join(p.dir, "data")
	if err := p.run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"); err != nil {
		return nil, nil, err
	}
	options := fmt.Sprintf("-p %d -c listen_addresses=127.0.0.1 -k %s -c fsync=off -c synchronous_commit=off -c full_page_writes=off", p.port, p.dir)
	if err := p.run("pg_ctl", "-D", data, "-w", "-l", filepath.Join(p.dir, "log"), "-o", options, "start"); err != nil {
		return nil, nil, err
	}
	return p, func() error {
		err := p.run("pg_ctl", "-D", data, "-m", "immediate", "stop")
		return errors.Join(err, os.RemoveAll(p.dir))
	}, nil
}

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
	// A file, not a pipe: the server keeps it open and Wait would wait for it.
	out, err := os.OpenFile(filepath.Join(p.dir, name+".out"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w: %s", name, err, said)
	}
	return nil
}

// postgresBin finds the server's own folder of programs: PATH may hold wrappers.
func postgresBin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", errors.New("no Postgres is installed: run scripts/install-parts.sh postgres")
	}
	return filepath.Dir(path), nil
}

// FreePort returns a TCP port of loopback that nobody listens on just now.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

package parts

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// PgBouncer is a connection pooler on loopback in front of a [Postgres], in transaction
// mode: between two transactions a client has no session.
type PgBouncer struct {
	*process
	tb       testing.TB
	program  string
	file     string
	port     int
	postgres *Postgres
}

// StartPgBouncer starts a pooler that ends with the test; settings are lines of its
// section [pgbouncer], such as default_pool_size = 2, which replace the defaults here.
// Without PgBouncer the test is skipped; if CI is set, it fails.
func StartPgBouncer(tb testing.TB, postgres *Postgres, settings ...string) *PgBouncer {
	tb.Helper()
	b := &PgBouncer{tb: tb, program: installed(tb, "pgbouncer"), file: filepath.Join(tb.TempDir(), "pgbouncer.ini"), port: freePort(tb), postgres: postgres}
	text := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%d user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n%s\n",
		postgres.port, b.port, strings.Join(settings, "\n"))
	if err := os.WriteFile(b.file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	b.Restart()
	return b
}

// Through returns a connection string of the server, changed to lead through the pooler.
func (b *PgBouncer) Through(dsn string) string {
	return strings.Replace(dsn, fmt.Sprintf(":%d/", b.postgres.port), fmt.Sprintf(":%d/", b.port), 1)
}

// Restart starts the pooler again on its port, after [PgBouncer.Kill].
func (b *PgBouncer) Restart() {
	b.tb.Helper()
	args := []string{b.file}
	if os.Geteuid() == 0 { // it refuses to run as root
		args = append(args, "-u", "postgres")
	}
	b.process = start(b.tb, "pgbouncer", nil, b.program, args...)
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	err := Eventually(ctx, func() error {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
		if err == nil {
			err = c.Close()
		}
		return err
	})
	if err != nil {
		b.tb.Fatalf("pgbouncer is not ready: %v", err)
	}
}

// Kill ends the pooler and the connections on both of its sides.
func (b *PgBouncer) Kill() { b.end(syscall.SIGKILL) }

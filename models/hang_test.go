package models

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// patience is how long a test waits for an event that takes one to three seconds on an
// idle machine.
const patience = 20 * time.Second

// impatient is about as long as a check waits for a look-up.
const impatient = 150 * time.Millisecond

func needsPostgres(t *testing.T) {
	t.Helper()
	if server == nil {
		t.Skip("no Postgres: run scripts/install-parts.sh postgres, and without -short")
	}
}

var (
	secondOnce sync.Once
	second     *parts.Postgres
	stopSecond = func() {}
)

// secondServer returns another server, which all tests of hosts that hang or are demoted
// share.
func secondServer(t *testing.T) *parts.Postgres {
	t.Helper()
	needsPostgres(t)
	secondOnce.Do(func() {
		p, stop, err := parts.RunPostgres()
		if err != nil {
			t.Fatal(err)
		}
		second, stopSecond = p, func() {
			if err := stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	})
	return second
}

// demoted makes a server refuse writes until the test ends.
func demoted(t *testing.T, p *parts.Postgres) {
	t.Helper()
	if err := p.ReadOnly(true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.ReadOnly(false); err != nil {
			t.Error(err)
		}
	})
}

// hosts is a configuration whose DSN names these addresses in this order. Its connect
// timeout is much longer than the tests wait, so no wait ends because of it.
func hosts(addresses ...string) Config {
	return Config{Driver: Postgres, DSN: "postgres://postgres@" + strings.Join(addresses, ",") + "/postgres?sslmode=disable", ConnectTimeout: time.Minute}
}

func local(p *parts.Postgres) string { return fmt.Sprintf("127.0.0.1:%d", p.Port()) }

// eventually calls f until it returns nil.
func eventually(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := parts.Eventually(ctx, func() error { return f(ctx) }); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// connections opens a pool without the schema. It keeps up to idle unused connections
// open.
func connections(t *testing.T, c Config, idle int) *DB {
	t.Helper()
	source := newSource(c)
	if _, _, err := source.current(t.Context()); err != nil {
		t.Fatal(err)
	}
	connector := newConnector(source, 6, idle, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { _ = connector.pool.Close() })
	return &DB{driver: Postgres, pools: []*sql.DB{connector.pool}}
}

// servedBy returns the port of the server that answers within the limit.
func servedBy(ctx context.Context, db *DB, limit time.Duration) (port int, err error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err = db.pools[0].QueryRowContext(limited, "SELECT inet_server_port()").Scan(&port)
	return port, err
}

// all sends queries from several callers at once, and returns how many were not answered
// by the server at the port.
func all(t *testing.T, db *DB, port int, limit time.Duration) (failed int) {
	t.Helper()
	var group sync.WaitGroup
	var mu sync.Mutex
	for range 12 {
		group.Go(func() {
			got, err := servedBy(t.Context(), db, limit)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || got != port {
				failed++
				if failed == 1 && err != nil {
					t.Log(err)
				}
			}
		})
	}
	group.Wait()
	return failed
}

func TestConnector_HostThatNeverAnswersIsPassedOver(t *testing.T) {
	needsPostgres(t)
	for name, c := range map[string]Config{
		"first":              hosts(parts.Mute(t), local(server)),
		"second":             hosts(local(server), parts.Mute(t)),
		"the first two":      hosts(parts.Mute(t), parts.Mute(t), local(server)),
		"around a dead host": hosts(parts.Mute(t), "127.0.0.1:1", local(server)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("callers in a hurry", func(t *testing.T) {
				db := connections(t, c, 6)
				eventually(t, "no host", func(ctx context.Context) error {
					_, err := servedBy(ctx, db, impatient)
					return err
				})
			})
			t.Run("listener", func(t *testing.T) {
				ctx, stop := context.WithTimeout(t.Context(), patience)
				defer stop()
				listening := false
				if err := Listen(ctx, ListenConfig{Database: c, Notify: func() {}, Logger: slog.New(slog.DiscardHandler), Listening: func(is bool) {
					listening = listening || is
					if is {
						stop()
					}
				}}); err != nil || !listening {
					t.Errorf("listening: %t, %v", listening, err)
				}
			})
		})
	}
}

func TestConnector_HostThatBeginsToHangLosesItsConnections(t *testing.T) {
	needsPostgres(t)
	for name, order := range map[string]func(hanging, other string) Config{
		"first":  func(hanging, other string) Config { return hosts(hanging, other) },
		"second": func(hanging, other string) Config { return hosts(other, hanging) },
	} {
		t.Run(name, func(t *testing.T) {
			hanging := secondServer(t)
			c := order(local(hanging), local(server))
			if name == "second" { // the first one becomes writable later
				demoted(t, server)
				c.DSN += "&target_session_attrs=read-write"
			}
			db := connections(t, c, 6)
			eventually(t, "before", func(context.Context) error {
				if n := all(t, db, hanging.Port(), patience); n > 0 {
					return fmt.Errorf("%d callers failed", n)
				}
				return nil
			})
			notified, ctx := make(chan struct{}, 100), t.Context()
			ctx, stop := context.WithCancel(ctx)
			done := make(chan error, 1)
			go func() {
				done <- Listen(ctx, ListenConfig{Database: c, Notify: func() { notified <- struct{}{} }, Listening: func(bool) {}, Logger: slog.New(slog.DiscardHandler)})
			}()
			<-notified
			if err := hanging.Freeze(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = hanging.Thaw() }()
			if err := server.ReadOnly(false); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			eventually(t, "the other host", func(ctx context.Context) error {
				_, err := servedBy(ctx, db, impatient)
				return err
			})
			t.Logf("served by the other host after %s", time.Since(begin))
			eventually(t, "all connections", func(context.Context) error {
				if n := all(t, db, server.Port(), time.Second); n > 0 {
					return fmt.Errorf("%d callers failed", n)
				}
				return nil
			})
			select {
			case <-notified:
				t.Logf("listening to the other host after %s", time.Since(begin))
			case <-time.After(patience):
				t.Error("the listener stays with the host that hangs")
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestConnector_StrandedConnectionsAreGivenUp(t *testing.T) {
	needsPostgres(t)
	relay := parts.StartRelay(t, local(server))
	db := connections(t, hosts(relay.Address), 6)
	if n := all(t, db, server.Port(), patience); n > 0 {
		t.Fatalf("%d callers failed", n)
	}
	relay.Strand()
	eventually(t, "after", func(context.Context) error {
		if n := all(t, db, server.Port(), impatient*4); n > 0 {
			return fmt.Errorf("%d callers failed", n)
		}
		return nil
	})
}

func TestConnector_ServerThatBecomesReadOnlyIsLeft(t *testing.T) {
	needsPostgres(t)
	for name, use := range map[string]string{"by reading": "SELECT 1", "by writing": "CREATE TABLE IF NOT EXISTS written (a int)"} {
		t.Run(name, func(t *testing.T) {
			first := secondServer(t)
			c := hosts(local(first), local(server))
			c.DSN += "&target_session_attrs=read-write"
			db := connections(t, c, 6)
			if n := all(t, db, first.Port(), patience); n > 0 {
				t.Fatalf("%d callers failed", n)
			}
			demoted(t, first)
			eventually(t, "the other host", func(ctx context.Context) error {
				_, _ = db.pools[0].ExecContext(ctx, use)
				if n := all(t, db, server.Port(), time.Second); n > 0 {
					return fmt.Errorf("%d callers failed", n)
				}
				return nil
			})
		})
	}
}

func TestConnector_OnlyServerThatIsReadOnlyGoesOnToBeRead(t *testing.T) {
	needsPostgres(t)
	only := secondServer(t)
	c := hosts(local(only))
	c.DSN += "&target_session_attrs=read-write"
	db := connections(t, c, 6)
	if n := all(t, db, only.Port(), patience); n > 0 {
		t.Fatalf("%d callers failed", n)
	}
	demoted(t, only)
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		if _, err := servedBy(t.Context(), db, patience); err != nil {
			t.Fatalf("a read failed: %v", err)
		}
	}
}

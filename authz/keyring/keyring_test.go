package keyring_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/authz/keyring"
)

// bench is a service on a store, with a clock that does not advance.
type bench struct {
	*testing.T
	keys     *keyring.Service
	store    keyring.Store
	format   *authz.KeyFormat
	peppers  *authz.Peppers
	notified *notified
	now      time.Time
}

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func newBench(t *testing.T) *bench { return newBenchOn(t, newFakeStore()) }

func newBenchOn(t *testing.T, store keyring.Store) *bench {
	t.Helper()
	b := &bench{T: t, store: store, notified: &notified{}, now: start}
	b.format = must(authz.NewKeyFormat(authz.KeyFormatConfig{}))(t)
	b.peppers = must(authz.NewPeppers(nil))(t)
	b.keys = must(keyring.New(b.config()))(t)
	return b
}

func (b *bench) config() keyring.Config {
	return keyring.Config{
		Format:  b.format,
		Peppers: func() *authz.Peppers { return b.peppers },
		Random:  rand.Reader, Now: func() time.Time { return b.now },
		Store: b.store, Notifier: b.notified, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// fake is the store of a bench that was made by newBench.
func (b *bench) fake() *fakeStore { return b.store.(*fakeStore) }

func (b *bench) later(d time.Duration) { b.now = b.now.Add(d) }

// create makes a key as the system principal.
func (b *bench) create(r keyring.CreateRequest) keyring.Created {
	b.Helper()
	if r.UserID == "" {
		r.UserID = "u"
	}
	if r.Name == "" {
		r.Name = "n"
	}
	return must(b.keys.Create(b.Context(), system, r))(b.T)
}

func (b *bench) get(ref string) authz.Record {
	b.Helper()
	return must(b.keys.Get(b.Context(), system, ref))(b.T)
}

func (b *bench) status(ref string) authz.Status {
	b.Helper()
	rec := b.get(ref)
	return rec.Status(b.now)
}

// audit returns all audit rows, oldest first.
func (b *bench) audit() []authz.AuditEntry {
	b.Helper()
	rows := must(b.keys.ListAudit(b.Context(), system, authz.AuditFilter{Limit: keyring.MaxLimit}))(b.T)
	slices.Reverse(rows)
	return rows
}

func (b *bench) actions() string {
	b.Helper()
	var actions []string
	for _, e := range b.audit() {
		actions = append(actions, e.Action)
	}
	return strings.Join(actions, " ")
}

var system = keyring.Principal{System: true}

// former gives a stored key scopes on the reserved resource, as releases did in which they
// made administrators.
func (b *bench) former(rec authz.Record, texts string) authz.Record {
	b.Helper()
	for i := range b.fake().keys {
		if k := &b.fake().keys[i]; k.Record.ID == rec.ID {
			k.Record.Scopes = scopes(b.T, texts)
			return k.Record
		}
	}
	b.Fatal("no such key")
	return rec
}

// admin returns a principal that may do every operation and grant the scopes in grants.
func admin(t *testing.T, grants string, projects ...string) keyring.Principal {
	t.Helper()
	p := keyring.Principal{AdministratorID: "admin", KeyID: "admin-key", Name: "the admin", Permissions: scopes(t, "extauthz:*"), Source: "192.0.2.1", RequestID: "r-1"}
	p.Grants = authz.Grants{Scopes: scopes(t, grants), Projects: projects}
	return p
}

func scopes(t *testing.T, texts string) authz.Scopes {
	t.Helper()
	return must(authz.ParseScopes(strings.Fields(texts)))(t)
}

// notified records the notifier's calls.
type notified struct {
	mu      sync.Mutex
	changes []authz.Change
	ctxErr  error
}

func (n *notified) Changed(ctx context.Context, changes []authz.Change) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changes = append(n.changes, changes...)
	n.ctxErr = errors.Join(n.ctxErr, ctx.Err())
}

func (n *notified) take() []authz.Change {
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := n.changes
	n.changes = nil
	return taken
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func TestNew_NamesAllMissingFields(t *testing.T) {
	_, err := keyring.New(keyring.Config{})
	for _, field := range []string{"Format", "Peppers", "Random", "Now", "Store", "Notifier", "Logger"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("error %v does not name %s", err, field)
		}
	}
}

package models

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"extauthz/authz"
	"extauthz/feed"
)

// gathered holds the turn until all calls wait, so that one transaction writes them. It
// returns their errors.
func gathered(t *testing.T, db *DB, calls []func() error) []error {
	t.Helper()
	db.creations.turn <- struct{}{}
	errs := make([]error, len(calls))
	var all sync.WaitGroup
	for i, call := range calls {
		all.Go(func() { errs[i] = call() })
		waitingAre(t, db, i+1)
	}
	<-db.creations.turn
	all.Wait()
	return errs
}

func waitingAre(t *testing.T, db *DB, n int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		db.creations.mu.Lock()
		waiting := len(db.creations.waiting)
		db.creations.mu.Unlock()
		if waiting == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, want %d", waiting, n)
		}
	}
}

func create(ctx context.Context, db *DB, k authz.NewKey) (authz.Record, error) {
	after, err := db.Mutate(ctx, authz.Selection{}, func([]authz.Record) (authz.Mutation, error) {
		return authz.Mutation{Create: []authz.NewKey{k}, Audit: []authz.AuditEntry{{ID: "audit-" + k.Record.ID, At: testTime, KeyID: k.Record.ID, Action: "key.create"}}}, nil
	})
	if err != nil {
		return authz.Record{}, err
	}
	return after[0], nil
}

// TestCreations_ConcurrentOnesShareATransaction: each of them still gets its own key,
// version, change and audit row.
func TestCreations_ConcurrentOnesShareATransaction(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		const n = creationsAtOnce + 3 // more than one transaction takes
		commits := 0
		commit := db.creations.commit
		db.creations.commit = func(ctx context.Context, keys []*keyRow, audit []auditRow) (bool, error) {
			commits++
			return commit(ctx, keys, audit)
		}
		before, err := db.FeedStart(t.Context(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		var calls []func() error
		versions := map[uint64]bool{}
		var mu sync.Mutex
		for i := range n {
			k := newKey(t, func(r *authz.Record) {
				r.UserID, r.Metadata = fmt.Sprint("<u&> ", i), map[string]string{"i": fmt.Sprint(i)}
			})
			calls = append(calls, func() error {
				got, err := create(t.Context(), db, k)
				if err != nil {
					return err
				}
				there, verifier, err := db.KeyByPrefix(t.Context(), k.Record.Prefix)
				if err != nil {
					return err
				}
				stored, _ := verifier.Digest.Bytes()
				if digest, _ := k.Verifier.Digest.Bytes(); got.ID != k.Record.ID || stored != digest || !reflect.DeepEqual(got, there) {
					return fmt.Errorf("got %v, stored is %v", got, there)
				}
				audit, err := db.ListAudit(t.Context(), authz.AuditFilter{KeyID: got.ID, Limit: 2})
				if err != nil || len(audit) != 1 || !audit[0].At.Equal(testTime) {
					return fmt.Errorf("audit: %v, %w", audit, err)
				}
				mu.Lock()
				defer mu.Unlock()
				versions[got.Version] = true
				return nil
			})
		}
		for _, err := range gathered(t, db, calls) {
			if err != nil {
				t.Fatal(err)
			}
		}
		page, err := db.ReadFeed(t.Context(), before.Next, feed.MaxRows)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Changes {
			delete(versions, c.Version)
		}
		if commits != 2 || len(page.Changes) != n || len(versions) != 0 {
			t.Errorf("%d transactions, %d changes, versions without one: %v", commits, len(page.Changes), versions)
		}
	})
}

// TestCreations_InvalidOneFailsAlone: the others don't fail because of a prefix that
// exists already, or because the caller that writes for all goes away.
func TestCreations_InvalidOneFailsAlone(t *testing.T) {
	each(t, func(t *testing.T, db *DB) {
		there := newKey(t, nil)
		insert(t, db, there)
		ctx, leave := context.WithCancel(t.Context())
		commit := db.creations.commit
		db.creations.commit = func(ctx context.Context, keys []*keyRow, audit []auditRow) (bool, error) {
			leave()
			return commit(ctx, keys, audit)
		}
		keys := []authz.NewKey{newKey(t, nil), newKey(t, func(r *authz.Record) { r.Prefix = there.Record.Prefix }), newKey(t, nil)}
		var calls []func() error
		for _, k := range keys {
			calls = append(calls, func() error { _, err := create(ctx, db, k); return err })
		}
		for i, err := range gathered(t, db, calls) {
			bad := i == 1
			if errors.Is(err, authz.ErrConflict) != bad || (err != nil) != bad {
				t.Errorf("%d: got %v", i, err)
			}
			audit, err := db.ListAudit(t.Context(), authz.AuditFilter{KeyID: keys[i].Record.ID, Limit: 2})
			if err != nil || (len(audit) == 0) != bad {
				t.Errorf("%d: audit %v, %v", i, audit, err)
			}
		}
	})
}

// TestCreations_CancelledBeforeTheWriteIsNotWritten: the cancelled call also returns at
// once.
func TestCreations_CancelledBeforeTheWriteIsNotWritten(t *testing.T) {
	db := migrated(t, sqliteConfig(t))
	db.creations.turn <- struct{}{}
	ctx, leave := context.WithCancel(t.Context())
	k, done := newKey(t, nil), make(chan error)
	go func() { _, err := create(ctx, db, k); done <- err }()
	waitingAre(t, db, 1)
	leave()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-db.creations.turn
	insert(t, db, newKey(t, nil)) // would write all waiting creations
	if _, err := db.KeyByRef(t.Context(), k.Record.ID); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("its key: %v", err)
	}
}

// TestCreations_UncertainCommitIsNotRetried: a retry could make two keys of one call.
func TestCreations_UncertainCommitIsNotRetried(t *testing.T) {
	db := migrated(t, sqliteConfig(t))
	lost, commits := errors.New("connection lost"), 0
	db.creations.commit = func(context.Context, []*keyRow, []auditRow) (bool, error) {
		commits++
		return false, lost
	}
	call := func() error { _, err := create(t.Context(), db, newKey(t, nil)); return err }
	for _, err := range gathered(t, db, []func() error{call, call, call}) {
		if !errors.Is(err, lost) {
			t.Errorf("got %v", err)
		}
	}
	if commits != 1 {
		t.Errorf("%d commits", commits)
	}
}

package models

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm"
)

// writes holds the outcomes of recent writes. Safe for concurrent use.
type writes struct {
	mu          sync.Mutex
	succeededAt time.Time // of the last write that was committed
	failedAt    time.Time
	fault       Fault // of the last failure
	failures    int   // since succeededAt
}

// A fault that concerns every write, such as a full disk, is reported until a write has
// succeeded and the last failure is older than writesCalm: a small write may still fit on
// a full disk. Any other fault may concern one statement only. It is reported when at
// least minFailures writes have failed in a row, and none has succeeded for
// writesPersist.
const (
	writesCalm    = 15 * time.Second
	writesPersist = 10 * time.Second
	minFailures   = 3
)

// recordWrite records how a write ended. A call that the caller cancelled, or that was
// refused for its content, is no fault of the database.
func (db *DB) recordWrite(err error) {
	w := &db.writes
	f, failed := FaultOf(err)
	if failed && (errors.Is(err, context.Canceled) || f.Kind == FaultData || f.Kind == FaultOther) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if failed {
		w.failedAt, w.fault, w.failures = time.Now(), f, w.failures+1
	} else {
		w.succeededAt, w.failures = time.Now(), 0
	}
}

// WritesFail reports whether writes fail now, and why. It does not report a database that
// can't be used at all, for example because it is unreachable. Safe for concurrent use.
func (db *DB) WritesFail(now time.Time) (Fault, bool) {
	w := &db.writes
	w.mu.Lock()
	defer w.mu.Unlock()
	switch w.fault.Kind {
	case "", FaultUnreachable, FaultStarting, FaultRefused, FaultNoDatabase, FaultSchemaMissing:
		return Fault{}, false
	case FaultDiskFull, FaultReadOnly, FaultPermission, FaultIO, FaultCorrupt, FaultStandby:
		return w.fault, w.failures > 0 || now.Sub(w.failedAt) < writesCalm
	}
	return w.fault, w.failures >= minFailures && now.Sub(w.succeededAt) > writesPersist
}

// probeText returns the text that a probe writes. It takes several pages of an SQLite
// file, so that a file that can't grow is detected. In Postgres it is short, since an
// index there accepts no value of that size.
func (db *DB) probeText() string {
	if db.driver == Postgres {
		return "write probe"
	}
	return "write probe " + strings.Repeat("x", 8<<10)
}

// ProbeWrite commits a write that leaves nothing behind, unless a write has succeeded
// within since. [DB.WritesFail] reports the outcome. With Postgres, the replicas' beats
// are such writes.
func (db *DB) ProbeWrite(ctx context.Context, since time.Duration) (err error) {
	if db.committedWithin(since) {
		return nil
	}
	defer func() { db.recordWrite(err) }()
	text := db.probeText() + rand.Text() // several processes may probe at once
	err = db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Exec("INSERT INTO usage_marks (source, sequence, at) VALUES (?, 0, ?)", text, time.Now().UTC()).Error; err != nil {
			return err
		}
		return tx.Exec("DELETE FROM usage_marks WHERE source = ?", text).Error
	})
	if err != nil {
		return fmt.Errorf("a write was tried: %w", err)
	}
	return nil
}

func (db *DB) committedWithin(d time.Duration) bool {
	db.writes.mu.Lock()
	defer db.writes.mu.Unlock()
	return db.writes.failures == 0 && time.Since(db.writes.succeededAt) < d
}

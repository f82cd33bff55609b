package models

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// inSnapshot runs do with c.source set to a transaction that sees one state of the
// source.
func (c *copying) inSnapshot(ctx context.Context, do func() error) (err error) {
	c.source, err = beginReading(ctx, c.from)
	if err != nil {
		return fmt.Errorf("source: %w", oneLine(err))
	}
	defer func() { _ = c.source.Rollback() }()
	return do()
}

// beginReading begins a transaction that sees one state of the database and has no time
// limit.
func beginReading(ctx context.Context, db *DB) (*sql.Tx, error) {
	pool := db.pools[len(db.pools)-1]
	if db.driver == SQLite {
		return pool.BeginTx(ctx, nil)
	}
	tx, err := pool.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	for _, s := range []string{"statement_timeout = 0", "idle_in_transaction_session_timeout = 0", "datestyle = 'ISO'", "bytea_output = 'hex'", "timezone = 'UTC'"} {
		if _, err := tx.ExecContext(ctx, "SET LOCAL "+s); err != nil {
			_ = tx.Rollback()
			return nil, err
		}
	}
	return tx, nil
}

// table copies a table if write is set, and compares its rows in any case.
func (c *copying) table(ctx context.Context, name string, write bool) error {
	table, lost, err := copiedColumns(ctx, c.from, c.to, name)
	if err != nil {
		return err
	}
	out := CopiedTable{Table: name, NotCopiedColumns: strings.Join(lost, ", ")}
	if err := c.source.QueryRowContext(ctx, "SELECT count(*) FROM "+name).Scan(&out.Rows); err != nil {
		return fmt.Errorf("source: %w", oneLine(err))
	}
	if write {
		w := &copyWriter{copying: c, table: &table}
		// Rows that have gone or changed in the source are removed first: a new row may
		// have the unique value of an old one.
		if err := c.merge(ctx, &table, out.Rows, false, func(source, target *row) error {
			if target == nil || source != nil && bytes.Equal(source.bytes, target.bytes) {
				return nil
			}
			return w.remove(ctx, target)
		}); err != nil {
			return err
		}
		if err := w.flush(ctx); err != nil {
			return err
		}
		if err := c.merge(ctx, &table, out.Rows, true, func(source, target *row) error {
			if source == nil || target != nil {
				return nil
			}
			return w.insert(ctx, source)
		}); err != nil {
			return err
		}
		if err := w.flush(ctx); err != nil {
			return err
		}
		out.Written, out.Removed = w.written, w.removed
	}
	digests := [2]hash.Hash{sha256.New(), sha256.New()}
	err = c.merge(ctx, &table, out.Rows, !write, func(source, target *row) error {
		if source != nil {
			digests[0].Write(source.bytes)
		}
		if target != nil {
			out.TargetRows++
			digests[1].Write(target.bytes)
		}
		return nil
	})
	out.SourceSHA256, out.TargetSHA256 = hex.EncodeToString(digests[0].Sum(nil)), hex.EncodeToString(digests[1].Sum(nil))
	c.tables = append(c.tables, out)
	return err
}

// merge reads the table in both databases, in the order of its primary key. For each
// primary key it calls each with the row of the source and the row of the target; a row
// that does not exist is nil. Several passes go over a table: only the one with reports
// set reports progress and the rows that can't be copied.
func (c *copying) merge(ctx context.Context, t *copiedTable, total int64, reports bool, each func(source, target *row) error) error {
	reading, err := beginReading(ctx, c.to)
	if err != nil {
		return fmt.Errorf("target: %w", oneLine(err))
	}
	defer func() { _ = reading.Rollback() }()
	var readers [2]*rowReader
	for i, tx := range []*sql.Tx{c.source, reading} {
		driver, bad := c.from.driver, c.bad
		if i == 1 {
			driver = c.to.driver
		}
		if i == 1 || !reports {
			bad = func(problem) {}
		}
		rows, err := tx.QueryContext(ctx, t.selection(driver))
		if err != nil {
			return fmt.Errorf("%s can't be read: %w", t.name, oneLine(err))
		}
		defer func() { _ = rows.Close() }()
		readers[i] = &rowReader{table: t, rows: rows, bad: bad}
	}
	var heads [2]*row
	for i, r := range readers {
		if heads[i], err = r.next(); err != nil {
			return fmt.Errorf("%s can't be read: %w", t.name, oneLine(err))
		}
	}
	var seen int64
	for heads[0] != nil || heads[1] != nil {
		now := heads
		if heads[0] != nil && heads[1] != nil {
			switch order := t.compareKeys(*heads[0], *heads[1]); {
			case order < 0:
				now[1] = nil
			case order > 0:
				now[0] = nil
			}
		}
		if err := each(now[0], now[1]); err != nil {
			return err
		}
		for i := range heads {
			if now[i] == nil {
				continue
			}
			if heads[i], err = readers[i].next(); err != nil {
				return fmt.Errorf("%s can't be read: %w", t.name, oneLine(err))
			}
		}
		if now[0] != nil {
			seen++
		}
		if reports && now[0] != nil && seen%int64(c.rows) == 0 {
			c.progress(t.name, seen, total)
		}
		if heads[1] == nil { // an open read transaction would keep SQLite from reusing its write-ahead log
			_ = reading.Rollback()
		}
	}
	return nil
}

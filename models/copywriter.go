package models

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// copyWriter gathers rows, and writes many of them to the target in one transaction.
type copyWriter struct {
	*copying
	table            *copiedTable
	inserts, removes []*row
	size             int
	written, removed int64
}

func (w *copyWriter) insert(ctx context.Context, r *row) error {
	w.inserts, w.size = append(w.inserts, r), w.size+len(r.bytes)
	return w.flushFull(ctx)
}

func (w *copyWriter) remove(ctx context.Context, r *row) error {
	w.removes, w.size = append(w.removes, r), w.size+len(r.bytes)
	return w.flushFull(ctx)
}

func (w *copyWriter) flushFull(ctx context.Context) error {
	if len(w.inserts)+len(w.removes) < w.rows && w.size < copyBytes {
		return nil
	}
	return w.flush(ctx)
}

// flush writes the gathered rows. If the target refuses one of them, each is written in a
// transaction of its own, so that only the refused rows are missing.
func (w *copyWriter) flush(ctx context.Context) error {
	inserts, removes := w.inserts, w.removes
	w.inserts, w.removes, w.size = nil, nil, 0
	if len(inserts)+len(removes) == 0 {
		return nil
	}
	err := w.write(ctx, inserts, removes)
	if err == nil || !refusesRow(err) || len(inserts) == 0 {
		return onTarget(w.table.name, err)
	}
	for _, r := range inserts {
		if err := w.write(ctx, []*row{r}, nil); refusesRow(err) {
			w.bad(problem{w.table.name, w.table.identity(r.values), "the target refuses it: " + err.Error()})
		} else if err != nil {
			return onTarget(w.table.name, err)
		}
	}
	return nil
}

func onTarget(table string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("target: %s can't be written: %w: run the copy again to go on", table, oneLine(err))
}

func (w *copyWriter) write(ctx context.Context, inserts, removes []*row) error {
	tx, err := w.to.pools[0].BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if w.to.driver == Postgres {
		if _, err := tx.ExecContext(ctx, "SET LOCAL statement_timeout = 0"); err != nil {
			return err
		}
	}
	if len(removes) > 0 {
		var args []any
		for _, r := range removes {
			for _, k := range w.table.key {
				args = append(args, r.values[k])
			}
		}
		if _, err := tx.ExecContext(ctx, w.table.deletion(len(removes)), args...); err != nil {
			return err
		}
	}
	if len(inserts) > 0 {
		var args []any
		for _, r := range inserts {
			args = append(args, r.values...)
		}
		if _, err := tx.ExecContext(ctx, w.table.insertion(len(inserts)), args...); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	w.written, w.removed = w.written+int64(len(inserts)), w.removed+int64(len(removes))
	return nil
}

// refusesRow reports whether the error is about a row's values, and not about the
// database.
func refusesRow(err error) bool {
	if answer := (*pgconn.PgError)(nil); errors.As(err, &answer) {
		switch answer.Code[:2] { // data exception, constraint, program limit
		case "22", "23", "54":
			return true
		}
		return false
	}
	if err == nil {
		return false
	}
	text := err.Error()
	return strings.Contains(text, "constraint failed") || strings.Contains(text, "too big") || strings.Contains(text, "datatype mismatch")
}

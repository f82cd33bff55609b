package models

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"

	"gorm.io/gorm/schema"
)

// typedColumns is the name of [typed] in the tags of rows.
const typedColumns = "typed"

// typed reads columns that are not texts, whatever is stored in them: SQLite stores any
// value in a column of any type, and Postgres has times that Go can't represent
// (infinity, year 20000). Without typed, one such value would fail the whole statement,
// and the reading of all other rows. The field of such a column is set to zero. If the
// row has the method damaged, it is called with the column and the reason.
type typed struct{}

// damaged is a row that records its unreadable columns.
type damaged interface {
	damaged(column string, err error)
}

// Scan sets one field of the row dst; it never fails.
func (typed) Scan(ctx context.Context, field *schema.Field, dst reflect.Value, stored any) error {
	target := field.ReflectValueOf(ctx, dst)
	target.SetZero()
	if stored == nil || field.DBName == "expires_at" && isNever(stored) {
		return nil
	}
	value, err := readTyped(target.Interface(), stored)
	if err == nil {
		target.Set(reflect.ValueOf(value))
		return nil
	}
	if dst.Kind() != reflect.Pointer && dst.CanAddr() {
		dst = dst.Addr()
	}
	if row, ok := dst.Interface().(damaged); ok {
		row.damaged(field.DBName, err)
	}
	return nil
}

// isNever reports whether a stored time is the way in which Postgres says never.
func isNever(stored any) bool {
	text, ok := stored.([]byte)
	return stored == "infinity" || ok && string(text) == "infinity"
}

// Value returns the value to store.
func (typed) Value(_ context.Context, _ *schema.Field, _ reflect.Value, value any) (any, error) {
	switch v := value.(type) {
	case *time.Time:
		if v == nil {
			return nil, nil
		}
		return *v, nil
	case uint64:
		if v > math.MaxInt64 {
			return nil, fmt.Errorf("%d can't be stored: the maximum is %d", v, int64(math.MaxInt64))
		}
		return int64(v), nil
	}
	return value, nil
}

// readTyped converts stored to the type of field.
func readTyped(field, stored any) (any, error) {
	if text, ok := stored.([]byte); ok {
		stored = string(text)
	}
	switch field.(type) {
	case bool:
		return readBool(stored)
	case uint64:
		return readCount(stored)
	case time.Time:
		return readTime(stored)
	case *time.Time:
		at, err := readTime(stored)
		return &at, err
	}
	return nil, fmt.Errorf("no column is of the type %T", field)
}

func readBool(stored any) (bool, error) {
	switch v := stored.(type) {
	case bool:
		return v, nil
	case int64:
		if v == 0 || v == 1 {
			return v == 1, nil
		}
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			return b, nil
		}
	}
	return false, errors.New("is neither true nor false")
}

func readCount(stored any) (uint64, error) {
	switch v := stored.(type) {
	case int64:
		if v >= 0 {
			return uint64(v), nil
		}
	case string:
		if n, err := strconv.ParseUint(v, 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, errors.New("is not a whole number from 0 on")
}

// readTime accepts the years that RFC 3339 can express, since responses hold times in
// that form.
func readTime(stored any) (time.Time, error) {
	at, ok := stored.(time.Time)
	if !ok {
		return time.Time{}, errors.New("is not a time: write it as 2027-01-31 00:00:00+00:00")
	}
	if year := at.UTC().Year(); year < 1 || year > 9999 {
		return time.Time{}, errors.New("is out of the years 1 to 9999")
	}
	return at.UTC(), nil
}

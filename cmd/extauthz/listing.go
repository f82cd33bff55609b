package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/printer"
)

// listing describes how a list of T is read and printed.
type listing[T any] struct {
	columns []printer.Column[T]
	name    func(*T) string // for -o name; nil: the items have no names
	limit   int
	sort    string
}

// flags adds --limit and --sort to a command.
func (l *listing[T]) flags(c *cobra.Command) *cobra.Command {
	c.Flags().IntVar(&l.limit, "limit", 0, "list at most this many (default all)")
	c.Flags().StringVar(&l.sort, "sort", "", "order by a column: "+printer.Choice(printer.SortNames(l.columns))+"; the other way round after a -, such as -"+l.columns[0].Name)
	complete(c, "sort", fixed(printer.SortNames(l.columns)))
	if l.name != nil {
		named(c)
	}
	return c
}

// pageSize is the largest page that the API returns.
const pageSize = 1000

// read reads a list as the flags demand. Without --sort it reads only the pages that
// --limit needs. With --sort it reads the whole list.
func (l *listing[T]) read(c *cobra.Command, g *globals, path string, query url.Values) ([]T, error) {
	compare, err := l.order(c)
	if err != nil {
		return nil, err
	}
	wanted := l.limit
	if compare != nil {
		wanted = 0
	}
	query.Set("limit", strconv.Itoa(pageSize))
	if wanted > 0 {
		query.Set("limit", strconv.Itoa(min(wanted, pageSize)))
	}
	items := []T{}
	err = pages(c, g, path, query, func(page []T) bool {
		items = append(items, page...)
		return wanted == 0 || len(items) < wanted
	})
	if err != nil {
		return nil, err
	}
	if compare != nil {
		slices.SortStableFunc(items, func(a, b T) int { return compare(&a, &b) })
	}
	return head(items, l.limit), nil
}

// order checks --limit and --sort, and returns the comparison that --sort names; nil
// without --sort.
func (l *listing[T]) order(c *cobra.Command) (func(a, b *T) int, error) {
	if l.limit < 0 || c.Flags().Changed("limit") && l.limit == 0 {
		return nil, usage(c, errors.New("--limit is a number over zero"))
	}
	if l.sort == "" {
		return nil, nil
	}
	compare, err := printer.Sorter(l.columns, l.sort)
	if err != nil {
		return nil, usage(c, err)
	}
	return compare, nil
}

// head returns the first limit items, or all of them if limit is 0.
func head[T any](items []T, limit int) []T {
	if limit > 0 && len(items) > limit {
		return items[:limit]
	}
	return items
}

// show prints a list.
func (l *listing[T]) show(c *cobra.Command, g *globals, items []T) error {
	return l.showAs(c, g, items, items)
}

// showAs is show for a list whose JSON and YAML have other data than the rows of the
// table.
func (l *listing[T]) showAs(c *cobra.Command, g *globals, data any, rows []T) error {
	out := c.OutOrStdout()
	switch g.form {
	case printer.JSON:
		return printer.WriteJSON(out, data)
	case printer.YAML:
		return printer.WriteYAML(out, data)
	case printer.Name:
		for i := range rows {
			if _, err := fmt.Fprintln(out, printer.Clean(l.name(&rows[i]))); err != nil {
				return err
			}
		}
		return nil
	}
	color, err := g.colored(c)
	if err != nil {
		return err
	}
	return printer.WriteTable(out, l.columns, rows, g.form == printer.Wide, color)
}

// timeColumn shows how far off a time is. The wide form shows the time too.
func timeColumn[T any](g *globals, name, none string, wide bool, read func(*T) *time.Time) printer.Column[T] {
	return printer.Column[T]{Name: name, Wide: wide,
		Text:    func(v *T) string { return printer.Off(read(v), g.now(), none) },
		Full:    func(v *T) string { return g.when(read(v), none) },
		Compare: func(a, b *T) int { return printer.CompareTimes(read(a), read(b)) }}
}

// numberColumn shows a number.
func numberColumn[T any](name string, read func(*T) int64) printer.Column[T] {
	return printer.Column[T]{Name: name, Text: func(v *T) string { return strconv.FormatInt(read(v), 10) },
		Compare: func(a, b *T) int { return cmp.Compare(read(a), read(b)) }}
}

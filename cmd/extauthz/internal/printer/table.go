package printer

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// Column is one column of a table with rows of type T.
type Column[T any] struct {
	Name string // as in --sort; the heading has the same in capitals
	Text func(*T) string
	// Full returns the text for the wide form; nil: the same as Text.
	Full     func(*T) string
	Wide     bool // shown in the wide form only
	MinWidth int  // if over 0, a narrow terminal may cut the text to this many columns
	Color    func(*T) Color
	Compare  func(a, b *T) int // for --sort; nil: by Text
}

// Color is a text's colour on a terminal: the number of an ANSI sequence.
type Color string

// The colours, named by their purpose.
const (
	Plain Color = ""
	Good  Color = "32" // green
	Bad   Color = "31" // red
	Doubt Color = "33" // yellow
	title Color = "1"  // bold
)

func (c Color) paint(text string) string {
	if c == Plain {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// SortNames returns the columns' names for --sort.
func SortNames[T any](columns []Column[T]) (names []string) {
	for _, c := range columns {
		names = append(names, c.Name)
	}
	return names
}

// Sorter returns the order by a column's name; -NAME reverses it.
func Sorter[T any](columns []Column[T], by string) (func(a, b *T) int, error) {
	name, reverse := strings.CutPrefix(by, "-")
	i := slices.IndexFunc(columns, func(c Column[T]) bool { return c.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("no column %q to sort by: write %s, or one of them after a - for the other way round", name, Choice(SortNames(columns)))
	}
	compare := columns[i].Compare
	if compare == nil {
		compare = func(a, b *T) int { return cmp.Compare(columns[i].Text(a), columns[i].Text(b)) }
	}
	if reverse {
		return func(a, b *T) int { return compare(b, a) }, nil
	}
	return compare, nil
}

// gap is the number of blanks between two columns.
const gap = 2

// WriteTable writes rows as a table; with wide, the table has all columns. Otherwise it
// is not wider than the terminal, as far as its columns may be cut.
func WriteTable[T any](w io.Writer, columns []Column[T], rows []T, wide, color bool) error {
	if !wide {
		columns = slices.DeleteFunc(slices.Clone(columns), func(c Column[T]) bool { return c.Wide })
	}
	cells := make([][]string, len(rows))
	for i := range rows {
		for _, c := range columns {
			cells[i] = append(cells[i], c.cell(&rows[i], wide))
		}
	}
	widest := 0
	if !wide {
		widest = terminalWidth(w)
	}
	widths := fit(columns, cells, widest)
	var b strings.Builder
	line(&b, widths, headings(columns), func(int) Color { return title }, color)
	for i := range rows {
		line(&b, widths, cells[i], func(column int) Color {
			if paint := columns[column].Color; paint != nil {
				return paint(&rows[i])
			}
			return Plain
		}, color)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// line writes one line, without blanks at the end.
func line(b *strings.Builder, widths []int, cells []string, paint func(column int) Color, color bool) {
	pad := 0
	for i, cell := range cells {
		cell = cut(cell, widths[i])
		b.WriteString(strings.Repeat(" ", pad))
		pad = widths[i] - columnsOf(cell) + gap
		if color {
			cell = paint(i).paint(cell)
		}
		b.WriteString(cell)
	}
	b.WriteByte('\n')
}

func headings[T any](columns []Column[T]) (cells []string) {
	for _, c := range columns {
		cells = append(cells, c.heading())
	}
	return cells
}

func (c *Column[T]) heading() string {
	return strings.ToUpper(strings.ReplaceAll(c.Name, "-", " "))
}

func (c *Column[T]) cell(row *T, wide bool) string {
	read := c.Text
	if wide && c.Full != nil {
		read = c.Full
	}
	return Clean(read(row))
}

// fit returns the width of each column. Until the table fits into widest, it shortens the
// column that is furthest above its least width. 0 for widest means no limit.
func fit[T any](columns []Column[T], cells [][]string, widest int) []int {
	widths, total := make([]int, len(columns)), gap*(len(columns)-1)
	for i := range columns {
		widths[i] = columnsOf(columns[i].heading())
		for _, row := range cells {
			widths[i] = max(widths[i], columnsOf(row[i]))
		}
		total += widths[i]
	}
	for ; widest > 0 && total > widest; total-- {
		most := -1
		for i, c := range columns {
			if c.MinWidth > 0 && widths[i] > c.MinWidth && (most < 0 || widths[i]-c.MinWidth > widths[most]-columns[most].MinWidth) {
				most = i
			}
		}
		if most < 0 {
			break
		}
		widths[most]--
	}
	return widths
}

// Clean makes a text safe for one cell: control characters, which may be in names that
// people chose, become visible instead of taking effect. An empty text becomes a dash.
func Clean(cell string) string {
	cell = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '�'
		}
		return r
	}, cell)
	if cell == "" {
		return "-"
	}
	return cell
}

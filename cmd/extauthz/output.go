package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/printer"
)

// show prints data in the form that --output names; table writes the form for people.
func (g *globals) show(c *cobra.Command, data any, table func(w *tabwriter.Writer)) error {
	switch g.form {
	case printer.JSON:
		return printer.WriteJSON(c.OutOrStdout(), data)
	case printer.YAML:
		return printer.WriteYAML(c.OutOrStdout(), data)
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// showNamed is show for data with a name, which -o name prints.
func (g *globals) showNamed(c *cobra.Command, data any, name string, table func(w *tabwriter.Writer)) error {
	if g.form == printer.Name {
		_, err := fmt.Fprintln(c.OutOrStdout(), printer.Clean(name))
		return err
	}
	return g.show(c, data, table)
}

// row writes one line of a table.
func row(w io.Writer, cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = printer.Clean(fmt.Sprint(cell))
	}
	_, _ = fmt.Fprintln(w, strings.Join(texts, "\t")) // Flush returns the error of a broken pipe
}

// when writes a time for people, and how far off it is by the server's clock.
func (g *globals) when(t *time.Time, none string) string { return printer.When(t, g.now(), none) }

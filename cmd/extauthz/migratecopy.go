package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/printer"
	"extauthz/cmd/extauthz/internal/server"
	"extauthz/models"
)

// copyEndpoint is the source or the target of a copy. A flag gives its DSN, or a file
// that holds the DSN; without either flag it is the configured database.
type copyEndpoint struct {
	name      string // of the flag that gives the DSN
	dsn, file string
}

func (e *copyEndpoint) flags(c *cobra.Command, what string) {
	c.Flags().StringVar(&e.dsn, e.name, "", what+": an SQLite file or a postgres:// URL (default the configured database)")
	c.Flags().StringVar(&e.file, e.name+"-file", "", "file that holds that text instead, for a URL with a password")
}

// keywords recognises the other form of a Postgres data source, keyword=value.
var keywords = regexp.MustCompile(`(?:^|\s)(?:host|port|dbname|service|user|password)\s*=`)

// config makes the database's configuration from the flags. Its errors do not hold the
// text of a data source, which may contain a password.
func (e *copyEndpoint) config(g *globals) (models.Config, error) {
	text := e.dsn
	switch {
	case e.dsn != "" && e.file != "":
		return models.Config{}, usageError{fmt.Errorf("--%[1]s and --%[1]s-file are both given: leave one out", e.name)}
	case e.file != "":
		b, err := os.ReadFile(e.file)
		if err != nil {
			return models.Config{}, fmt.Errorf("--%s-file: %w", e.name, err)
		}
		if text = strings.TrimSpace(string(b)); text == "" {
			return models.Config{}, fmt.Errorf("--%s-file: %s is empty: write an SQLite file's path or a postgres:// URL into it", e.name, e.file)
		}
	case e.dsn == "":
		settings, err := g.load()
		if err != nil {
			return models.Config{}, err
		}
		return server.DatabaseConfig(settings), nil
	}
	c := models.Config{Driver: models.SQLite, DSN: text}
	if strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://") || keywords.MatchString(text) {
		c.Driver = models.Postgres
	} else if strings.Contains(text, "://") { // the error does not quote it: it may hold a password
		return models.Config{}, usageError{fmt.Errorf("--%s: it is a URL of something else than Postgres: write postgres://… or an SQLite file's path", e.name)}
	}
	return c, nil
}

func migrateCopyCommand(g *globals) *cobra.Command {
	from, to := copyEndpoint{name: "from"}, copyEndpoint{name: "to"}
	var verifyOnly bool
	c := &cobra.Command{
		Use: "copy", Short: "Copy everything from one database to another, and verify it", Args: noArguments,
		Long: `Copy everything that one database holds to another one, SQLite or Postgres, and compare all rows afterwards.
The target has to be empty, or to hold a copy that no service has used yet. Run it again after an interruption, or to
catch up with the source. The source is only read. docs/moving.md has the steps of a move.`,
		Example: "  extauthz migrate copy --from extauthz-data/extauthz.db --to-file postgres.dsn\n  extauthz migrate copy --from extauthz-data/extauthz.db --config extauthz.yaml --verify-only",
		RunE: func(c *cobra.Command, _ []string) error {
			if from.dsn+from.file == "" && to.dsn+to.file == "" {
				return usageError{fmt.Errorf("one database alone is named: give --from or --to, and the other one as well unless it is the configured one: see `%s --help`", c.CommandPath())}
			}
			a, err := from.config(g)
			if err != nil {
				return err
			}
			b, err := to.config(g)
			if err != nil {
				return err
			}
			return runCopy(c, g, a, b, verifyOnly)
		},
	}
	from.flags(c, "database to copy from")
	to.flags(c, "database to copy to")
	c.Flags().BoolVar(&verifyOnly, "verify-only", false, "compare the databases, and write to neither")
	return c
}

func runCopy(c *cobra.Command, g *globals, a, b models.Config, verifyOnly bool) (err error) {
	ctx := c.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	source, err := models.OpenSource(ctx, a)
	if err != nil {
		return withFlagName("--from", err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	open, do := models.Open, models.Copy
	if verifyOnly {
		open, do = models.OpenSource, models.Verify
	}
	target, err := open(ctx, b)
	if err != nil {
		return withFlagName("--to", err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	progress := printer.NewProgress(c.ErrOrStderr(), "rows")
	tables, err := do(ctx, source, target, progress.Set)
	progress.End()
	for _, t := range tables {
		if t.NotCopiedColumns != "" {
			_, _ = fmt.Fprintf(c.ErrOrStderr(), "note: columns of %s that are not extauthz's were not copied: %s\n", t.Table, t.NotCopiedColumns)
		}
	}
	if ctx.Err() != nil {
		return errors.New("interrupted: run the same command again to go on")
	}
	if len(tables) > 0 {
		err = errors.Join(err, g.showCopied(c, tables, verifyOnly))
	}
	return err
}

// withFlagName replaces, in an error, the name of the setting by the name of the flag.
func withFlagName(flag string, err error) error {
	return fmt.Errorf("%s: %s", flag, strings.ReplaceAll(err.Error(), "database.dsn", flag))
}

func (g *globals) showCopied(c *cobra.Command, tables []models.CopiedTable, verifyOnly bool) error {
	return g.show(c, tables, func(w *tabwriter.Writer) {
		head := []any{"TABLE", "ROWS", "IN TARGET"}
		if !verifyOnly {
			head = append(head, "WRITTEN", "REMOVED")
		}
		row(w, append(head, "SHA-256 OF ALL ROWS", "RESULT")...)
		for _, t := range tables {
			cells := []any{t.Table, t.Rows, t.TargetRows}
			if !verifyOnly {
				cells = append(cells, t.Written, t.Removed)
			}
			same := "same"
			if !t.Same() {
				same = "DIFFERS"
			}
			row(w, append(cells, t.SourceSHA256[:16]+"…", same)...)
		}
	})
}

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"extauthz/cmd/extauthz/internal/adminclient"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/printer"
)

// usageError reports a command line that can't be understood: exit status 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// globals holds the flags that every command has.
type globals struct {
	configFile string
	dataDir    string
	server     string
	tokenFile  string
	output     string
	color      string
	form       printer.Form        // --output, parsed before a command runs
	api        *adminclient.Client // created by the first call
}

func newRoot() *cobra.Command {
	g := &globals{}
	root := &cobra.Command{
		Use:           "extauthz",
		Short:         "External authorization for Envoy by API keys",
		Long:          rootHelp,
		Example:       "  extauthz serve\n  extauthz keys create --user alice --name laptop --scope orders:read\n  extauthz keys list --sort expires --limit 20 -o wide",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          aCommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			return usage(c, g.readForm(c))
		},
	}
	root.SetVersionTemplate(versionLine())
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.StringVar(&g.configFile, "config", os.Getenv("EXTAUTHZ_CONFIG"), "configuration file (default extauthz.yaml, if it is there)")
	f.StringVar(&g.dataDir, "data-dir", "", "folder of the SQLite database and the first administrator's key (default extauthz-data)")
	f.StringVar(&g.server, "server", os.Getenv("EXTAUTHZ_SERVER"), "URL of the management API, or unix:PATH (default admin.listen of the configuration)")
	f.StringVar(&g.tokenFile, "token-file", os.Getenv("EXTAUTHZ_TOKEN_FILE"), "file with the key for the management API")
	f.StringVarP(&g.output, "output", "o", string(printer.Table), "form of what is printed: "+printer.Choice(printer.Forms))
	f.StringVar(&g.color, "color", string(printer.ColorAuto), "colour the tables: auto (on a terminal, unless NO_COLOR is set), always or never")
	root.AddCommand(serveCommand(g), keysCommand(g), rolesCommand(g), adminsCommand(g), explainCommand(g), routesCommand(g), cacheCommand(g),
		usageCommand(g), auditCommand(g), purgeCommand(g), configCommand(g), secretsCommand(g), envoyCommand(g), migrateCommand(g), doctorCommand(g), healthcheckCommand(g), versionCommand(g))
	completeRoot(root)
	root.InitDefaultCompletionCmd()
	return root
}

// rootHelp is the help that documents the exit statuses.
const rootHelp = `External authorization for Envoy by API keys.

Durations take d and w besides h, m and s: 30d, 2w, 1d12h. Tables fit the terminal;
-o wide shows all columns in full, -o name only names, for other commands to read.
What cannot be undone and concerns more than one key asks first on a terminal, and
needs --yes elsewhere.

Exit status: 0 done; 1 failed, or a check found something; 2 the command line is
wrong, or --yes is missing; 3 explain decided that the request is denied.`

// readForm parses the flags about output, before a command does anything.
func (g *globals) readForm(c *cobra.Command) (err error) {
	if g.form, err = printer.ParseForm(g.output); err != nil {
		return err
	}
	if g.form == printer.Name && c.Annotations[hasNames] == "" {
		return fmt.Errorf("what %s prints has no names: leave -o name out", c.CommandPath())
	}
	_, err = g.colored(c)
	return err
}

func (g *globals) colored(c *cobra.Command) (bool, error) {
	return printer.ColorWhen(g.color).Colored(c.OutOrStdout(), os.Getenv)
}

// hasNames annotates commands whose output has names, so that -o name can print them.
const hasNames = "names"

func named(c *cobra.Command) *cobra.Command {
	c.Annotations = map[string]string{hasNames: "true"}
	return c
}

// flagError makes a usage error that suggests the flag that may have been meant.
func flagError(c *cobra.Command, err error) error {
	if name, unknown := strings.CutPrefix(err.Error(), "unknown flag: --"); unknown {
		var known []string
		c.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		if meant := config.Nearest(name, known); meant != "" {
			err = fmt.Errorf("%w: did you mean --%s?", err, meant)
		}
	}
	return usage(c, err)
}

// load reads the configuration that the flags name. With needs, it ignores faults of all
// other sections and settings.
func (g *globals) load(needs ...string) (*config.Config, error) {
	flags := map[string]any{}
	if g.dataDir != "" {
		flags["data_dir"] = g.dataDir
	}
	return config.Load(config.Options{Path: g.configFile, Explicit: g.configFile != "", Environ: os.Environ(), Flags: flags, Needs: needs})
}

// noArguments and exactly are cobra's checks, with usage errors.
func noArguments(c *cobra.Command, args []string) error { return usage(c, cobra.NoArgs(c, args)) }

func exactly(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error { return usage(c, cobra.ExactArgs(n)(c, args)) }
}

func usage(c *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return usageError{fmt.Errorf("%w: see `%s --help`", err, c.CommandPath())}
}

// aCommand refuses an argument that is not a subcommand, and suggests similar ones.
func aCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2
	err := fmt.Errorf("unknown command %q for %q", args[0], c.CommandPath())
	if meant := c.SuggestionsFor(args[0]); len(meant) > 0 {
		err = fmt.Errorf("%w: did you mean %s?", err, printer.Choice(meant))
	}
	return usage(c, err)
}

// group makes a command that only contains other commands.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: aCommand, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(children...)
	return c
}

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/config"
)

// usageError is a command line that can't be understood: exit status 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// globals are the flags that every command has.
type globals struct {
	configFile string
	dataDir    string
	server     string
	tokenFile  string
	output     string
}

func newRoot() *cobra.Command {
	g := &globals{}
	root := &cobra.Command{
		Use:           "extauthz",
		Short:         "External authorization for Envoy by API keys",
		Example:       "  extauthz serve\n  extauthz keys create --user alice --name laptop --scope orders:read",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArguments,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w: see `%s --help`", err, c.CommandPath())}
	})
	f := root.PersistentFlags()
	f.StringVar(&g.configFile, "config", os.Getenv("EXTAUTHZ_CONFIG"), "configuration file (default extauthz.yaml, if it is there)")
	f.StringVar(&g.dataDir, "data-dir", "", "folder for what the service keeps itself (default extauthz-data)")
	f.StringVar(&g.server, "server", fromEnv("EXTAUTHZ_SERVER", "http://127.0.0.1:9003"), "URL of the management API")
	f.StringVar(&g.tokenFile, "token-file", os.Getenv("EXTAUTHZ_TOKEN_FILE"), "file with the key for the management API")
	f.StringVarP(&g.output, "output", "o", "table", "form of what is printed: table or json")
	root.AddCommand(serveCommand(g), keysCommand(g), rolesCommand(g), adminCommand(g), explainCommand(g), routesCommand(g), cacheCommand(g),
		usageCommand(g), auditCommand(g), purgeCommand(g), configCommand(g), secretsCommand(g), envoyCommand(g), migrateCommand(g), doctorCommand(g), healthcheckCommand(g), versionCommand(g))
	return root
}

func fromEnv(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// load reads the configuration that the flags name. With needs, faults of other sections
// do not count.
func (g *globals) load(needs ...string) (*config.Config, error) {
	flags := map[string]any{}
	if g.dataDir != "" {
		flags["data_dir"] = g.dataDir
	}
	return config.Load(config.Options{Path: g.configFile, Explicit: g.configFile != "", Environ: os.Environ(), Flags: flags, Needs: needs})
}

// noArguments and exactly are cobra's, as usage errors.
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

// group is a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: noArguments, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(children...)
	return c
}

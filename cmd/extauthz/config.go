package main

import (
	"time"

	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/config"
)

func configCommand(g *globals) *cobra.Command {
	check := &cobra.Command{
		Use: "check", Short: "Check the configuration, and list every problem", Args: noArguments, Example: "  extauthz config check --config extauthz.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := g.load()
			if err != nil {
				return err
			}
			for _, w := range append(settings.Warnings(time.Now()), settings.CertificateWarnings(time.Now())...) {
				c.PrintErrln("warning:", w)
			}
			for _, change := range settings.Changes() {
				c.PrintErrln("note:", change)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "The configuration is valid.\nWhere the gateway limits the headers that are sent here, allow: %s\n",
				strings.Join(config.AllowedHeaders(settings), ", "))
			return err
		},
	}
	show := &cobra.Command{
		Use: "print", Short: "Print the effective configuration, secrets masked", Args: noArguments, Example: "  extauthz config print",
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := g.load()
			if err != nil {
				return err
			}
			return settings.Print(c.OutOrStdout())
		},
	}
	schema := &cobra.Command{
		Use: "schema", Short: "Print the configuration's JSON schema", Args: noArguments, Example: "  extauthz config schema > extauthz.schema.json",
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s\n", config.Schema())
			return err
		},
	}
	return group("config", "Check, print and describe the configuration", check, show, schema)
}

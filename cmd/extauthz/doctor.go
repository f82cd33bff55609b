package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/conditions"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/doctor"
)

func doctorCommand(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use: "doctor", Short: "Report what is wrong, and what to do", Args: noArguments,
		Long: "Report what is wrong with the configuration, its certificates, the database, Redis and the running service, and what to do. " +
			"The service is asked at ops.listen, or at --server where none answers there. Without a configuration, and with --server or EXTAUTHZ_SERVER, only that service is asked. " +
			"Writes nothing that lasts. Exits with status 1 if something has failed; warnings do not count.",
		Example: "  extauthz doctor\n  extauthz doctor --config extauthz.yaml -o json\n  extauthz doctor --server https://extauthz.example.com:9003 --token-file admin.key",
		RunE: func(c *cobra.Command, _ []string) error {
			results := g.examine(c)
			if err := g.show(c, results, func(w *tabwriter.Writer) { printResults(w, results) }); err != nil {
				return err
			}
			if n := doctor.Failures(results); n > 0 {
				return fmt.Errorf("%d of %d have failed: see above", n, len(results))
			}
			return nil
		},
	}
	c.AddCommand(doctorReplicasCommand(g))
	return c
}

// examine checks everything that the flags name.
func (g *globals) examine(c *cobra.Command) []doctor.Result {
	remote := c.Flags().Changed("server") || os.Getenv("EXTAUTHZ_SERVER") != ""
	examined := doctor.Config{Remote: remote, Now: time.Now}
	if _, err := os.Stat(config.DefaultFile); !remote || g.configFile != "" || !errors.Is(err, fs.ErrNotExist) {
		settings, err := g.load()
		if err != nil {
			return configurationFaults(err)
		}
		examined.Settings = settings
	}
	examined.QueryService = func(ctx context.Context) (doctor.Service, error) {
		return g.queryService(ctx, examined.Settings, remote)
	}
	return doctor.Examine(c.Context(), examined)
}

// configurationFaults returns one result for each fault of a configuration.
func configurationFaults(err error) (results []doctor.Result) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		results = append(results, doctor.Result{Name: "configuration", State: doctor.Failed, Text: line, Remedy: "correct the setting"})
	}
	return results
}

// queryService queries ops.listen. If nothing answers there, it queries the management
// API of a remote server.
func (g *globals) queryService(ctx context.Context, settings *config.Config, remote bool) (doctor.Service, error) {
	var err error
	if settings != nil {
		ready, local := queryReady(ctx, settings)
		if local == nil || !remote {
			return doctor.Service{State: ready.State, Conditions: ready.Conditions}, local
		}
	}
	client, err := g.client()
	if err != nil {
		return doctor.Service{}, err
	}
	var out struct {
		Items []conditions.Condition `json:"items"`
	}
	if err := client.Call(ctx, http.MethodGet, "/v1/conditions", nil, nil, &out); err != nil {
		return doctor.Service{}, err
	}
	return doctor.Service{State: "serving", Conditions: out.Items}, nil
}

// printResults writes a line for each result, with the remedy on the line below.
func printResults(w *tabwriter.Writer, results []doctor.Result) {
	for _, r := range results {
		row(w, r.State, r.Name, r.Text)
		if r.Remedy != "" {
			row(w, " ", " ", "to do: "+r.Remedy)
		}
	}
}

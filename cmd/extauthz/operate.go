package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/server"
	"extauthz/models"
)

func migrateCommand(g *globals) *cobra.Command {
	up := &cobra.Command{
		Use: "up", Short: "Bring the database to this version", Args: noArguments, Example: "  extauthz migrate up",
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := g.load()
			if err != nil {
				return err
			}
			db, err := server.OpenDatabase(c.Context(), settings, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			return errors.Join(g.migrationStatus(c, db), db.Close())
		},
	}
	status := &cobra.Command{
		Use: "status", Short: "Tell the database's version and the newest one", Args: noArguments, Example: "  extauthz migrate status",
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := g.load()
			if err != nil {
				return err
			}
			db, err := models.Open(c.Context(), server.DatabaseConfig(settings))
			if err != nil {
				return err
			}
			return errors.Join(g.migrationStatus(c, db), db.Close())
		},
	}
	return group("migrate", "The database's schema and content", up, status, migrateCopyCommand(g))
}

func (g *globals) migrationStatus(c *cobra.Command, db *models.DB) error {
	current, newest, err := db.MigrationStatus(c.Context())
	if err != nil {
		return err
	}
	return g.show(c, map[string]int64{"current": current, "newest": newest}, func(w *tabwriter.Writer) {
		row(w, "current", current)
		row(w, "newest", newest)
	})
}

func healthcheckCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "healthcheck", Short: "Exit 0 if the local service is ready, 1 if not; one line tells", Args: noArguments, Example: "  extauthz healthcheck",
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := g.load()
			if err != nil {
				return err
			}
			network, address, err := config.ListenAddress(settings.Ops.Listen)
			if err != nil {
				return err
			}
			scheme, secure := "http", (*tls.Config)(nil)
			if t := settings.Ops.TLS; t.Enabled() {
				own, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
				if err != nil {
					return fmt.Errorf("ops.tls: %w", err)
				}
				// Nothing secret is told to whoever answers there.
				scheme, secure = "https", &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}}
			}
			client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{TLSClientConfig: secure,
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, network, address)
				},
			}}
			req, err := http.NewRequestWithContext(c.Context(), http.MethodGet, scheme+"://service/readyz", nil)
			if err != nil {
				return err
			}
			res, err := client.Do(req)
			if err != nil {
				return fmt.Errorf("the service does not answer on %s: is it running?", settings.Ops.Listen)
			}
			defer func() { _ = res.Body.Close() }()
			var ready struct{ State string }
			if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&ready); err != nil || ready.State == "" {
				return fmt.Errorf("what answers on %s is not this service: set ops.listen to an address of its own", settings.Ops.Listen)
			}
			if res.StatusCode != http.StatusOK {
				return fmt.Errorf("the service is not ready: it is %s", ready.State)
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), ready.State)
			return err
		},
	}
}

func versionCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArguments, Example: "  extauthz version -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			v := map[string]string{"version": version, "go": runtime.Version()}
			return g.show(c, v, func(w *tabwriter.Writer) { row(w, "extauthz", version, runtime.Version()) })
		},
	}
}

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/doctor"
	"extauthz/cmd/extauthz/internal/server"
	"extauthz/models"
)

func migrateCommand(g *globals) *cobra.Command {
	up := &cobra.Command{
		Use: "up", Short: "Migrate the database to this version", Args: noArguments, Example: "  extauthz migrate up",
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
		Use: "status", Short: "Print the database's version and the newest one", Args: noArguments, Example: "  extauthz migrate status",
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
		Use: "healthcheck", Short: "Check whether the local service is ready: exit status 0 or 1, and one line", Args: noArguments, Example: "  extauthz healthcheck",
		RunE: func(c *cobra.Command, _ []string) error {
			ready, err := g.queryOwn(c.Context())
			if err != nil {
				return err
			}
			if !ready.OK {
				texts := []string{"it is " + ready.State}
				for _, c := range ready.Conditions {
					texts = append(texts, c.Text)
				}
				return fmt.Errorf("the service is not ready: %s", strings.Join(texts, "; "))
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), ready.State)
			return err
		},
	}
}

// queryOwn queries the service on this machine, even if its configuration has faults. A
// running service that refused the faulty configuration still uses the earlier one, and
// it could not start again if a failed probe restarted it. If the section ops can't be
// read, the environment and the defaults name the listener.
func (g *globals) queryOwn(ctx context.Context) (doctor.Ready, error) {
	settings, faults := g.load("ops")
	if faults != nil {
		var err error
		if settings, err = config.Load(config.Options{Path: os.DevNull, Environ: os.Environ(), Needs: []string{"ops"}}); err != nil {
			return doctor.Ready{}, faults
		}
	}
	ready, err := queryReady(ctx, settings)
	if err != nil && faults != nil {
		err = faults
	}
	return ready, err
}

// queryReady queries the service on this machine, at ops.listen.
func queryReady(ctx context.Context, settings *config.Config) (ready doctor.Ready, err error) {
	network, address, err := config.ListenAddress(settings.Ops.Listen)
	if err != nil {
		return ready, err
	}
	scheme, secure := "http", (*tls.Config)(nil)
	if t := settings.Ops.TLS; t.Enabled() {
		own, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return ready, fmt.Errorf("ops.tls: %w", err)
		}
		// The client sends no secret, so whatever answers there may be untrusted.
		scheme, secure = "https", &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}}
	}
	ready, err = doctor.ReadReady(ctx, scheme+"://service", &http.Transport{TLSClientConfig: secure,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	})
	switch {
	case errors.Is(err, doctor.ErrNotExtauthz):
		return ready, fmt.Errorf("what answers on %s is not this service: set ops.listen to an address of its own", settings.Ops.Listen)
	case err != nil:
		return ready, fmt.Errorf("the service does not answer on %s: is it running?", settings.Ops.Listen)
	}
	return ready, nil
}

// versionLine returns what --version prints. The table of `version` is the same.
func versionLine() string { return fmt.Sprintf("extauthz  %s  %s\n", version, runtime.Version()) }

func versionCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArguments, Example: "  extauthz version -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			v := map[string]string{"version": version, "go": runtime.Version()}
			return g.show(c, v, func(w *tabwriter.Writer) { row(w, "extauthz", version, runtime.Version()) })
		},
	}
}

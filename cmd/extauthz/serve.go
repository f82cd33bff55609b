package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/server"
)

func serveCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "serve",
		Short:   "Run the service",
		Long:    "Run the service. Without flag and file it keeps keys in SQLite below --data-dir and listens on loopback.\nSIGHUP reloads the configuration; SIGTERM and Ctrl-C let running checks finish first.",
		Example: "  extauthz serve\n  extauthz serve --config extauthz.yaml",
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return onOneLine(serve(c.Context(), g)) },
	}
}

func serve(ctx context.Context, g *globals) error {
	settings, err := g.load()
	if err != nil {
		return err
	}
	level := &slog.LevelVar{}
	level.Set(server.LogLevel(settings.Log.Level))
	log := logger(os.Stderr, settings.Log.Format, level)
	for _, w := range settings.Warnings(time.Now()) {
		log.Warn("configuration", "warning", w)
	}
	s, err := server.New(server.Config{Settings: settings, Load: func() (*config.Config, error) { return g.load() }, Logger: log, Level: level, Version: version})
	if err != nil {
		return err
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for {
		select {
		case <-hangups:
			s.Reload()
		case err := <-done:
			signal.Stop(hangups)
			return err
		}
	}
}

// onOneLine joins several problems into one line. It is the last line of the log, and
// platforms show that line as the reason why a container ended.
func onOneLine(err error) error {
	if err == nil || !strings.Contains(err.Error(), "\n") {
		return err
	}
	problems := strings.Split(err.Error(), "\n")
	return fmt.Errorf("%d problems: %s", len(problems), strings.Join(problems, "; "))
}

func logger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

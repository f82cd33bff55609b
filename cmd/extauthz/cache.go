package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/adminapi"
	"extauthz/cmd/extauthz/internal/printer"
)

func cacheCommand(g *globals) *cobra.Command {
	return group("cache", "The cached validator of one replica", cacheStats(g), cacheWarm(g), cacheInvalidate(g), cacheMonitor(g), cacheAudit(g))
}

func cacheStats(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "stats", Short: "Show the cache's statistics", Args: noArguments, Example: "  extauthz cache stats",
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := call[adminapi.CacheFigures](c, g, http.MethodGet, "/v1/cache", nil, nil)
			if err != nil {
				return err
			}
			return g.show(c, f, func(w *tabwriter.Writer) {
				row(w, "state", f.State)
				row(w, "feed age", f.FeedAge)
				row(w, "hit rate", fmt.Sprintf("%.3f", f.Statistics.HitRate))
				row(w, "usage pending", f.Pending)
				row(w, "redis", f.Redis)
				row(w, "redis trusted", f.Trusted)
				for _, l := range f.Statistics.Layers {
					row(w, "look-ups "+l.Layer+" "+l.Namespace, fmt.Sprintf("%d hits, %d misses, %d errors", l.Hits, l.Misses, l.Errors))
				}
				for _, e := range f.Statistics.Entries {
					row(w, "entries "+e.Layer+" "+e.Namespace, e.Entries)
				}
				for _, r := range f.Statistics.Replicas {
					row(w, "hit rate of "+r.Instance, fmt.Sprintf("%.3f, %s", r.HitRate, g.when(&r.At, "-")))
				}
			})
		},
	}
}

func cacheWarm(g *globals) *cobra.Command {
	var in struct {
		Keys int `json:"keys"`
	}
	c := &cobra.Command{
		Use: "warm", Short: "Load the most used keys into the cache", Args: noArguments, Example: "  extauthz cache warm --keys 100000",
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := g.client()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), adminapi.WarmTime)
			defer cancel()
			progress := printer.NewProgress(c.ErrOrStderr(), "keys")
			progress.Wait("reading keys")
			var out adminapi.Warmed
			err = client.Call(ctx, http.MethodPost, "/v1/cache/warm", nil, in, &out)
			progress.End()
			if err != nil {
				return err
			}
			return g.show(c, out, func(w *tabwriter.Writer) {
				row(w, "keys", out.Keys)
				row(w, "in redis", out.Shared)
				row(w, "took", out.Took)
			})
		},
	}
	c.Flags().IntVar(&in.Keys, "keys", 10_000, "how many, at most")
	return c
}

func cacheMonitor(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "monitor", Short: "Look at memory, hit rate and leaks", Args: noArguments, Example: "  extauthz cache monitor",
		Long: "Run the cache's monitors now. Exits with status 1 if one of them warns.",
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := call[adminapi.Monitors](c, g, http.MethodGet, "/v1/cache/monitors", nil, nil)
			if err != nil {
				return err
			}
			var warns []string
			err = g.show(c, out, func(w *tabwriter.Writer) {
				row(w, "MONITOR", "STATE", "DETAIL")
				for _, f := range out.Findings {
					state := "ok"
					if !f.OK {
						state = "warns"
					}
					row(w, f.Monitor, state, f.Detail)
				}
			})
			for _, f := range out.Findings {
				if !f.OK {
					warns = append(warns, f.Monitor)
				}
			}
			if err == nil && len(warns) > 0 {
				err = fmt.Errorf("cache monitors warn: %s", strings.Join(warns, ", "))
			}
			return err
		},
	}
}

func cacheInvalidate(g *globals) *cobra.Command {
	in := map[string]any{}
	var key, user, tag, reason string
	var everything bool
	c := &cobra.Command{
		Use: "invalidate", Short: "Drop cached entries, so that they are loaded again", Args: noArguments,
		Example: "  extauthz cache invalidate --user alice --reason 'looks wrong'",
		RunE: func(c *cobra.Command, _ []string) error {
			for name, value := range map[string]string{"key": key, "user": user, "tag": tag} {
				if value != "" {
					in[name] = value
				}
			}
			if everything {
				in["all"] = true
			}
			if len(in) != 1 {
				return usage(c, errors.New("give exactly one of --key, --user, --tag and --all"))
			}
			in["reason"] = reason
			type dropped struct {
				Dropped int `json:"dropped"`
			}
			out, err := call[dropped](c, g, http.MethodPost, "/v1/cache/invalidate", nil, in)
			if err != nil {
				return err
			}
			return g.show(c, out, func(w *tabwriter.Writer) { row(w, "dropped", out.Dropped) })
		},
	}
	f := c.Flags()
	keyFlag(c, g, &key, "one key, by id or prefix")
	userFlag(c, g, &user, "all of a user")
	f.StringVar(&tag, "tag", "", "all under a tag")
	f.BoolVar(&everything, "all", false, "everything")
	f.StringVar(&reason, "reason", "", "reason to show in the list of invalidations")
	return c
}

func cacheAudit(g *globals) *cobra.Command {
	type dropped = adminapi.Invalidation
	text := func(name string, least int, read func(*dropped) string) printer.Column[dropped] {
		return printer.Column[dropped]{Name: name, MinWidth: least, Text: read}
	}
	l := &listing[dropped]{columns: []printer.Column[dropped]{
		timeColumn(g, "time", "-", false, func(i *dropped) *time.Time { return &i.At }),
		text("cause", 0, func(i *dropped) string { return i.Cause }),
		text("target", 16, func(i *dropped) string { return i.Target }),
		numberColumn("dropped", func(i *dropped) int64 { return int64(i.Dropped) }),
		text("by", 8, func(i *dropped) string { return i.By }),
		text("reason", 8, func(i *dropped) string { return i.Reason }),
	}}
	return l.flags(&cobra.Command{
		Use: "audit", Short: "List recent invalidations, with their callers and reasons", Args: noArguments, Example: "  extauthz cache audit --limit 20",
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := l.read(c, g, "/v1/cache/invalidations", url.Values{})
			if err != nil {
				return err
			}
			return l.show(c, g, list)
		},
	})
}

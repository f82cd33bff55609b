package main

import (
	"github.com/spf13/cobra"

	"extauthz/envoy"
)

func envoyCommand(g *globals) *cobra.Command {
	var b envoy.Bootstrap
	bootstrap := &cobra.Command{
		Use: "bootstrap --upstream HOST:PORT", Short: "Print an Envoy configuration that works as it stands", Args: noArguments,
		Example: "  extauthz envoy bootstrap --upstream 127.0.0.1:8080 > envoy.yaml && envoy -c envoy.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := g.load()
			if err != nil {
				return err
			}
			if b.Service == "" {
				b.Service = settings.GRPC.Listen
			}
			b.HeaderPrefix = settings.Identity.HeaderPrefix
			return envoy.WriteBootstrap(c.OutOrStdout(), b)
		},
	}
	f := bootstrap.Flags()
	f.StringVar(&b.Listen, "listen", "127.0.0.1:10000", "where Envoy listens")
	f.StringVar(&b.Upstream, "upstream", "", "the API behind it")
	f.StringVar(&b.Service, "service", "", "this service's gRPC listener (default grpc.listen)")
	f.StringVar(&b.Admin, "admin", "", "Envoy's own admin listener; none by default")
	required(bootstrap, "upstream")
	return group("envoy", "Configurations for gateways", bootstrap)
}

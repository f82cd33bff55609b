package main

import (
	"errors"

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
			switch t := settings.GRPC.TLS; {
			case t.Enabled() && b.TLS.Authorities == "":
				return errors.New("grpc.tls is on: name the authorities of its certificate by --tls-ca, and its DNS name by --tls-name")
			case t.ClientCAFile != "" && b.TLS.Certificate == "":
				return errors.New("grpc.tls.client_ca_file asks for a client certificate: name Envoy's by --tls-cert and --tls-key")
			}
			return envoy.WriteBootstrap(c.OutOrStdout(), b)
		},
	}
	f := bootstrap.Flags()
	f.StringVar(&b.Listen, "listen", "127.0.0.1:10000", "where Envoy listens")
	f.StringVar(&b.Upstream, "upstream", "", "the API behind it")
	f.StringVar(&b.Service, "service", "", "this service's gRPC listener (default grpc.listen)")
	f.StringVar(&b.Admin, "admin", "", "Envoy's own admin listener; none by default")
	f.StringVar(&b.TLS.Authorities, "tls-ca", "", "where grpc.tls is on: file with the authorities of its certificate")
	f.StringVar(&b.TLS.Name, "tls-name", "", "DNS name in that certificate")
	f.StringVar(&b.TLS.Certificate, "tls-cert", "", "file with the certificate by which Envoy proves itself")
	f.StringVar(&b.TLS.Key, "tls-key", "", "file with that certificate's key")
	required(bootstrap, "upstream")
	return group("envoy", "Configurations for gateways", bootstrap)
}

package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/gatewayconfig"
)

func envoyCommand(g *globals) *cobra.Command {
	var b gatewayconfig.Bootstrap
	var rawPaths bool
	bootstrap := &cobra.Command{
		Use: "bootstrap --upstream HOST:PORT", Short: "Print a complete Envoy configuration", Args: noArguments,
		Example: "  extauthz envoy bootstrap --upstream 127.0.0.1:8080 > envoy.yaml && envoy -c envoy.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := g.gatewaySettings(c, &b.Settings, rawPaths)
			if err != nil {
				return err
			}
			if b.Service == "" {
				b.Service = settings.GRPC.Listen
			}
			switch t := settings.GRPC.TLS; {
			case t.Enabled() && b.TLS.Authorities == "":
				return errors.New("grpc.tls is on: name the authorities of its certificate by --tls-ca, and its DNS name by --tls-name")
			case t.ClientCAFile != "" && b.TLS.Certificate == "":
				return errors.New("grpc.tls.client_ca_file requires a client certificate: name Envoy's by --tls-cert and --tls-key")
			}
			return gatewayconfig.WriteBootstrap(c.OutOrStdout(), b)
		},
	}
	f := bootstrap.Flags()
	f.StringVar(&b.Listen, "listen", "127.0.0.1:10000", "where Envoy listens")
	f.StringVar(&b.Upstream, "upstream", "", "the API behind it")
	f.StringVar(&b.Service, "service", "", "this service's gRPC listener (default grpc.listen)")
	f.StringVar(&b.Admin, "admin", "", "Envoy's own admin listener; none by default")
	f.StringVar(&b.TLS.Authorities, "tls-ca", "", "where grpc.tls is on: file with the authorities of its certificate")
	f.StringVar(&b.TLS.Name, "tls-name", "", "DNS name in that certificate")
	f.StringVar(&b.TLS.Certificate, "tls-cert", "", "file with Envoy's client certificate")
	f.StringVar(&b.TLS.Key, "tls-key", "", "file with that certificate's key")
	rawPathsFlag(bootstrap, &rawPaths)
	required(bootstrap, "upstream")
	return group("envoy", "Configurations for gateways", append([]*cobra.Command{bootstrap, envoyKubernetesCommand(g), istioCommand(g), envoyGatewayCommand(g)}, objectsCommands(g)...)...)
}

func rawPathsFlag(c *cobra.Command, raw *bool) {
	c.Flags().BoolVar(raw, "raw-paths", false, "pass paths on as they were sent, for upstreams that need every byte of them, such as object stores")
}

// gatewaySettings loads the configuration, and copies what a gateway's configuration
// needs from it into s.
func (g *globals) gatewaySettings(c *cobra.Command, s *gatewayconfig.Settings, rawPaths bool) (*config.Config, error) {
	settings, err := g.load()
	if err != nil {
		return nil, err
	}
	s.HeaderPrefix, s.KeepOverrides, s.Paths = settings.Identity.HeaderPrefix, settings.Headers.KeepOverrides, pathHandling(c, settings, rawPaths)
	s.Hosts, err = onlyHosts(settings)
	return settings, err
}

// pathHandling returns how the gateway has to treat paths under the configured rules.
func pathHandling(c *cobra.Command, settings *config.Config, raw bool) gatewayconfig.PathHandling {
	switch encoded := settings.TakesEncodedPaths(); {
	case raw && !encoded:
		c.PrintErrln("warning: --raw-paths without encoded: allow on a rule, or paths.encoded: the service refuses paths that are not in their plain form")
		return gatewayconfig.PathsRaw
	case raw:
		return gatewayconfig.PathsRaw
	case encoded:
		return gatewayconfig.PathsEncoded
	}
	return gatewayconfig.PathsNormalised
}

// onlyHosts returns the hosts that the rules name if every rule names one, else none.
func onlyHosts(settings *config.Config) ([]string, error) {
	routes, err := settings.RouteTable()
	if err != nil {
		return nil, err
	}
	hosts, all := routes.Hosts()
	if !all {
		return nil, nil
	}
	return hosts, nil
}

// defaultService is the address that the Helm chart gives the service.
const defaultService = "extauthz/extauthz:9001"

func istioCommand(g *globals) *cobra.Command {
	var i gatewayconfig.Istio
	var service, selector string
	var mesh, rawPaths bool
	istio := &cobra.Command{
		Use: "istio", Short: "Print the objects by which Istio's gateways or sidecars call this service", Args: noArguments,
		Example: "  extauthz envoy istio --mesh   # goes under meshConfig in the values of istiod\n" +
			"  extauthz envoy istio --namespace istio-ingress --selector istio=ingressgateway | kubectl apply -f -\n" +
			"  extauthz envoy istio --sidecar --namespace shop --selector app=orders | kubectl apply -f -",
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := g.gatewaySettings(c, &i.Settings, rawPaths)
			if err != nil {
				return err
			}
			if i.Service, err = gatewayconfig.ParseKubernetesService(service); err != nil {
				return err
			}
			if mesh {
				return gatewayconfig.WriteIstioMesh(c.OutOrStdout(), i)
			}
			i.Label, i.Value, _ = strings.Cut(selector, "=")
			if !settings.CORS.AllowPreflights {
				c.PrintErrln("warning: cors.allow_preflights is false: Istio calls the service before it answers CORS preflights, which carry no key and are refused")
			}
			if settings.RouteMetadata.Enabled {
				c.PrintErrln("warning: route_metadata.enabled has no effect: Istio sends none, nor context extensions; name what needs which scope in routes")
			}
			if settings.GRPC.TLS.Enabled() {
				c.PrintErrln("warning: grpc.tls is on: Istio needs a DestinationRule with tls for the Service, which is not printed here; or leave TLS to the mesh")
			}
			return gatewayconfig.WriteIstio(c.OutOrStdout(), i)
		},
	}
	f := istio.Flags()
	f.BoolVar(&mesh, "mesh", false, "print the part of the mesh configuration that names this service")
	f.BoolVar(&i.Sidecar, "sidecar", false, "the workload's sidecars call the service; else an ingress gateway does")
	f.StringVar(&i.Namespace, "namespace", "istio-ingress", "the workload's namespace")
	f.StringVar(&selector, "selector", "istio=ingressgateway", "label of the workload's pods, KEY=VALUE")
	f.StringVar(&i.Name, "name", "extauthz", "name of the objects")
	f.StringVar(&service, "service", defaultService, "this service's gRPC port, NAMESPACE/NAME:PORT")
	rawPathsFlag(istio, &rawPaths)
	return istio
}

func envoyGatewayCommand(g *globals) *cobra.Command {
	var e gatewayconfig.EnvoyGateway
	var service string
	var rawPaths bool
	gateway := &cobra.Command{
		Use: "gateway", Short: "Print the objects by which Envoy Gateway's routes call this service", Args: noArguments,
		Example: "  extauthz envoy gateway --namespace gateways --gateway api | kubectl apply -f -",
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := g.gatewaySettings(c, &e.Settings, rawPaths)
			if err != nil {
				return err
			}
			if e.Service, err = gatewayconfig.ParseKubernetesService(service); err != nil {
				return err
			}
			switch t := settings.GRPC.TLS; {
			case t.Enabled() && e.TLSName == "":
				return errors.New("grpc.tls is on: name the DNS name in its certificate by --tls-name, and the ConfigMap with its authorities by --tls-ca")
			case t.ClientCAFile != "":
				c.PrintErrln("warning: grpc.tls.client_ca_file requires a client certificate: name Envoy's in the EnvoyProxy of the Gateway, backendTLS.clientCertificateRef")
			}
			e.AllowedHeaders = config.AllowedHeaders(settings)
			if settings.RouteMetadata.Enabled { // annotations are rules too, and their hosts are not known here
				e.Hosts = nil
			}
			return gatewayconfig.WriteEnvoyGateway(c.OutOrStdout(), e)
		},
	}
	f := gateway.Flags()
	f.StringVar(&e.Namespace, "namespace", "gateways", "the Gateway's namespace")
	f.StringVar(&e.Gateway, "gateway", "api", "the Gateway's name")
	f.StringVar(&e.TLSName, "tls-name", "", "where grpc.tls is on: DNS name in its certificate")
	f.StringVar(&e.TLSAuthorities, "tls-ca", "", "ConfigMap beside the Service with the authorities of that certificate, under ca.crt")
	f.StringVar(&service, "service", defaultService, "this service's gRPC port, NAMESPACE/NAME:PORT")
	rawPathsFlag(gateway, &rawPaths)
	return gateway
}

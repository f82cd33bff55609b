package main

import (
	"errors"

	"github.com/spf13/cobra"

	"extauthz/authz"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/gatewayconfig"
)

// objectsFor describes one of the gateways that a command prints objects for.
type objectsFor struct {
	name, short, example string
	namespace, gateway   string // defaults of the flags
	named                string // the object that namespace and gateway name
	service              string // default of --service; "": defaultService
	backend              string // default of --backend; "": no route is printed
	http                 bool   // the gateway can also call over HTTP, with --http
	onlyHTTP             bool
	tls                  string // the kind of object that --tls-ca names; "": TLS is not printed
	noContext            bool   // no context extensions are sent
	rawPaths             bool   // the gateway can leave slashes as they are
}

var objectsForGateways = []objectsFor{
	{name: "contour", short: "Print the objects by which Contour's proxies call this service", example: "  extauthz envoy contour | kubectl apply -f -",
		namespace: "projectcontour", gateway: "contour", named: "ContourConfiguration", tls: "Secret", rawPaths: true},
	{name: "kgateway", short: "Print the objects by which kgateway's routes call this service", example: "  extauthz envoy kgateway --namespace gateways --gateway api | kubectl apply -f -",
		namespace: "gateways", gateway: "api", named: "Gateway", tls: "ConfigMap"},
	{name: "agentgateway", short: "Print the objects by which agentgateway's routes call this service", example: "  extauthz envoy agentgateway --namespace gateways --gateway api | kubectl apply -f -",
		namespace: "gateways", gateway: "api", named: "Gateway", tls: "ConfigMap"},
	{name: "gateway-api", short: "Print a route with the Gateway API's ExternalAuth filter", example: "  extauthz envoy gateway-api --backend shop/orders:80 > orders.yaml\n  extauthz envoy gateway-api --http --service extauthz/extauthz:9002 > orders.yaml",
		namespace: "gateways", gateway: "api", named: "Gateway", backend: "shop/orders:80", http: true, tls: "ConfigMap", noContext: true},
	{name: "cilium", short: "Print a route that Cilium calls this service about", example: "  extauthz envoy cilium --backend shop/orders:80 > orders.yaml",
		namespace: "gateways", gateway: "api", named: "Gateway", backend: "shop/orders:80", http: true, tls: "ConfigMap", noContext: true},
	{name: "nginx-gateway-fabric", short: "Print a route that NGINX Gateway Fabric calls this service about", example: "  extauthz envoy nginx-gateway-fabric --backend shop/orders:80 > orders.yaml",
		namespace: "gateways", gateway: "api", named: "Gateway", backend: "shop/orders:80", service: defaultHTTPService, onlyHTTP: true, tls: "ConfigMap", noContext: true},
	{name: "emissary", short: "Print the object by which Emissary-ingress calls this service", example: "  extauthz envoy emissary | kubectl apply -f -",
		namespace: "emissary", gateway: "extauthz", named: "AuthService"},
	{name: "consul", short: "Print the objects by which a Consul mesh calls this service", example: "  extauthz envoy consul --namespace shop --gateway orders | kubectl apply -f -",
		namespace: "shop", gateway: "orders", named: "called service", noContext: true},
}

// defaultHTTPService is the address that the Helm chart gives http.listen.
const defaultHTTPService = "extauthz/extauthz:9002"

func objectsCommands(g *globals) (all []*cobra.Command) {
	for _, kind := range objectsForGateways {
		all = append(all, objectsCommand(g, kind))
	}
	return all
}

func objectsCommand(g *globals, kind objectsFor) *cobra.Command {
	o := gatewayconfig.Objects{HTTP: kind.onlyHTTP, NGINX: kind.onlyHTTP}
	var service, backend string
	var rawPaths bool
	c := &cobra.Command{
		Use: kind.name, Short: kind.short, Args: noArguments, Example: kind.example,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			settings, err := g.gatewaySettings(c, &o.Settings, rawPaths)
			if err != nil {
				return err
			}
			if o.HTTP && !c.Flags().Changed("service") {
				service = defaultHTTPService
			}
			if o.Service, err = gatewayconfig.ParseKubernetesService(service); err != nil {
				return err
			}
			if backend != "" {
				if o.Backend, err = gatewayconfig.ParseKubernetesService(backend); err != nil {
					return err
				}
			}
			if err := checkListener(c, kind, o, settings); err != nil {
				return err
			}
			if kind.noContext && settings.RouteMetadata.Enabled {
				c.PrintErrln("warning: route_metadata.enabled has no effect: " + kind.name + " sends none; name what needs which scope in routes")
			}
			o.MetadataHeaders = settings.Identity.MetadataHeaders
			o.AllowedHeaders, o.CredentialHeaders = config.AllowedHeaders(settings), credentialHeaders(settings)
			return gatewayconfig.WriteObjects(c.OutOrStdout(), kind.name, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Namespace, "namespace", kind.namespace, "namespace of the "+kind.named)
	f.StringVar(&o.Gateway, "gateway", kind.gateway, "name of the "+kind.named)
	port := "gRPC"
	if kind.onlyHTTP {
		port = "HTTP"
	}
	if kind.service == "" {
		kind.service = defaultService
	}
	f.StringVar(&service, "service", kind.service, "this service's "+port+" port, NAMESPACE/NAME:PORT")
	if kind.backend != "" {
		f.StringVar(&backend, "backend", kind.backend, "the API behind the route, NAMESPACE/NAME:PORT")
	}
	if kind.http {
		f.BoolVar(&o.HTTP, "http", false, "call over HTTP (http.listen) instead of gRPC")
	}
	if kind.tls != "" {
		f.StringVar(&o.TLSName, "tls-name", "", "where the listener has TLS: DNS name in its certificate")
		f.StringVar(&o.TLSAuthorities, "tls-ca", "", kind.tls+" beside the Service with the authorities of that certificate, under ca.crt")
	}
	if kind.rawPaths {
		rawPathsFlag(c, &rawPaths)
	}
	return c
}

// checkListener refuses a configuration under which the gateway would refuse every
// request: TLS on one side alone, or a listener that is off.
func checkListener(c *cobra.Command, kind objectsFor, o gatewayconfig.Objects, settings *config.Config) error {
	name, tls := "grpc.tls", settings.GRPC.TLS
	if o.HTTP {
		name, tls = "http.tls", settings.HTTP.TLS
		if settings.HTTP.Listen == "" {
			return errors.New("http.listen is off: the gateway calls it; set it")
		}
		if len(settings.HTTP.TrustedPeers) == 0 {
			c.PrintErrln("warning: http.trusted_peers is empty: the service answers this machine alone; name the network of the gateway's pods there")
		}
	}
	switch {
	case tls.Enabled() && kind.tls == "":
		c.PrintErrln("warning: " + name + " is on: the objects for " + kind.name + " have no TLS; set it up by hand, or turn it off where the mesh encrypts")
	case tls.Enabled() && o.TLSName == "":
		return errors.New(name + " is on: name the DNS name in its certificate by --tls-name, and the " + kind.tls + " with its authorities by --tls-ca")
	case tls.ClientCAFile != "" && kind.tls != "":
		c.PrintErrln("warning: " + name + ".client_ca_file requires a client certificate: give the gateway one, which is not printed here")
	}
	return nil
}

// credentialHeaders returns the headers in which keys may be sent.
func credentialHeaders(settings *config.Config) (names []string) {
	for _, s := range settings.CredentialSources() {
		if s.Kind == authz.SourceHeader {
			names = append(names, s.Name)
		}
	}
	return names
}

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"extauthz/cmd/extauthz/internal/gatewayconfig"
)

// defaultHeadless is the address that the Helm chart gives the service for an Envoy that
// resolves names itself.
const defaultHeadless = "extauthz-headless.extauthz.svc.cluster.local:9001"

func envoyKubernetesCommand(g *globals) *cobra.Command {
	var k gatewayconfig.Kubernetes
	var rawPaths bool
	c := &cobra.Command{
		Use: "kubernetes --upstream HOST:PORT", Short: "Print a complete Envoy in Kubernetes: a ConfigMap, a Deployment and a Service", Args: noArguments,
		Example: "  extauthz envoy kubernetes --namespace shop --upstream orders.shop.svc.cluster.local:8080 | kubectl apply -f -\n" +
			"  extauthz envoy kubernetes --namespace shop --upstream orders.shop.svc.cluster.local:8080 --tls-secret extauthz-gateway --tls-name extauthz.extauthz.svc | kubectl apply -f -",
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := g.gatewaySettings(c, &k.Bootstrap.Settings, rawPaths)
			if err != nil {
				return err
			}
			switch {
			case settings.GRPC.TLS.Enabled() && k.TLSSecret == "":
				return errors.New("grpc.tls is on: name the Secret with ca.crt and the client certificate by --tls-secret, and the DNS name in the service's certificate by --tls-name")
			case k.TLSSecret != "" && k.TLSName == "":
				return errors.New("--tls-secret without --tls-name: name the DNS name in the service's certificate, such as extauthz.extauthz.svc")
			}
			k.Anonymous = settings.GRPC.TLS.Enabled() && settings.GRPC.TLS.ClientCAFile == ""
			return gatewayconfig.WriteKubernetes(c.OutOrStdout(), k)
		},
	}
	f := c.Flags()
	f.StringVar(&k.Namespace, "namespace", "default", "namespace of the objects")
	f.StringVar(&k.Name, "name", "extauthz-envoy", "name of the objects")
	f.StringVar(&k.Bootstrap.Upstream, "upstream", "", "the API behind it")
	f.StringVar(&k.Bootstrap.Service, "service", defaultHeadless, "this service's headless Service")
	f.IntVar(&k.Replicas, "replicas", 2, "pods of Envoy")
	f.StringVar(&k.Image, "image", gatewayconfig.DefaultEnvoyImage, "Envoy's image")
	f.StringVar(&k.TLSSecret, "tls-secret", "", "where grpc.tls is on: Secret in that namespace with ca.crt, and with tls.crt and tls.key where a client certificate is required")
	f.StringVar(&k.TLSName, "tls-name", "", "DNS name in the service's certificate")
	rawPathsFlag(c, &rawPaths)
	required(c, "upstream")
	return c
}

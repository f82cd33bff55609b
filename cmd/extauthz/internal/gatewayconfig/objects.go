package gatewayconfig

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"extauthz/envoy"
)

// The most names of headers that the Gateway API accepts in one list: of names to remove,
// and of names to send to an authorization service.
const (
	maxRemovedNames = 16
	maxAllowedNames = 64
)

// Objects holds the values of the objects for gateways other than Istio and Envoy
// Gateway. Not every gateway uses every field.
type Objects struct {
	Settings
	Service KubernetesService // the listener that the gateway calls
	// The object that represents the gateway: a Gateway, Contour's configuration, the
	// service of a Consul mesh, or Emissary's AuthService.
	Namespace, Gateway string
	Backend            KubernetesService // the API behind a printed route
	HTTP               bool              // the gateway calls http.listen instead of grpc.listen
	NGINX              bool              // it calls it as NGINX Gateway Fabric does
	MetadataHeaders    []string          // entries of a key's metadata that are identity headers
	// The DNS name in the service's certificate, and the object with its authorities
	// under ca.crt, in the namespace of the Service; both "": plain text.
	TLSName, TLSAuthorities string
	AllowedHeaders          []string // request headers that decisions depend on; "x-*" is a prefix
	CredentialHeaders       []string // those of AllowedHeaders that hold keys
}

// WriteObjects writes the objects with which a gateway calls the service: contour,
// kgateway, agentgateway, gateway-api, cilium, nginx-gateway-fabric, emissary or consul.
// They fail closed.
func WriteObjects(w io.Writer, gateway string, o Objects) error {
	problems := append(o.problems(), o.Service.validate(), objectName("namespace", o.Namespace), objectName("gateway", o.Gateway))
	problems = append(problems, tlsProblems(o.TLSName, o.TLSAuthorities)...)
	if o.Backend != (KubernetesService{}) {
		if err := o.Backend.validate(); err != nil {
			problems = append(problems, fmt.Errorf("backend: %w", err))
		}
	}
	for _, name := range slices.Concat(o.Sent(), o.CredentialHeaders) {
		if !envoy.ValidHeaderName(name) {
			problems = append(problems, fmt.Errorf("header %q: write a lower-case header name", name))
		}
	}
	if n := len(o.Sent()); o.HTTP && n > maxAllowedNames {
		problems = append(problems, fmt.Errorf("%d headers have to be sent to the service, the filter takes %d: shorten credentials", n, maxAllowedNames))
	}
	if n := len(o.CredentialHeaders); o.HTTP && n > maxRemovedNames {
		problems = append(problems, fmt.Errorf("%d headers may hold a key, the filter removes %d: shorten credentials", n, maxRemovedNames))
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return execute(w, gateway, o)
}

// IdentityHeaders returns the names of all identity headers.
func (o Objects) IdentityHeaders() []string {
	return envoy.IdentityHeaders(o.prefix(), o.MetadataHeaders)
}

// Overrides returns the override headers that no client may send on.
func (o Objects) Overrides() []string {
	return o.without(slices.Concat(envoy.OverrideHeaderGroups()...))
}

// EarlyRemoved returns the names that a gateway removes from every request if its API
// limits their number. Identity headers come first, because an upstream trusts them.
func (o Objects) EarlyRemoved() []string {
	names := append(o.IdentityHeaders(), o.Overrides()...)
	return names[:min(len(names), maxRemovedNames)]
}

// PathOverrides returns the override headers that replace a path or its prefix. Their
// values may contain bytes outside ASCII, and agentgateway does not pass such values to
// the service.
func (o Objects) PathOverrides() []string {
	names := o.without(envoy.PathOverrideHeaders())
	return names[:min(len(names), maxRemovedNames)]
}

func (o Objects) without(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(o.KeepOverrides, func(kept string) bool { return envoy.FoldName(kept) == name })
	})
}

// Sent returns the headers that must be listed for a gateway that sends only listed ones:
// those that decisions depend on, and those that the service refuses or replaces.
// authorization is left out: the filter sends it anyway, and a gateway could send it
// twice if it were listed.
func (o Objects) Sent() []string {
	names := slices.Concat(o.AllowedHeaders, o.IdentityHeaders(), o.Overrides())
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, "*") || name == "authorization" })
	slices.Sort(names)
	return slices.Compact(names)
}

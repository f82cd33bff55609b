package gatewayconfig

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"extauthz/envoy"
)

// EnvoyGateway holds the values of Envoy Gateway's objects.
type EnvoyGateway struct {
	Settings
	Service            KubernetesService // this service's gRPC listener
	Namespace, Gateway string            // the Gateway whose routes are protected
	// The DNS name in the service's certificate, and the ConfigMap with its authorities
	// in the namespace of the Service; both "": plain text.
	TLSName, TLSAuthorities string
	// AllowedHeaders holds the request headers that decisions depend on. An entry that
	// ends in "*" is a prefix. Envoy Gateway can't send headers by a prefix; it removes
	// those under the identity prefix before the check.
	AllowedHeaders []string
}

// Headers returns the entries of AllowedHeaders that are not prefixes, and so can be sent
// on.
func (g EnvoyGateway) Headers() (names []string) {
	for _, name := range g.AllowedHeaders {
		if !strings.HasSuffix(name, "*") {
			names = append(names, name)
		}
	}
	return names
}

// WriteEnvoyGateway writes the objects with which the routes of a Gateway call the
// service. They fail closed.
func WriteEnvoyGateway(w io.Writer, g EnvoyGateway) error {
	problems := append(g.problems(), g.Service.validate(), objectName("namespace", g.Namespace), objectName("gateway", g.Gateway))
	if len(g.Headers()) == 0 {
		problems = append(problems, errors.New("no headers to send on: every request would look as if it had no key"))
	}
	problems = append(problems, tlsProblems(g.TLSName, g.TLSAuthorities)...)
	for _, name := range g.Headers() {
		if !envoy.ValidHeaderName(name) {
			problems = append(problems, fmt.Errorf("header %q: write a lower-case header name", name))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return execute(w, "envoy-gateway", g)
}

package gatewayconfig

import (
	"errors"
	"io"
)

// Istio is what Istio's objects are made from.
type Istio struct {
	Service         KubernetesService // this service's gRPC listener
	Sidecar         bool              // the workload's sidecars ask; false: it is an ingress gateway
	Namespace, Name string            // of the objects; the namespace is the workload's
	Label, Value    string            // that the workload's pods carry
	HeaderPrefix    string            // of identity headers; "": x-auth-
	Paths           PathHandling
	Hosts           []string // that all rules are for, to name in a comment; none: any
	KeepOverrides   []string // those of OverrideHeaders that clients may send on
}

// Removed are expressions for the names of headers that clients may not send on.
func (i Istio) Removed() ([]string, error) { return removedNames(i.HeaderPrefix, i.KeepOverrides) }

// Gateway tells whether an ingress gateway asks.
func (i Istio) Gateway() bool { return !i.Sidecar }

// WriteIstioMesh writes the part of Istio's mesh configuration that names the
// service, as the provider extauthz.
func WriteIstioMesh(w io.Writer, i Istio) error {
	if err := i.Service.validate(); err != nil {
		return err
	}
	return execute(w, "istio-mesh", i)
}

// WriteIstio writes the objects by which a workload asks that provider, with the
// settings that keep doors shut.
func WriteIstio(w io.Writer, i Istio) error {
	i.HeaderPrefix = prefixOrDefault(i.HeaderPrefix)
	_, err := i.Removed()
	problems := append(hostProblems(i.Hosts), objectName("namespace", i.Namespace), objectName("name", i.Name), label(i.Label, i.Value), err)
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return execute(w, "istio", i)
}

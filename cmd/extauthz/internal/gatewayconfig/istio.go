package gatewayconfig

import (
	"errors"
	"io"
)

// Istio holds the values of Istio's objects.
type Istio struct {
	Settings
	Service         KubernetesService // this service's gRPC listener
	Sidecar         bool              // the workload's sidecars call the service; false: an ingress gateway does
	Namespace, Name string            // of the objects; Namespace is the workload's
	Label, Value    string            // of a label on the workload's pods
}

// Gateway reports whether an ingress gateway calls the service.
func (i Istio) Gateway() bool { return !i.Sidecar }

// WriteIstioMesh writes the part of Istio's mesh configuration that names the
// service, as the provider extauthz.
func WriteIstioMesh(w io.Writer, i Istio) error {
	if err := i.Service.validate(); err != nil {
		return err
	}
	return execute(w, "istio-mesh", i)
}

// WriteIstio writes the objects with which a workload calls that provider. They fail
// closed.
func WriteIstio(w io.Writer, i Istio) error {
	problems := append(i.problems(), objectName("namespace", i.Namespace), objectName("name", i.Name), label(i.Label, i.Value))
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return execute(w, "istio", i)
}

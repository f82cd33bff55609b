// Package gatewayconfig writes the configurations that `extauthz envoy ...` prints: a
// complete Envoy (bootstrap), an Envoy in Kubernetes, and the objects by which Istio,
// Envoy Gateway, Contour and other gateways call this service.
//
// Every configuration fails closed: where the service does not answer, requests are
// refused. Each one removes what clients may not send on, by the expressions of package
// envoy, so that a printed gateway and the service have one notion of a header's name.
//
// The package checks what would be written into YAML and reports every problem at once.
// It does not read the service's own configuration: the commands pass what they need. The
// hand-written examples stay in envoy/examples, where operators find them beside the
// adapter; tests here compare them with what is printed.
package gatewayconfig

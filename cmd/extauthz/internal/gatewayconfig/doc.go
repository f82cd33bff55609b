// Package gatewayconfig writes the configurations that `extauthz envoy ...` prints: a
// complete Envoy (bootstrap), an Envoy in Kubernetes, and the objects with which Istio,
// Envoy Gateway, Contour and other gateways call this service.
//
// Every configuration fails closed: if the service does not answer, requests are refused.
// Each one removes the headers that clients may not send on, with the expressions of
// package envoy. So a printed gateway and the service agree about the names of headers.
//
// The package checks the values that it writes into YAML, and reports every problem at
// once. It does not read the service's own configuration: the commands pass what is
// needed. The hand-written examples are in envoy/examples, where operators find them
// beside the adapter. Tests in this package compare them with what is printed.
package gatewayconfig

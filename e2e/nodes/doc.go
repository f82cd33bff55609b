// Package nodes tests the promises of the chart and the service on a Kubernetes that runs
// pods: two nodes of plain processes (e2e/parts, Cluster). Each trial runs under a steady
// load through an Envoy pod that has the printed configuration. A second load passes the
// same Envoy to the same upstream on a route without a check, so that failures of the
// cluster and failures of the service can be distinguished. Tests have the build tag kube
// and need root: `make e2e-kube`.
package nodes

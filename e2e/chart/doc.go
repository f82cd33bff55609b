// Package chart holds the Helm chart to what its README says: rendered by the real
// Helm, judged by Kubernetes' own schemas, and its configuration run by the real
// service. It has no code but tests.
package chart

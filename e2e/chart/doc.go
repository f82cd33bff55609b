// Package chart tests that the Helm chart does what its README describes: it is
// rendered by the real Helm and validated by Kubernetes' own schemas, and the real
// service runs its configuration. It has no code but tests.
package chart

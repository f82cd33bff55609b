// Package chart tests that the Helm chart does what its README describes. The real Helm
// renders it, Kubernetes' own schemas validate it, and the real service runs its
// configuration. It has no code but tests.
package chart

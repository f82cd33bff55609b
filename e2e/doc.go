// Package e2e tests the service through real gateways: a request goes in at an
// Envoy, the service decides, and an upstream returns exactly what reached it. Its
// tests are named by the guarantee that they hold; the numbers are those of the
// project's list of cases. It has no code but tests.
package e2e

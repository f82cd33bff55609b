// Package e2e tests the service through real gateways: a request enters at an Envoy, the
// service decides, and an upstream returns exactly what reached it. Tests are named after
// the guarantee that they test; the numbers in comments are those of the project's list
// of cases. It has no code but tests.
package e2e

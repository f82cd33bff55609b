// Package compose tests that the stack of compose.yaml does what README.md describes, on
// a real Docker Engine. Its tests have the build tag compose; scripts/e2e-compose.sh
// provides engine and images, and runs them.
package compose

// Package compose tests on a real Docker Engine that the stack of compose.yaml does what
// README.md describes. Its tests have the build tag compose; scripts/e2e-compose.sh
// provides engine and images, and runs them.
package compose

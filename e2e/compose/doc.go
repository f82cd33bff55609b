// Package compose holds the stack of compose.yaml to what README.md says of it, on
// a real Docker Engine. Its tests have the build tag compose; scripts/e2e-compose.sh
// sees to engine and images and runs them.
package compose

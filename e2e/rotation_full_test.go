//go:build full

package e2e

import "time"

// How often credentials change in TestRotation, and how long each is valid: for five
// minutes, far faster than with any tool.
const (
	rotations     = 15
	rotationEvery = 20 * time.Second
)

//go:build full

package e2e

import "time"

// How often credentials change in TestRotation, and how long each lives: for five
// minutes, far faster than any tool does it.
const (
	rotations     = 15
	rotationEvery = 20 * time.Second
)

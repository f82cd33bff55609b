//go:build !full

package e2e

import "time"

// How often credentials change in TestRotation, and how long each is valid.
const (
	rotations     = 4
	rotationEvery = 1500 * time.Millisecond
)

//go:build !full

package floods

import "time"

const (
	full      = false
	floodTime = 2 * time.Second
)

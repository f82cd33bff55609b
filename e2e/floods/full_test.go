//go:build full

package floods

import "time"

const (
	full      = true
	floodTime = 5 * time.Second
)

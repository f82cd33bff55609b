//go:build !unix

package server

import "math"

// openFiles returns no limit, because none is known on this platform.
func openFiles() uint64 { return math.MaxInt64 }

//go:build unix

package server

import (
	"math"
	"syscall"
)

// openFiles is how many files the process may have open; Go has raised it to what
// the platform allows.
func openFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return math.MaxInt64
	}
	return l.Cur
}

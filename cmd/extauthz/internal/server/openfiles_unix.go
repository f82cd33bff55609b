//go:build unix

package server

import (
	"math"
	"syscall"
)

// openFiles returns how many files the process may have open. Go has already raised that
// to what the platform allows.
func openFiles() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return math.MaxInt64
	}
	return l.Cur
}

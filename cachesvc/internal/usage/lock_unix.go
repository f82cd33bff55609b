//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package usage

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks a file for as long as this process has it open. It reports false if
// another process has locked it.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

//go:build unix

package repository

import (
	"errors"

	"golang.org/x/sys/unix"
)

// processLives reports whether the process exists on this machine.
func processLives(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := unix.Kill(pid, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

//go:build unix && !linux

package duck

import "syscall"

// childAttributes make a process group of the child, so that a signal from a
// terminal does not reach it. The end of its input ends it with us.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

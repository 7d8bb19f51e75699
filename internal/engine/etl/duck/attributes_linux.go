package duck

import "syscall"

// childAttributes make a process group of the child, so that a signal from a
// terminal does not reach it, and end it with us. The kernel's signal comes when the
// thread that started the child ends, and the runtime keeps its threads; the end of
// the child's input does the same, for all systems.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

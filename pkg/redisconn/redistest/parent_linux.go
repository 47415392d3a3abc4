package redistest

import "syscall"

// withParent has the process end with the one that started it.
func withParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }

//go:build !linux

package redistest

import "syscall"

// withParent does nothing: only Linux can have a process end with its parent.
func withParent(*syscall.SysProcAttr) {}

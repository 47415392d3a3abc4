package redistest

import (
	"os/exec"
	"runtime"
	"syscall"
)

// StartChild starts a process that ends with this one, also if this one crashes (on Linux).
// exited is closed when it has ended.
func StartChild(cmd *exec.Cmd) (exited <-chan struct{}, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	withParent(cmd.SysProcAttr)
	ended, started := make(chan struct{}), make(chan error)
	go func() {
		// The kernel kills it when the thread that started it ends: this one lasts as
		// long as the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(ended)
	}()
	return ended, <-started
}

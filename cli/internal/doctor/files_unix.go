//go:build unix

package doctor

import "golang.org/x/sys/unix"

// openFiles is how many files a process may open.
func openFiles() (most float64, ok bool) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return float64(limit.Max), true // Go raises its own limit up to this one
}

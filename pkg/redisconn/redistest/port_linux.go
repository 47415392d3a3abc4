package redistest

import "syscall"

// holdPort keeps other servers from taking the port of one that was stopped, and is to start
// there again. Connections to it are refused, as to any port on which nobody listens.
func holdPort(port int) (letGo func()) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return func() {}
	}
	// To bind it, in spite of what is left of the server's connections; then no longer, so that
	// no other server can do the same.
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	_ = syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0)
	return func() { _ = syscall.Close(fd) }
}

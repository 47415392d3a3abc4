//go:build unix

package session

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// socket is a TCP connection that is read without holding a buffer while there
// is nothing to read, and written without ever waiting.
type socket struct {
	conn *net.TCPConn
	raw  syscall.RawConn

	// The closure for raw.Read and what it works on, kept so that a read
	// allocates nothing. Owned by the reading goroutine.
	readable func(fd uintptr) bool
	reader   *reader
	n        int
	err      error
}

func newSocket(conn *net.TCPConn) (*socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn, raw: raw}
	s.readable = s.onReadable
	return s, nil
}

// onReadable reads what there is; false means that there is nothing yet.
func (s *socket) onReadable(fd uintptr) bool {
	room := s.reader.room()
	for {
		n, err := syscall.Read(int(fd), room)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			s.reader.releaseIfEmpty()
			return false
		case err != nil:
			s.n, s.err = 0, err
		case n == 0:
			s.n, s.err = 0, io.EOF
		default:
			s.n, s.err = n, nil
		}
		return true
	}
}

// read waits until there is something to read and reads it into r's room.
func (s *socket) read(r *reader) (int, error) {
	s.reader = r
	if err := s.raw.Read(s.readable); err != nil {
		return 0, err
	}
	return s.n, s.err
}

// writer is a write in progress; pooled so that a write allocates nothing.
type writer struct {
	chunk []byte
	n     int
	err   error
	write func(fd uintptr) bool
}

var writers = sync.Pool{New: func() any {
	w := &writer{}
	w.write = w.onWritable
	return w
}}

func (w *writer) onWritable(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), w.chunk)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			w.n = 0
		case err != nil:
			w.n, w.err = 0, err
		default:
			w.n = n
		}
		return true // never wait for the socket
	}
}

// tryWrite writes as much of the chunk as the socket takes at once.
func (s *socket) tryWrite(chunk []byte) (int, error) {
	w := writers.Get().(*writer)
	w.chunk, w.n, w.err = chunk, 0, nil
	err := s.raw.Write(w.write)
	if err == nil {
		err = w.err
	}
	n := w.n
	w.chunk = nil
	writers.Put(w)
	return n, err
}

// stopReading wakes the reading goroutine with a deadline in the past.
func (s *socket) stopReading() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) }

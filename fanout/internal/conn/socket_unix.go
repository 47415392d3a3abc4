//go:build unix && (!linux || goroutines)

package conn

import (
	"errors"
	"io"
	"sync"
	"syscall"
)

// waiting is a socket that is read without holding a buffer while there is
// nothing to read, and written without ever waiting.
type waiting struct {
	in, out syscall.RawConn

	// The closure for in.Read and what it works on, kept so that a read
	// allocates nothing. Owned by the goroutine that waits.
	readable func(fd uintptr) bool
	reader   *reader
	got      int
	failed   error
}

func (w *waiting) open(k *socket) error {
	raw, err := k.conn.SyscallConn()
	w.in, w.out, w.readable = raw, raw, w.onReadable
	return err
}

// onReadable reads what there is; false means that there is nothing yet.
func (w *waiting) onReadable(fd uintptr) bool {
	room := w.reader.room()
	for {
		n, err := syscall.Read(int(fd), room)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			w.reader.releaseIfEmpty()
			return false
		case err != nil:
			w.got, w.failed = 0, err
		case n == 0:
			w.got, w.failed = 0, io.EOF
		default:
			w.got, w.failed = n, nil
		}
		return true
	}
}

// readWhenThereIs waits until there is something to read and reads it into r's room.
func (w *waiting) readWhenThereIs(r *reader) (int, error) {
	w.reader = r
	if err := w.in.Read(w.readable); err != nil {
		return 0, err
	}
	return w.got, w.failed
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
func (w *waiting) tryWrite(chunk []byte) (int, error) {
	one := writers.Get().(*writer)
	one.chunk, one.n, one.err = chunk, 0, nil
	err := w.out.Write(one.write)
	if err == nil {
		err = one.err
	}
	n := one.n
	one.chunk = nil
	writers.Put(one)
	return n, err
}

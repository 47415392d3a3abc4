package node

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// accepts is a listener whose Accept returns what comes from the channel.
type accepts struct {
	next   chan error // nil: a connection
	closed chan struct{}
}

func newAccepts() *accepts { return &accepts{make(chan error), make(chan struct{})} }

func (a *accepts) Accept() (net.Conn, error) {
	select {
	case err := <-a.next:
		if err != nil {
			return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
		}
		conn, _ := net.Pipe()
		return conn, nil
	case <-a.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: net.ErrClosed}
	}
}

func (a *accepts) Close() error   { close(a.closed); return nil }
func (a *accepts) Addr() net.Addr { return &net.TCPAddr{} }

// Whatever an accept fails with, the listener goes on; the log says so once when it
// begins and once when it ends, however long it takes.
func TestAcceptErrorsPass(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
		syscall.EINTR, syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			a := newAccepts()
			l := Lasting(a, "listen", NoSpare, slog.New(slog.NewTextHandler(&log, nil)))
			got := make(chan error)
			accept := func() {
				conn, err := l.Accept()
				if err == nil {
					_ = conn.Close()
				}
				got <- err
			}
			for range 2 { // two times of trouble
				log.Reset()
				go accept()
				begin := time.Now()
				for range 20 {
					a.next <- os.NewSyscallError("accept4", errno)
				}
				if took := time.Since(begin); took < 5*time.Second || took > 20*longestAcceptPause {
					t.Errorf("%v: 20 failures took %v, want pauses up to %v", errno, took, longestAcceptPause)
				}
				a.next <- nil
				if err := <-got; err != nil {
					t.Errorf("%v: Accept returned %v", errno, err)
				}
				go accept() // near a limit, failures and successes take turns
				a.next <- syscall.EMFILE
				a.next <- nil
				if err := <-got; err != nil {
					t.Errorf("%v: the next Accept returned %v", errno, err)
				}
				time.Sleep(acceptCalm)
				synctest.Wait()
				lines := strings.Split(log.String(), "\n")
				if len(lines) != 3 || !strings.Contains(lines[0], `level=ERROR msg="connections wait, because they cannot be accepted`) || !strings.Contains(lines[0], errno.Error()) ||
					!strings.Contains(lines[1], "connections are accepted again") || !strings.Contains(lines[1], "listener=listen") {
					t.Errorf("%v: the log is\n%s", errno, &log)
				}
			}
		})
	}
}

// Close ends Accept at once and in silence, also while it waits for better times.
func TestAcceptEndsWithClose(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			a := newAccepts()
			l := Lasting(a, "listen", NoSpare, slog.New(slog.NewTextHandler(&log, nil)))
			got := make(chan error)
			go func() { _, err := l.Accept(); got <- err }()
			if fails {
				a.next <- syscall.EMFILE
			}
			synctest.Wait()
			lines := strings.Count(log.String(), "\n")
			begin := time.Now()
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if err := <-got; !errors.Is(err, net.ErrClosed) || time.Since(begin) != 0 {
				t.Errorf("Accept returned %v after %v", err, time.Since(begin))
			}
			if now := strings.Count(log.String(), "\n"); now != lines {
				t.Errorf("the end is in the log:\n%s", &log)
			}
		})
	}
}

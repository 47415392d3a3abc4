package node

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// After a failed accept the next is tried after a pause, which doubles up to the longest.
	shortestAcceptPause = 5 * time.Millisecond
	longestAcceptPause  = 500 * time.Millisecond
	// acceptCalm is for how long no accept may fail for the trouble to be over.
	acceptCalm = time.Second
)

// Lasting returns a listener whose Accept fails only after Close. All else that an
// accept can fail with passes, whether it is about one connection (ECONNABORTED,
// EPROTO, EPERM of a firewall) or about this machine (EMFILE, ENFILE, ENOBUFS, ENOMEM):
// connections wait in the kernel's queue meanwhile. name is for the log, which says
// once when that begins and once when it is over.
//
// Some of the files that the process may open are left to its other parts, such as Redis
// and the apps document. A connection that would take one of them waits.
func Lasting(l net.Listener, name string, leave Spare, log *slog.Logger) net.Listener {
	log = log.With("listener", name)
	return &lasting{Listener: l, room: roomBut(leave), trouble: &trouble{log: log}, closed: make(chan struct{})}
}

// Spare is how many files a listener leaves to others.
type Spare func(limit int) int

// spareFiles is for connections: 64, or a quarter where there are few.
func spareFiles(limit int) int { return min(64, limit/4) }

// spareForOps lets operators and balancers have half of what connections leave.
func spareForOps(limit int) int { return spareFiles(limit) / 2 }

// NoSpare leaves none.
func NoSpare(int) int { return 0 }

type lasting struct {
	net.Listener
	room    func(net.Conn) error // why conn takes a file that must stay free; nil: it does not
	trouble *trouble

	once   sync.Once
	closed chan struct{}
}

// errNoRoom says that a connection takes one of the files that must stay free.
var errNoRoom = errors.New("the limit of open files is nearly reached (ulimit -n)")

// Accept is net.Listener's. It has one caller.
func (l *lasting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	for pause := shortestAcceptPause; ; pause = min(2*pause, longestAcceptPause) {
		if err == nil {
			if err = l.room(conn); err == nil {
				l.trouble.passes()
				return conn, nil
			}
		}
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		l.trouble.begins(cause(err))
		if !l.wait(pause) {
			if conn != nil {
				_ = conn.Close()
			}
			return nil, net.ErrClosed
		}
		if err = nil; conn == nil {
			conn, err = l.Listener.Accept()
		}
	}
}

// cause leaves out of a network error what changes from one to the next.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// wait says whether the listener is still open after d.
func (l *lasting) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.closed:
		return false
	}
}

// Close is net.Listener's.
func (l *lasting) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.trouble.forget()
	})
	return l.Listener.Close()
}

// trouble is that accepts fail, told once however often they do.
type trouble struct {
	log *slog.Logger

	mu    sync.Mutex
	begun time.Time // zero: there is none
	over  *time.Timer
}

func (t *trouble) begins(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over != nil {
		t.over.Stop()
		t.over = nil
	}
	if t.begun.IsZero() {
		t.begun = time.Now()
		t.log.Error("connections wait, because they cannot be accepted; those there are go on", "err", err)
	}
}

// passes says that an accept went well. With no failure for acceptCalm after it, the
// trouble is over: near a limit, failures and successes take turns.
func (t *trouble) passes() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.begun.IsZero() || t.over != nil {
		return
	}
	var over *time.Timer
	over = time.AfterFunc(acceptCalm, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.over == over {
			t.log.Info("connections are accepted again", "after", time.Since(t.begun).Round(time.Millisecond))
			t.begun, t.over = time.Time{}, nil
		}
	})
	t.over = over
}

func (t *trouble) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over != nil {
		t.over.Stop()
		t.over = nil
	}
}

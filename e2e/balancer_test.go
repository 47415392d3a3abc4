package e2e

import (
	"io"
	"net"
	"slices"
	"sync"
	"testing"
)

// balancer is one address for several nodes, as a load balancer is: each new
// connection goes to the next node, and stays there.
type balancer struct {
	addr string

	mu      sync.Mutex
	targets []string
	next    int
	open    map[net.Conn]bool
	closed  bool
}

func startBalancer(t testing.TB, targets ...string) *balancer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{addr: listener.Addr().String(), targets: targets, open: map[net.Conn]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { b.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		b.mu.Lock()
		b.closed = true
		for conn := range b.open {
			conn.Close()
		}
		b.mu.Unlock()
		serving.Wait()
	})
	return b
}

// replace sends what connects from now on to another node instead of old.
func (b *balancer) replace(old, by string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.targets[slices.Index(b.targets, old)] = by
}

func (b *balancer) target() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return b.targets[b.next%len(b.targets)]
}

func (b *balancer) serve(front net.Conn) {
	defer b.untrack(front)
	if !b.track(front) {
		return
	}
	back, err := net.Dial("tcp", b.target())
	if err != nil {
		return // the peer sees its connection end, and tries again
	}
	defer b.untrack(back)
	if !b.track(back) {
		return
	}
	var copying sync.WaitGroup
	copying.Go(func() { pipe(back, front) })
	copying.Go(func() { pipe(front, back) })
	copying.Wait()
}

// pipe copies until from ends, and passes that end on.
func pipe(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return
	}
	_ = to.(*net.TCPConn).CloseWrite()
}

func (b *balancer) track(conn net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.open[conn] = true
	}
	return !b.closed
}

func (b *balancer) untrack(conn net.Conn) {
	conn.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, conn)
}

package suite

import (
	"io"
	"net"
	"sync"
	"testing"
)

// front is the address of a node for the clients of one scenario, as a load balancer in
// front of it is: it outlives the node, and passes connections to another one while the
// node is away.
type front struct {
	addr string

	mu     sync.Mutex
	target string // "": none, so connections are closed
	open   map[net.Conn]bool
	closed bool
}

func startFront(t *testing.T, target string) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{addr: listener.Addr().String(), target: target, open: map[net.Conn]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		f.mu.Lock()
		f.closed = true
		for conn := range f.open {
			_ = conn.Close()
		}
		f.mu.Unlock()
		serving.Wait()
	})
	return f
}

// point sends what connects from now on to another node.
func (f *front) point(target string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.target = target
}

// cut ends all connections, and those that come, until point.
func (f *front) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.target = ""
	for conn := range f.open {
		_ = conn.Close()
	}
}

func (f *front) serve(client net.Conn) {
	defer f.untrack(client)
	if !f.track(client) {
		return
	}
	f.mu.Lock()
	target := f.target
	f.mu.Unlock()
	if target == "" {
		return
	}
	node, err := net.Dial("tcp", target)
	if err != nil {
		return // the client sees its connection end, and tries again
	}
	defer f.untrack(node)
	if !f.track(node) {
		return
	}
	var copying sync.WaitGroup
	copying.Go(func() { pipe(node, client) })
	copying.Go(func() { pipe(client, node) })
	copying.Wait()
}

// pipe copies until from ends, and passes that end on.
func pipe(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = to.Close()
		return
	}
	_ = to.(*net.TCPConn).CloseWrite()
}

func (f *front) track(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.open[conn] = true
	}
	return !f.closed
}

func (f *front) untrack(conn net.Conn) {
	_ = conn.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, conn)
}

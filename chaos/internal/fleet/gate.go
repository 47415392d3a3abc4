package fleet

import (
	"context"
	"errors"
	"net"
	"sync"
)

// gate lies between an ingester and the network. Closed, it is as if the process were stopped by
// SIGSTOP: connections stay open, and nothing is read, written or done. Cut, it is as if the process
// were killed: its connections end without a word, and it makes none.
type gate struct {
	mu    sync.Mutex
	open  chan struct{} // closed while the gate is open
	cut   bool
	conns []net.Conn
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

// pass waits until the gate is open. It returns whether it is not cut.
func (g *gate) pass() bool {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	<-open
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.cut
}

func (g *gate) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

// kill cuts the gate for good.
func (g *gate) kill() {
	g.mu.Lock()
	g.cut = true
	conns := g.conns
	g.conns = nil
	g.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	g.resume()
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

var errKilled = errors.New("the process is killed")

// through has connections of a dialer go through the gate.
func (g *gate) through(dial dialer) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if !g.pass() {
			return nil, errKilled
		}
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.cut {
			_ = c.Close()
			return nil, errKilled
		}
		g.conns = append(g.conns, c)
		return gated{c, g}, nil
	}
}

type gated struct {
	net.Conn
	gate *gate
}

func (c gated) Read(b []byte) (int, error) {
	c.gate.pass()
	n, err := c.Conn.Read(b)
	c.gate.pass()
	return n, err
}

func (c gated) Write(b []byte) (int, error) {
	c.gate.pass()
	return c.Conn.Write(b)
}

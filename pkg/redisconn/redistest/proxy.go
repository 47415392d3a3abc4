package redistest

import (
	"net"
	"sync"
	"testing"
)

// Proxy stands between a client and a Redis, to hold and to cut connections.
type Proxy struct {
	listener net.Listener
	all      sync.WaitGroup

	mu       sync.Mutex
	target   string
	up, down Hook
	open     map[net.Conn]bool
	closed   bool
}

// NewProxy starts a proxy in front of the Redis at target, host:port. It ends with
// the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, target: target, open: map[net.Conn]bool{}}
	p.all.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// URL is what -redis takes.
func (p *Proxy) URL() string { return "redis://" + p.listener.Addr().String() }

// Lead has connections that are made from now on lead to another address, as behind
// a virtual IP. Those that are open stay where they are.
func (p *Proxy) Lead(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// Cut ends all connections that are open.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close()
	}
}

// Hook gets what comes through, piece by piece, and returns what goes on, and
// whether the connection is cut behind that. It may block, and holds up its
// connection and direction alone.
type Hook func(piece []byte) (pass []byte, cut bool)

// Pass has what a client sends go through up, and what Redis answers through down.
// A nil hook lets all through.
func (p *Proxy) Pass(up, down Hook) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up, p.down = up, down
}

func (p *Proxy) hook(up bool) Hook {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up {
		return p.up
	}
	return p.down
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		if p.closed {
			_, _ = client.Close(), server.Close()
		}
		p.open[client], p.open[server] = true, true
		p.mu.Unlock()
		p.all.Go(func() { p.carry(client, server, true) })
		p.all.Go(func() { p.carry(server, client, false) })
	}
}

func (p *Proxy) carry(from, to net.Conn, up bool) {
	defer func() {
		_, _ = from.Close(), to.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, from)
		delete(p.open, to)
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		b, cut := buffer[:n], false
		if hook := p.hook(up); hook != nil {
			b, cut = hook(b)
		}
		if _, err := to.Write(b); err != nil || cut {
			return
		}
	}
}

func (p *Proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.all.Wait()
}

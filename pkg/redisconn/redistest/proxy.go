package redistest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy stands between a client and a Redis, to hold and to cut connections.
type Proxy struct {
	listener net.Listener
	all      sync.WaitGroup

	mu       sync.Mutex
	target   string
	up, down Hook
	open     map[*carried]bool
	closed   bool
	links    *Links // it is one of several, or nil
}

// carried is one connection through the proxy.
type carried struct {
	client, server net.Conn
	name           atomic.Pointer[string] // that its client has given it
}

func (c *carried) named() string {
	if name := c.name.Load(); name != nil {
		return *name
	}
	return ""
}

func (c *carried) close() { _, _ = c.client.Close(), c.server.Close() }

// NewProxy starts a proxy in front of the Redis at target, host:port. It ends with
// the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := listen(":0", target, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

func listen(port, target string, links *Links) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1"+port)
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, open: map[*carried]bool{}, links: links}
	p.all.Go(p.accept)
	return p, nil
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
func (p *Proxy) Cut() { p.cut(func(*carried) bool { return true }) }

func (p *Proxy) cut(which func(*carried) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		if which(c) {
			c.close()
		}
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

func (p *Proxy) hook(c *carried, up bool) Hook {
	if p.links != nil {
		return p.links.hook(c.named(), up)
	}
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
		c := &carried{client: client, server: server}
		p.mu.Lock()
		if p.closed {
			c.close()
		}
		p.open[c] = true
		p.mu.Unlock()
		p.all.Go(func() { p.carry(c, client, server, true) })
		p.all.Go(func() { p.carry(c, server, client, false) })
	}
}

func (p *Proxy) carry(c *carried, from, to net.Conn, up bool) {
	defer func() {
		c.close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, c)
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		b, cut := buffer[:n], false
		if p.links != nil && up {
			if name := nameIn(b); name != "" {
				c.name.Store(&name)
			}
		}
		if hook := p.hook(c, up); hook != nil {
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
		c.close()
	}
	p.mu.Unlock()
	p.all.Wait()
}

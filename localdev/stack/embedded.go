package stack

import (
	"log/slog"
	"net"

	"github.com/alicebob/miniredis/v2"

	"fleetwire/fanout/node"
)

// embedded is a miniredis behind a listener of ours: its own would close all
// connections for good when an accept fails, as it does when files run out.
type embedded struct {
	*miniredis.Miniredis
	listener net.Listener
	addr     string
	stopped  chan struct{}
}

func startEmbedded(log *slog.Logger) (*embedded, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &embedded{Miniredis: miniredis.NewMiniRedis(), addr: l.Addr().String(), stopped: make(chan struct{})}
	e.listener = node.Lasting(l, "embedded redis", node.NoSpare, log)
	first, err := e.Dial() // starts it without a listener
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	_ = first.Close()
	server := e.Server()
	go func() {
		defer close(e.stopped)
		for {
			conn, err := e.listener.Accept()
			if err != nil {
				return
			}
			server.ServeConn(conn)
		}
	}()
	return e, nil
}

func (e *embedded) close() {
	_ = e.listener.Close()
	<-e.stopped
	e.Miniredis.Close()
}

package stack

import (
	"log/slog"
	"net"

	"fleetwire/fanout/node"
	"fleetwire/pkg/embedded"
)

// embeddedRedis is one behind a listener of ours: its own would close all
// connections for good when an accept fails, as it does when files run out.
type embeddedRedis struct {
	*embedded.Redis
	listener net.Listener
	addr     string
	stopped  chan struct{}
}

func startEmbedded(log *slog.Logger) (*embeddedRedis, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &embeddedRedis{Redis: embedded.New(), addr: l.Addr().String(), stopped: make(chan struct{})}
	e.listener = node.Lasting(l, "embedded redis", node.NoSpare, log)
	if err := e.StartWithoutListener(); err != nil {
		_ = l.Close()
		return nil, err
	}
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

func (e *embeddedRedis) close() {
	_ = e.listener.Close()
	<-e.stopped
	e.Redis.Close()
}

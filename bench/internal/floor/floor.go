//go:build linux

// Package floor is the least that a server can do: it answers the WebSocket
// upgrade and writes every message that a publisher sends to all subscribers, with
// one bare write(2) each. Nothing that delivers one message at a time over these
// sockets can cost less, unless it enters the kernel less often.
package floor

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
)

// maxMessage bounds what a publisher can send.
const maxMessage = 1 << 20

// Server is a floor.
type Server struct {
	mu          sync.Mutex
	subscribers []subscriber
}

type subscriber struct {
	fd   uintptr
	conn net.Conn // keeps fd open
}

// Serve serves the address until it fails.
func Serve(address string) error {
	server := &http.Server{Addr: address, Handler: new(Server), ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}

// ServeHTTP takes a connection over: a subscriber's at /subscribe, a publisher's
// at /publish.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Sec-WebSocket-Key")
	hijacker, ok := w.(http.Hijacker)
	if !ok || key == "" {
		http.Error(w, "this is a WebSocket endpoint", http.StatusUpgradeRequired)
		return
	}
	conn, buffered, err := hijacker.Hijack()
	if err != nil {
		return
	}
	_ = conn.SetDeadline(time.Time{})
	publisher := r.URL.Path == "/publish"
	if !publisher {
		if err := s.add(conn); err != nil {
			_ = conn.Close()
			return
		}
	}
	accept := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455 §4.2.2
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(accept[:])); err != nil || !publisher {
		return
	}
	s.publish(buffered.Reader)
	_ = conn.Close()
}

func (s *Server) add(conn net.Conn) error {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return raw.Control(func(fd uintptr) { s.subscribers = append(s.subscribers, subscriber{fd, conn}) })
}

// publish writes what comes to all subscribers, until nothing comes any more.
func (s *Server) publish(in io.Reader) {
	for {
		header, err := ws.ReadHeader(in)
		if err != nil || header.Length > maxMessage {
			return
		}
		payload := make([]byte, header.Length)
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		ws.Cipher(payload, header.Mask, 0)
		s.writeAll(protocol.AppendTextFrame(nil, payload))
	}
}

// writeAll enters the kernel without telling Go's scheduler: the sockets do not
// block, and nothing else runs here.
func (s *Server) writeAll(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.subscribers {
		fd := s.subscribers[i].fd
		for left := b; len(left) > 0; {
			n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&left[0])), uintptr(len(left)))
			if errno == 0 {
				left = left[n:]
			} else if errno != syscall.EAGAIN && errno != syscall.EINTR {
				break // it has gone; the load generator notices who got nothing
			}
		}
	}
}

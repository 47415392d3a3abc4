//go:build unix

package intake

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

// serving has the server read a request, which it is about to answer.
func serving(t *testing.T) (client *net.TCPConn, server *Conn) {
	t.Helper()
	c, server := connect(t, listen(t, func(*Listener) {}))
	send(t, c, head(60))
	_, err := io.ReadFull(server, make([]byte, 60))
	check(t, err)
	return c.(*net.TCPConn), server
}

func TestClientsThatHangUp(t *testing.T) {
	for name, hangUp := range map[string]func(*net.TCPConn) error{
		"it closes": func(c *net.TCPConn) error { return c.Close() },
		"it closes behind another request": func(c *net.TCPConn) error {
			if runtime.GOOS == "linux" { // elsewhere that hides the end
				if _, err := io.WriteString(c, head(70)); err != nil {
					return err
				}
			}
			return c.Close()
		},
		"it ends its side":  func(c *net.TCPConn) error { return c.CloseWrite() },
		"its link is reset": func(c *net.TCPConn) error { _ = c.SetLinger(0); return c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			client, server := serving(t)
			gone := make(chan struct{})
			stop := server.OnHangUp(func() { close(gone) })
			check(t, hangUp(client))
			<-gone
			stop()
		})
	}
}

// A client that waits for its answer is not gone, and its next request is read as ever,
// whether it was watched for long, briefly, or sends it too early.
func TestClientsThatWait(t *testing.T) {
	for name, early := range map[string]bool{"it waits": false, "it sends the next request early": true} {
		t.Run(name, func(t *testing.T) {
			client, server := serving(t)
			if early {
				send(t, client, head(70))
			}
			for _, watched := range []bool{true, false} {
				w := &watch{tcp: server.tcp, gone: func() { t.Error("it is taken for gone") }, ended: make(chan struct{})}
				if watched {
					go w.run()
					redistest.Eventually(t, patience, "it is watched", func() bool {
						w.mu.Lock()
						defer w.mu.Unlock()
						return w.watched
					})
					w.end()
					continue
				}
				go func() { w.end() }() // it begins when it has ended already
				redistest.Eventually(t, patience, "it has ended", func() bool {
					w.mu.Lock()
					defer w.mu.Unlock()
					return w.stopped
				})
				w.run()
			}
			server.OnHangUp(func() { t.Error("it is taken for gone") })() // answered at once
			if !early {
				send(t, client, head(70))
			}
			check(t, server.SetDeadline(time.Now().Add(patience)))
			got := make([]byte, 70)
			_, err := io.ReadFull(server, got)
			if err != nil || string(got) != head(70) {
				t.Errorf("the next request is %q, %v", got, err)
			}
		})
	}
}

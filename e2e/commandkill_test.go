package e2e

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

// relay is a TCP relay to Redis, which can swallow what Redis replies to a claim.
type relay struct {
	t        testing.TB
	listener net.Listener
	armed    atomic.Bool
	held     chan struct{} // closed when a claim's reply is swallowed
	hold     sync.Once
	parts    sync.WaitGroup
}

func newRelay(t testing.TB, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, listener: l, held: make(chan struct{})}
	r.parts.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.parts.Go(func() { r.serve(c, to) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.parts.Wait() // its clients are gone
	})
	return r
}

func (r *relay) serve(client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	var swallow atomic.Bool
	r.parts.Go(func() {
		defer client.Close()
		pump(client, server, func([]byte) bool { return !swallow.Load() })
	})
	pump(server, client, func(b []byte) bool {
		// Every script of commands has this key, and this node runs no other than claims.
		if r.armed.Load() && bytes.Contains(b, []byte("commands-held:")) {
			swallow.Store(true)
			defer r.hold.Do(func() { close(r.held) })
		}
		return true
	})
}

func pump(to, from net.Conn, pass func([]byte) bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if pass(buffer[:n]) {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
}

// A node is killed between the claim and the write. A subscriber that confirms is handed
// the command again; of any other it is told as timed_out, never as expired.
func TestNodeKilledBetweenClaimAndWrite(t *testing.T) {
	for _, confirms := range []bool{true, false} {
		t.Run(map[bool]string{true: "confirms", false: "plain"}[confirms], func(t *testing.T) {
			t.Parallel()
			key := newKey("killed", "**")
			docs := []*appDoc{newApp("app_killed", key)}
			redis := redistest.Start(t)
			s := newSystem(t, docs...)
			stays := s.start(redis.URL(), options{})
			// From here on Redis knows the script of claims. Without confirm, creating the command
			// would hand it over.
			other := stays.connect(t, key.token("other", nil))
			other.confirms("devices/other/commands")
			stays.command(t, key, "devices/other/commands", "1", `,"waitMs":0,"ttlMs":60000`)
			other.nextCommand()
			r := newRelay(t, strings.TrimPrefix(redis.URL(), "redis://"))
			p, dies := fanout(t, nil, "-apps", documentFile(t, docs...), "-redis", "redis://"+r.listener.Addr().String())
			cam := dies.connect(t, key.token("hall", nil))
			subscribe := func(d *socket) {
				if confirms {
					d.confirms(hall)
				} else {
					d.subscribe(hall)
				}
			}
			subscribe(cam)
			r.armed.Store(true)
			c := stays.command(t, key, hall, "1", `,"waitMs":0,"ttlMs":60000`+map[bool]string{false: `,"timeoutMs":3000`}[confirms])
			select {
			case <-r.held:
			case <-time.After(patience):
				t.Fatal("the node claimed nothing")
			}
			if err := p.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			back := stays.connect(t, key.token("hall", nil))
			subscribe(back)
			if !confirms {
				if c := stays.commandEnds(t, key, c.ID, "timed_out"); c.Answers[0].Attempt != 1 {
					t.Errorf("%+v", c)
				}
				back.alive()
				return
			}
			back.expectCommand(hall, "1", c.ID, 2, true)
			back.answers(c.ID, "")
			stays.commandEnds(t, key, c.ID, "succeeded")
		})
	}
}

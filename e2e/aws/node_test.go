package aws

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	fanout "fleetwire/fanout/node"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
)

// node is a fan-out node in this process or another.
type node struct{ addr string }

// startNode starts one in this process, and waits until it is ready.
func startNode(t testing.TB, redis *redistest.Server) *node {
	t.Helper()
	directory, err := apps.Parse([]byte(read(t, "apps.json")))
	if err != nil {
		t.Fatal(err)
	}
	n, err := fanout.New(fanout.Options{
		Listen: "127.0.0.1:0", Ops: "127.0.0.1:0", Apps: apps.NewStore(directory), Redis: redis.Client(),
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	waitReady(t, n.OpsAddr())
	return &node{n.Addr()}
}

func waitReady(t testing.TB, ops string) {
	t.Helper()
	redistest.Eventually(t, patience, "the node is ready", func() bool {
		response, err := http.Get("http://" + ops + "/readyz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// socket is a device's connection.
type socket struct {
	t    testing.TB
	conn net.Conn
	r    io.Reader
}

// dial opens a socket with a token, and reads the welcome.
func (n *node) dial(t testing.TB, token string) *socket {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, early, _, err := ws.Dial(ctx, "ws://"+n.addr+"/v1?token="+token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s := &socket{t: t, conn: conn, r: conn}
	if early != nil {
		s.r = early
	}
	var welcome struct{ Type, PeerID string }
	if err := json.Unmarshal([]byte(s.read()), &welcome); err != nil || welcome.Type != "welcome" || welcome.PeerID != "cam-1" {
		t.Fatalf("no welcome: %+v, %v", welcome, err)
	}
	return s
}

// Read and Write make a socket what wsutil takes; a first frame may have come with
// the answer to the upgrade.
func (s *socket) Read(p []byte) (int, error)  { return s.r.Read(p) }
func (s *socket) Write(p []byte) (int, error) { return s.conn.Write(p) }

// read is the next text frame.
func (s *socket) read() string {
	s.t.Helper()
	text, err := s.next()
	if err != nil {
		s.t.Fatalf("no frame: %v", err)
	}
	return text
}

func (s *socket) next() (string, error) {
	_ = s.conn.SetReadDeadline(time.Now().Add(patience))
	b, err := wsutil.ReadServerText(s)
	return string(b), err
}

// wantClose wants the connection to be closed next, with a code.
func (s *socket) wantClose(code ws.StatusCode) {
	s.t.Helper()
	text, err := s.next()
	if closed := (wsutil.ClosedError{}); !errors.As(err, &closed) || closed.Code != code {
		s.t.Errorf("%q, %v; want the close code %d", text, err, code)
	}
}

func (s *socket) subscribe(channel string) {
	s.t.Helper()
	frame, err := json.Marshal(map[string]string{"type": "subscribe", "channel": channel, "requestId": channel})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := wsutil.WriteClientText(s, frame); err != nil {
		s.t.Fatal(err)
	}
	var ack struct{ Type, RequestID string }
	if text := s.read(); json.Unmarshal([]byte(text), &ack) != nil || ack.Type != "ack" || ack.RequestID != channel {
		s.t.Fatalf("subscribe %q: %s", channel, text)
	}
}

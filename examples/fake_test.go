package examples

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// A fakeService is the other end of an example, played by a test frame by frame:
// it can treat the example as the real service would only in bad times. It is
// also the token server.
type fakeService struct {
	url    string
	socket chan *fakeSocket
	busy   atomic.Bool // upgrades are refused with 429
}

// A fakeSocket is one connection that the example has opened.
type fakeSocket struct {
	net.Conn
	token string
}

func newFakeService(t *testing.T) *fakeService {
	f := &fakeService{socket: make(chan *fakeSocket, 16)}
	tokens := make(chan string, 16)
	for n := range cap(tokens) {
		tokens <- fmt.Sprintf("token-%d", n+1)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /token", func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer "+provisioningSecret {
			t.Errorf("the camera asks for a token with %q; want the provisioning secret", got)
		}
		fmt.Fprintf(w, `{"token":%q,"expiresAt":1,"fleet":"fleet-northeast"}`, <-tokens)
	})
	mux.HandleFunc("POST /v1/tokens", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"token":%q,"expiresAt":1}`, <-tokens)
	})
	mux.HandleFunc("GET /v1", func(w http.ResponseWriter, r *http.Request) {
		if f.busy.Load() {
			w.Header().Set("Retry-After", "20")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		t.Cleanup(func() { conn.Close() })
		f.socket <- &fakeSocket{conn, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")}
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	f.url = s.URL
	return f
}

// accept waits for the example's next connection, and wants it to carry token.
func (f *fakeService) accept(t *testing.T, token string) *fakeSocket {
	t.Helper()
	select {
	case s := <-f.socket:
		if s.token != token {
			t.Fatalf("connected with %q, want %q", s.token, token)
		}
		if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		return s
	case <-time.After(patience):
		t.Fatalf("no connection within %v", patience)
		return nil
	}
}

// welcome welcomes the example and acks its subscriptions.
func (s *fakeSocket) welcome(t *testing.T, channels ...string) {
	t.Helper()
	s.write(t, `{"type":"welcome","peerId":"me","expiresAt":null,"serverTime":1,"maxMessageSize":65536}`)
	for _, channel := range channels {
		s.write(t, `{"type":"ack","requestId":%q}`, s.subscription(t, channel))
	}
}

// subscription reads a subscribe to the channel, or to "group NAME", and returns its requestId.
func (s *fakeSocket) subscription(t *testing.T, channel string) string {
	t.Helper()
	f := s.read(t)
	what := f.Channel
	if f.Group != "" {
		what = "group " + f.Group
	}
	if f.Type != "subscribe" || what != channel || f.RequestID == "" {
		t.Fatalf("it sent %+v; want a subscribe to %s with a requestId", f, channel)
	}
	return f.RequestID
}

func (s *fakeSocket) write(t *testing.T, format string, args ...any) {
	t.Helper()
	if err := wsutil.WriteServerText(s, fmt.Appendf(nil, format, args...)); err != nil {
		t.Fatal(err)
	}
}

type clientFrame struct {
	Type, Channel, Group, RequestID, Command, Commands, Status string
	AckIDs                                                     []string
	Data                                                       json.RawMessage
	opCode                                                     ws.OpCode
}

// read returns the next frame, control frames included.
func (s *fakeSocket) read(t *testing.T) clientFrame {
	t.Helper()
	h, err := ws.ReadHeader(s)
	if err != nil {
		t.Fatalf("no further frame from it: %v", err)
	}
	if !h.Masked {
		t.Fatal("the frame is not masked (RFC 6455 §5.3)")
	}
	payload := make([]byte, min(h.Length, 64<<10)) // protocol §4.2
	if _, err := io.ReadFull(s, payload); err != nil {
		t.Fatal(err)
	}
	ws.Cipher(payload, h.Mask, 0)
	f := clientFrame{opCode: h.OpCode}
	if f.opCode.IsData() {
		if err := json.Unmarshal(payload, &f); err != nil {
			t.Fatalf("it sent %q: %v", payload, err)
		}
	}
	return f
}

// closeWith closes as the service does: it waits for the answer to its close
// frame, and hangs up.
func (s *fakeSocket) closeWith(t *testing.T, code ws.StatusCode, reason string) {
	t.Helper()
	if err := ws.WriteFrame(s, ws.NewCloseFrame(ws.NewCloseFrameBody(code, reason))); err != nil {
		t.Fatal(err)
	}
	// RFC 6455 §5.5.1: a close frame is answered with one.
	s.awaitClose(t)
	s.cut(t)
}

// awaitClose reads up to the example's close frame.
func (s *fakeSocket) awaitClose(t *testing.T) {
	t.Helper()
	for s.read(t).opCode != ws.OpClose {
	}
}

// cut ends the connection with no close frame, as a lost network does.
func (s *fakeSocket) cut(t *testing.T) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
)

// A fake is a service whose every byte the test decides. It runs inside a synctest
// bubble, where the clock jumps to the next timer as soon as everybody waits: pauses
// are exact, and cost no time.
type fake struct {
	t       *testing.T
	begin   time.Time
	dialled chan net.Conn
	log     lockedBuffer

	mu      sync.Mutex
	changes []Change
	errs    []error
	tokens  int // asked for
}

func newFake(t *testing.T) *fake {
	return &fake{t: t, begin: time.Now(), dialled: make(chan net.Conn)}
}

// bubble runs a test with a fake service in a synctest bubble. The bubble ends only
// when all goroutines have: a leak fails the test.
func bubble(t *testing.T, test func(t *testing.T, f *fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newFake(t)) })
}

// options connect to the fake with tokens "token-1", "token-2", ….
func (f *fake) options() Options {
	return Options{
		URL: "http://fake",
		Token: func(context.Context) (string, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.tokens++
			return fmt.Sprintf("token-%d", f.tokens), nil
		},
		OnState: func(c Change) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.changes = append(f.changes, c)
		},
		OnError: func(err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.errs = append(f.errs, err)
		},
		Log: slog.New(slog.NewTextHandler(&f.log, nil)),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			here, there := net.Pipe()
			select {
			case f.dialled <- there:
				return here, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	}
}

// client starts a client whose pauses are as long as they can be, and closes it with
// the test.
func (f *fake) client(change ...func(*Options)) *Client {
	f.t.Helper()
	opt := f.options()
	for _, c := range change {
		c(&opt)
	}
	c, err := start(opt, func(bound time.Duration) time.Duration { return bound })
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		c.Close()
		<-c.Done()
		for _, secret := range []string{"token-", "Bearer"} {
			if strings.Contains(f.log.String(), secret) {
				f.t.Errorf("the log holds a credential:\n%s", f.log.String())
			}
		}
	})
	return c
}

// states are the changes so far, without the welcomes.
func (f *fake) states() string {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, c := range f.changes {
		name := c.State.String()
		if c.RetryIn != 0 {
			name += " " + c.RetryIn.String()
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

func (f *fake) errors() []error {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errs
}

// A peerConn is the service's end of one connection.
type peerConn struct {
	net.Conn
	t      *testing.T
	uri    string
	bearer string        // what the Authorization header said
	frames chan ws.Frame // what the client sent, unmasked; closed at the end
}

// raw waits for the next connection, before the handshake.
func (f *fake) raw() net.Conn {
	f.t.Helper()
	select {
	case conn := <-f.dialled:
		return conn
	case <-time.After(time.Hour):
		f.t.Fatal("the client does not connect within an hour")
		return nil
	}
}

// accept waits for the next connection and makes the handshake.
func (f *fake) accept() *peerConn {
	f.t.Helper()
	p := &peerConn{t: f.t, Conn: f.raw(), frames: make(chan ws.Frame, 4096)}
	upgrader := ws.Upgrader{
		OnRequest: func(uri []byte) error { p.uri = string(uri); return nil },
		OnHeader: func(key, value []byte) error {
			if strings.EqualFold(string(key), "Authorization") {
				p.bearer = strings.TrimPrefix(string(value), "Bearer ")
			}
			return nil
		},
	}
	if _, err := upgrader.Upgrade(p.Conn); err != nil {
		f.t.Fatalf("handshake: %v", err)
	}
	go p.read()
	f.t.Cleanup(func() { _ = p.Conn.Close() })
	return p
}

// welcome accepts a connection and says welcome.
func (f *fake) welcome() *peerConn {
	f.t.Helper()
	p := f.accept()
	p.say(string(protocol.AppendWelcome(nil, protocol.Welcome{PeerID: "camera-001", ExpiresAt: 1767225600, ServerTime: 1767222000, MaxMessageSize: protocol.MaxFrameBytes, Metadata: []byte(`{"a":1}`)})))
	return p
}

func (p *peerConn) read() {
	defer close(p.frames)
	for {
		h, err := ws.ReadHeader(p.Conn)
		if err != nil {
			return
		}
		if !h.Masked || h.Length > protocol.MaxFrameBytes {
			p.t.Errorf("the client sent a frame that is not masked or too long: %+v", h)
			return
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(p.Conn, payload); err != nil {
			return
		}
		p.frames <- ws.UnmaskFrameInPlace(ws.Frame{Header: h, Payload: payload})
	}
}

// next waits for the client's next frame; false when the connection has ended.
func (p *peerConn) next() (ws.Frame, bool) {
	select {
	case f, ok := <-p.frames:
		return f, ok
	case <-time.After(time.Hour):
		p.t.Error("the client sends nothing for an hour")
		return ws.Frame{}, false
	}
}

// request waits for a text frame, and wants it to be well-formed.
func (p *peerConn) request() (f protocol.ClientFrame, text string) {
	p.t.Helper()
	raw, ok := p.next()
	for ok && raw.Header.OpCode == ws.OpPong {
		raw, ok = p.next()
	}
	if !ok || raw.Header.OpCode != ws.OpText {
		p.t.Fatalf("the client sent %v %q (connected %v), want a text frame", raw.Header, raw.Payload, ok)
	}
	if err := protocol.Decode(raw.Payload, &f); err != nil {
		p.t.Fatalf("the client sent %s: %v", raw.Payload, err)
	}
	return f, string(raw.Payload)
}

// grant waits for a request of a type and acks it.
func (p *peerConn) grant(typ protocol.FrameType, channel string) protocol.ClientFrame {
	p.t.Helper()
	f, text := p.request()
	if f.Type != typ || f.Channel != channel {
		p.t.Fatalf("the client sent %s, want %v of %s", text, typ, channel)
	}
	p.say(string(protocol.AppendAck(nil, f.RequestID)))
	return f
}

// refuse answers a request with an error frame.
func (p *peerConn) refuse(f protocol.ClientFrame, code protocol.Code) {
	p.say(string(protocol.AppendError(nil, f.RequestID, protocol.Errorf(code, "no"))))
}

func (p *peerConn) say(text string) { p.write(protocol.AppendTextFrame(nil, []byte(text))) }

func (p *peerConn) message(channel, data string) {
	p.say(string(protocol.AppendMessage(nil, channel, "sender", nil, []byte(data))))
}

func (p *peerConn) write(b []byte) {
	_ = p.SetWriteDeadline(time.Now().Add(time.Minute))
	_, _ = p.Write(b) // what comes of it is the client's affair
}

// shut sends a close frame and waits until the client has ended the connection.
func (p *peerConn) shut(code protocol.CloseCode) {
	p.t.Helper()
	p.write(protocol.AppendCloseFrame(nil, code, ""))
	for {
		f, ok := p.next()
		if !ok {
			return
		}
		if f.Header.OpCode == ws.OpClose {
			if got, _ := ws.ParseCloseFrameData(f.Payload); int(got) != int(code) {
				p.t.Errorf("the client answered close code %d with %d", code, got)
			}
		}
	}
}

// closeCode waits for the client's close frame and answers it.
func (p *peerConn) closeCode() ws.StatusCode {
	p.t.Helper()
	for {
		f, ok := p.next()
		if !ok {
			p.t.Fatal("the connection ended without a close frame")
		}
		if f.Header.OpCode == ws.OpClose {
			code, _ := ws.ParseCloseFrameData(f.Payload)
			p.write(protocol.AppendCloseFrame(nil, protocol.CloseCode(code), ""))
			return code
		}
	}
}

// gone wants the client to have ended the connection without a word.
func (p *peerConn) gone() {
	p.t.Helper()
	if f, ok := p.next(); ok {
		p.t.Errorf("the client sent %v %q, want the connection's end", f.Header, f.Payload)
	}
}

// async runs a call that waits for answers which the test is going to give.
func async(call func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	return done
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("the error is %v, want %v", got, want)
	}
}

func wantCode(t *testing.T, err error, want protocol.Code) {
	t.Helper()
	if CodeOf(err) != want || !errors.Is(err, &Error{Code: want}) {
		t.Errorf("the error is %v, want code %q", err, want)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var _ io.Writer = (*lockedBuffer)(nil)

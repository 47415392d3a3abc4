package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"fleetwire/pkg/wstest"
)

// socket is a connection, from the device's side. It is for one goroutine, but
// that one may read while another writes.
type socket struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader

	welcome  welcome
	requests int
	// early has the groups' messages that came before the ack of a group_ack (§10.2).
	early []pulled
}

type welcome struct {
	PeerID         string          `json:"peerId"`
	ExpiresAt      *int64          `json:"expiresAt"`
	ServerTime     int64           `json:"serverTime"`
	MaxMessageSize int             `json:"maxMessageSize"`
	Metadata       json.RawMessage `json:"metadata"`
}

// dial upgrades. query is all of the URL's query.
func (n *node) dial(t testing.TB, query string, header http.Header) (*socket, error) {
	return n.dialWith(t, query, ws.Dialer{Header: ws.HandshakeHeaderHTTP(header)})
}

func (n *node) dialWith(t testing.TB, query string, d ws.Dialer) (*socket, error) {
	d.Timeout = patience
	conn, in, _, err := d.Dial(context.Background(), "ws://"+n.addr+"/v1?"+query)
	if err != nil {
		return nil, err
	}
	if in == nil {
		in = bufio.NewReaderSize(conn, 4096)
	}
	t.Cleanup(func() { conn.Close() })
	return &socket{t: t, conn: conn, in: in}, nil
}

// connect opens a connection with the token and takes its welcome.
func (n *node) connect(t testing.TB, token string) *socket {
	t.Helper()
	return n.enter(t, "token="+token)
}

func (n *node) enter(t testing.TB, query string) *socket {
	t.Helper()
	s, err := n.tryEnter(t, query)
	if err != nil {
		t.Fatalf("not welcomed: %v", err)
	}
	return s
}

// tryEnter is for goroutines, which cannot end the test.
func (n *node) tryEnter(t testing.TB, query string) (*socket, error) {
	s, err := n.dial(t, query, nil)
	if err != nil {
		return nil, err
	}
	frame, err := s.read()
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(frame, `{"type":"welcome",`) {
		return nil, fmt.Errorf("the first frame is %s", frame)
	}
	return s, json.Unmarshal([]byte(frame), &s.welcome)
}

// refused opens a connection that must be closed with this code at once, for a
// reason that says all of says.
func (n *node) refused(t testing.TB, query string, code int, says ...string) {
	t.Helper()
	s, err := n.dial(t, query, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.expectClose(code, says...)
}

// write sends one text frame.
func (s *socket) write(frame string) error { return s.writeRaw(ws.NewTextFrame([]byte(frame))) }

// writeRaw sends one frame in a single write, so that it cannot mix with the
// answer to a ping.
func (s *socket) writeRaw(f ws.Frame) error {
	_ = s.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := s.conn.Write(ws.MustCompileFrame(ws.MaskFrameInPlace(f)))
	return err
}

// burst sends a frame 20 times in a single write: a busy machine cannot spread them, and is not
// too late for a server that closes at one of the first.
func (s *socket) burst(frame string) {
	var all []byte
	for range 20 {
		all = append(all, ws.MustCompileFrame(ws.MaskFrameInPlace(ws.NewTextFrame([]byte(frame))))...)
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := s.conn.Write(all); err != nil {
		s.t.Errorf("sending 20 times %.200s: %v", frame, err)
	}
}

// closedError is the server's close frame.
type closedError struct {
	code   int
	reason string
}

func (e closedError) Error() string { return fmt.Sprintf("closed with %d %q", e.code, e.reason) }

// read returns the next text frame, having answered pings on the way. A close
// frame is answered and is a closedError.
func (s *socket) read() (string, error) { return s.readUntil(time.Now().Add(patience)) }

func (s *socket) readUntil(deadline time.Time) (string, error) {
	_ = s.conn.SetReadDeadline(deadline)
	for {
		f, err := wstest.ReadFrame(s.in)
		if err == nil {
			err = ws.CheckHeader(f.Header, ws.StateClientSide)
		}
		if err != nil {
			return "", err
		}
		switch f.Header.OpCode {
		case ws.OpPing:
			if err := s.writeRaw(ws.NewPongFrame(f.Payload)); err != nil {
				return "", err
			}
		case ws.OpPong:
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(f.Payload)
			_ = s.writeRaw(ws.NewCloseFrame(f.Payload)) // the server may be gone by now
			return "", closedError{int(code), reason}
		case ws.OpText:
			if !f.Header.Fin || !utf8.Valid(f.Payload) {
				return "", fmt.Errorf("a frame that is cut (%v) or not UTF-8: %.200q", !f.Header.Fin, f.Payload)
			}
			return string(f.Payload), nil
		default:
			return "", fmt.Errorf("a frame with opcode %d; only text is expected", f.Header.OpCode)
		}
	}
}

func (s *socket) send(frame string) {
	s.t.Helper()
	if err := s.write(frame); err != nil {
		s.t.Fatalf("sending %.200s: %v", frame, err)
	}
}

func (s *socket) next() string {
	s.t.Helper()
	frame, err := s.read()
	if err != nil {
		s.t.Fatalf("%s: instead of a frame: %v", s.welcome.PeerID, err)
	}
	return frame
}

// expect wants the next frame to be this one, to the byte.
func (s *socket) expect(frame string) {
	s.t.Helper()
	if got := s.next(); got != frame {
		s.t.Fatalf("%s:\ngot  %.2000s\nwant %.2000s", s.welcome.PeerID, got, frame)
	}
}

// expectAll wants these to be the next frames, in any order: messages of different channels
// have none (protocol §4.3).
func (s *socket) expectAll(frames ...string) {
	s.t.Helper()
	var got []string
	for range frames {
		got = append(got, s.next())
	}
	slices.Sort(got)
	slices.Sort(frames)
	if !slices.Equal(got, frames) {
		s.t.Fatalf("%s:\ngot  %.2000q\nwant %.2000q", s.welcome.PeerID, got, frames)
	}
}

// expectMessage wants the next frame to be this message, without metadata.
func (s *socket) expectMessage(channel, from, data string) {
	s.t.Helper()
	s.expect(message(channel, from, data))
}

func message(channel, from, data string) string {
	return `{"type":"message","channel":` + quoted(channel) + `,"from":` + quoted(from) + `,"data":` + data + `}`
}

// expectError wants the next frame to be an error with this code and, unless it
// is "", this requestId, and a message that says all of says.
func (s *socket) expectError(requestID, code string, says ...string) {
	s.t.Helper()
	head := `{"type":"error",`
	if requestID != "" {
		head += `"requestId":` + quoted(requestID) + `,`
	}
	frame := s.next()
	if code == "backend_error" { // says behind the message that nothing was done
		before, ok := strings.CutSuffix(frame, `,"outcome":"none"}`)
		if !ok {
			s.t.Errorf("%s: %s has no outcome none at its end", s.welcome.PeerID, frame)
			return
		}
		frame = before + "}"
	}
	wantShape(s.t, frame, head+`"code":`+quoted(code)+`,"message":`, says)
}

// expectClose wants a close frame with this code and a reason that says all of
// says, and then the end of the stream.
func (s *socket) expectClose(code int, says ...string) {
	s.t.Helper()
	s.expectCloseFrame(code, says...)
	if rest, err := io.ReadAll(s.in); len(rest) > 0 || err != nil {
		s.t.Errorf("after the close frame: %d bytes, %v", len(rest), err)
	}
}

// expectCloseFrame is for a connection on which a close frame of our own may
// be under way: the end of the stream is then a reset as often as not.
func (s *socket) expectCloseFrame(code int, says ...string) {
	s.t.Helper()
	frame, err := s.read()
	var closed closedError
	if !errors.As(err, &closed) {
		s.t.Fatalf("%s: not closed: %q, %v", s.welcome.PeerID, frame, err)
	}
	if closed.code != code {
		s.t.Fatalf("%s: %v, want %d", s.welcome.PeerID, closed, code)
	}
	if closed.reason == "" {
		s.t.Errorf("%s: %v: no reason", s.welcome.PeerID, closed)
	}
	for _, text := range says {
		if !strings.Contains(closed.reason, text) {
			s.t.Errorf("closed with the reason %q, which does not say %q", closed.reason, text)
		}
	}
}

// request sends a frame with a fresh requestId, and returns that. fields are
// the frame's members but for requestId, as in `"type":"ping"`.
func (s *socket) request(fields string) (requestID string) {
	s.t.Helper()
	s.requests++
	requestID = "r" + strconv.Itoa(s.requests)
	s.send(`{` + fields + `,"requestId":"` + requestID + `"}`)
	return requestID
}

// acked sends a frame and wants its ack to be the next frame.
func (s *socket) acked(fields string) {
	s.t.Helper()
	s.expect(`{"type":"ack","requestId":"` + s.request(fields) + `"}`)
}

func (s *socket) subscribe(channels ...string) *socket {
	s.t.Helper()
	for _, c := range channels {
		s.acked(`"type":"subscribe","channel":` + quoted(c))
	}
	return s
}

func (s *socket) subscribeWithMetadata(channel string) {
	s.t.Helper()
	s.acked(`"type":"subscribe","includeSenderMetadata":true,"channel":` + quoted(channel))
}

func (s *socket) unsubscribe(channel string) {
	s.t.Helper()
	s.acked(`"type":"unsubscribe","channel":` + quoted(channel))
}

func (s *socket) publish(channel, data string) {
	s.t.Helper()
	s.acked(`"type":"publish","channel":` + quoted(channel) + `,"data":` + data)
}

// alive shows that the connection is open and that nothing else came.
func (s *socket) alive() {
	s.t.Helper()
	s.send(`{"type":"ping"}`)
	s.expect(`{"type":"pong"}`)
}

// leave closes in order, and wants the answer.
func (s *socket) leave() {
	s.t.Helper()
	if err := s.writeRaw(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))); err != nil {
		s.t.Fatal(err)
	}
	_, err := s.read()
	var closed closedError
	if !errors.As(err, &closed) || closed.code != 1000 {
		s.t.Fatalf("%s: the answer to our close frame: %v", s.welcome.PeerID, err)
	}
	s.conn.Close()
}

func queryEscape(token string) string { return url.QueryEscape(token) }

// rawUpgrade writes the bytes to a new connection and reads an HTTP response.
func (n *node) rawUpgrade(t testing.TB, request string) (s *socket, status int) {
	t.Helper()
	conn, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &socket{t: t, conn: conn, in: in}, resp.StatusCode
}

package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"golang.org/x/time/rate"

	"fleetwire/clients/go/protocol"
)

const (
	// maxFrameBytes is room for the longest frame that the service sends: a presence
	// snapshot of 10,000 members with metadata of full size (protocol §3, §4.3).
	maxFrameBytes = 10_000 * (protocol.MaxPeerMetadataBytes + 256)
	// outFrames wait to be written before senders have to wait themselves.
	outFrames = 64
	// batchBytes are written at once, if so much waits.
	batchBytes = 64 << 10

	writeTimeout = 10 * time.Second
	// farewell is how long the service may take to answer a close frame.
	farewell = time.Second
	// leaving is the same for a service that wants the client to be back by now.
	leaving = farewell / 4
)

// errNotSent: the connection ended before the frame was handed to it.
var errNotSent = errors.New("the connection ended before the frame was sent")

// A link is one WebSocket connection. One goroutine reads, another writes.
type link struct {
	conn    *pulse
	pace    *rate.Limiter
	out     chan []byte // text or pong frames as they go on the wire; nil: close normally, the last one
	ctx     context.Context
	end     context.CancelFunc
	welcome Welcome
	live    chan struct{}  // closed when the subscriptions are renewed
	expires chan time.Time // when the token ends that a refresh has brought

	// The reading goroutine's.
	in     wsutil.Reader
	backAt time.Time   // when a going_away frame wants the client back; zero: none came
	leave  *time.Timer // ends the connection then

	left atomic.Bool // the client has ended it, since the service did not in time

	mu        sync.Mutex
	requests  uint64                      // ids given so far
	waiting   map[string]func(ack, error) // nil once the connection has ended
	failed    error                       // why writing failed
	lastWords []byte                      // a close frame, for the writer's end
}

// pulse moves the read deadline with each sign of life, pings included.
type pulse struct {
	net.Conn
	silence time.Duration // 0: leave the deadline alone; set by the goroutine that reads
}

func (p *pulse) Read(b []byte) (int, error) {
	if p.silence > 0 {
		_ = p.SetReadDeadline(time.Now().Add(p.silence)) // where it fails, reading will
	}
	return p.Conn.Read(b)
}

// newLink takes over a connection after the handshake; in holds what came with it.
// The caller runs write on a goroutine of its own, and calls over in the end.
func newLink(conn *pulse, in io.Reader, framesPerSecond int) *link {
	l := &link{
		conn: conn, pace: rate.NewLimiter(rate.Limit(framesPerSecond), framesPerSecond),
		out: make(chan []byte, outFrames), live: make(chan struct{}), expires: make(chan time.Time, 1), waiting: map[string]func(ack, error){},
	}
	l.in = wsutil.Reader{
		Source: in, State: ws.StateClientSide, MaxMessageSize: maxFrameBytes,
		OnIntermediate: func(h ws.Header, r io.Reader) error { return l.control(h.OpCode, r) },
	}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// next reads one text frame, and answers the control frames before it. An error is
// the connection's end.
func (l *link) next() ([]byte, error) {
	for {
		h, err := l.in.NextFrame()
		if err != nil {
			return nil, l.broken(err)
		}
		if h.OpCode.IsControl() {
			if err := l.control(h.OpCode, &l.in); err != nil {
				return nil, err
			}
			continue
		}
		b := bytes.NewBuffer(make([]byte, 0, int(h.Length)+bytes.MinRead))
		if _, err := b.ReadFrom(&l.in); err != nil {
			return nil, l.broken(err)
		}
		if h.OpCode == ws.OpText { // the service sends no other
			return b.Bytes(), nil
		}
	}
}

// control handles a ping, a pong or a close frame (RFC 6455 §5.5).
func (l *link) control(op ws.OpCode, payload io.Reader) error {
	b, err := io.ReadAll(payload)
	if err != nil {
		return l.broken(err)
	}
	switch op {
	case ws.OpPing:
		select {
		case l.out <- compile(ws.NewPongFrame(b)):
		default: // so much waits to be sent that the service hears us anyway
		}
	case ws.OpClose:
		code, reason := ws.ParseCloseFrameData(b)
		if code == 0 {
			code = ws.StatusNoStatusRcvd // RFC 6455 §7.1.5
		} else {
			l.say(code)
		}
		return &protocol.CloseError{Code: protocol.CloseCode(code), Reason: strings.ToValidUTF8(reason, "\uFFFD")}
	}
	return nil
}

// broken says why reading failed, and has the service told, if it broke the rules.
func (l *link) broken(err error) error {
	l.mu.Lock()
	failed := l.failed
	l.mu.Unlock()
	var closed *protocol.CloseError
	var network net.Error
	var violation ws.ProtocolError
	switch {
	case errors.As(err, &closed): // in the middle of a fragmented message
		return err
	case failed != nil:
		return fmt.Errorf("sending failed: %w", failed)
	case errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("nothing heard for %v", l.conn.silence)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the network connection ended without a close frame")
	case errors.Is(err, wsutil.ErrMessageTooLarge):
		l.say(ws.StatusMessageTooBig)
		return fmt.Errorf("a frame of over %d bytes came, which the service never sends", maxFrameBytes)
	case errors.As(err, &violation):
		l.say(ws.StatusProtocolError)
	}
	return err
}

// say leaves a close frame for the writer's end.
func (l *link) say(code ws.StatusCode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastWords = compile(ws.NewCloseFrame(ws.NewCloseFrameBody(code, "")))
}

// compile masks a frame, as clients must (RFC 6455 §5.3), in place.
func compile(f ws.Frame) []byte { return ws.MustCompileFrame(ws.MaskFrameInPlace(f)) }

// write sends what is handed to it until the link ends, then closes the socket. All
// that waits goes out in one write.
func (l *link) write() {
	defer l.conn.Close()
	var batch []byte
	for closing := false; !closing; {
		select {
		case <-l.ctx.Done():
			l.lastWrite()
			return
		case f := <-l.out:
			batch, closing = l.gather(batch[:0], f)
		}
		_ = l.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails only on a closed socket
		if l.ctx.Err() != nil {
			l.lastWrite() // over's deadline may have been overwritten
			return
		}
		if _, err := l.conn.Write(batch); err != nil {
			l.mu.Lock()
			l.failed = err
			l.mu.Unlock()
			return // closing the socket ends the reading
		}
	}
	<-l.ctx.Done() // until the service has answered, or farewell is over
}

// gather appends a frame and those that wait behind it, as many as the pace allows,
// and a close frame, if one of them is nil.
func (l *link) gather(batch, f []byte) (_ []byte, closing bool) {
	for f != nil {
		if l.pace.Wait(l.ctx) != nil {
			return batch, false // the link has ended
		}
		batch = append(batch, f...)
		if len(batch) >= batchBytes || len(l.out) == 0 || l.pace.Tokens() < 1 {
			return batch, false
		}
		f = <-l.out
	}
	return append(batch, compile(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))...), true
}

func (l *link) lastWrite() {
	l.mu.Lock()
	words := l.lastWords
	l.mu.Unlock()
	if words != nil {
		_ = l.conn.SetWriteDeadline(time.Now().Add(farewell))
		_, _ = l.conn.Write(words) // a courtesy
	}
}

// close ends the connection in order: what has been handed to it is sent, then a
// close frame, and the service has a moment to answer.
func (l *link) close() { l.closeWithin(farewell) }

func (l *link) closeWithin(d time.Duration) {
	late := time.AfterFunc(d, func() { _ = l.conn.Close() })
	context.AfterFunc(l.ctx, func() { late.Stop() })
	select {
	case l.out <- nil:
	case <-l.ctx.Done():
	}
}

// goAway notes that the service wants the client back after retryAfter, counted from
// now. If it has not closed the connection by then, the client does.
func (l *link) goAway(retryAfter time.Duration) {
	if l.leave != nil {
		l.leave.Stop()
	}
	l.backAt = time.Now().Add(retryAfter)
	leave := time.AfterFunc(retryAfter, func() {
		l.left.Store(true)
		l.closeWithin(leaving)
	})
	l.leave = leave
	context.AfterFunc(l.ctx, func() { leave.Stop() })
}

// send hands a frame to the writer. It waits where too many wait already.
func (l *link) send(ctx context.Context, body []byte) error {
	if l.ctx.Err() != nil {
		return errNotSent
	}
	select {
	case l.out <- compile(ws.NewTextFrame(body)):
		return nil
	case <-l.ctx.Done():
		return errNotSent
	case <-ctx.Done():
		return ctx.Err()
	}
}

// An ack is what the service says when it has done what a frame asks for.
type ack struct {
	at        *Position // of a channel that remembers; else nil
	recovered bool
}

// request sends a frame with a requestId. answered is called once, unless forget
// comes first: with an ack, an *Error, or an ErrConnectionLost. When request
// returns an error, the frame was not sent, and answered is called only if the link
// has ended.
func (l *link) request(ctx context.Context, frame []byte, answered func(ack, error)) (id string, err error) {
	l.mu.Lock()
	if l.waiting == nil {
		l.mu.Unlock()
		return "", errNotSent
	}
	l.requests++
	id = strconv.FormatUint(l.requests, 10)
	l.waiting[id] = answered
	l.mu.Unlock()

	body := make([]byte, 0, len(frame)+requestIDRoom) // the caller may send frame again
	body = append(append(append(append(body, frame...), `,"requestId":"`...), id...), `"}`...)
	if err := l.send(ctx, body); err != nil {
		l.forget(id)
		return "", err
	}
	return id, nil
}

// forget drops a request that is no longer waited for; false if it has been
// answered.
func (l *link) forget(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.waiting[id]
	delete(l.waiting, id)
	return ok
}

// answer calls the request's function; false if there is no such request.
func (l *link) answer(id string, a ack, err error) bool {
	l.mu.Lock()
	answered, ok := l.waiting[id]
	delete(l.waiting, id)
	l.mu.Unlock()
	if ok {
		answered(a, err)
	}
	return ok
}

// over ends the link: the socket closes, and all requests are answered with err.
func (l *link) over(err error) {
	l.mu.Lock()
	waiting := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	l.end()
	// A write that is stuck must not hold up the end.
	_ = l.conn.SetWriteDeadline(time.Now().Add(farewell))
	for _, answered := range waiting {
		answered(ack{}, err)
	}
}

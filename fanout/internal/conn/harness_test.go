package conn

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn/conntest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Short names for what most tests use.
type (
	frame = conntest.Frame
	want  = conntest.Want
)

var (
	text       = conntest.Text
	pingFrame  = conntest.Ping
	closing    = conntest.Closing
	join       = conntest.Join
	chop       = conntest.Chop
	aText      = conntest.WantText
	aPongFrame = conntest.WantPong
	aClose     = conntest.WantClose
)

// Messages come back as they were sent, all but quiet.
const (
	ping  = `{"type":"ping"}`
	quiet = `"no answer"`
)

// alive: the connection is open, and all that was sent before is dealt with.
func alive(p *conntest.Peer) {
	p.TB.Helper()
	p.Write(text(ping))
	p.Want(aText(ping))
}

// messageOf is a message of exactly size bytes.
func messageOf(size int) string { return `"` + strings.Repeat("x", size-2) + `"` }

// world is what a node would give its connections.
type world struct {
	t     testing.TB
	opt   Options
	clock clock
	ids   atomic.Uint64
	admit func() *protocol.CloseError   // nil: admits all frames
	take  func(p *peer, message []byte) // nil: sends messages back, see quiet
}

func newWorld(t testing.TB) *world {
	t.Helper()
	loops, err := NewLoops()
	check(t, err)
	ctx, stop := context.WithCancel(context.Background())
	running := make(chan struct{})
	go func() {
		defer close(running)
		loops.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-running
	})
	w := &world{t: t}
	w.clock.advance(100 * 24 * time.Hour)
	w.opt = Options{Loops: loops, Ticks: w.clock.ticks, Log: slog.New(slog.DiscardHandler)}
	return w
}

// clock runs when it is told to.
type clock struct{ passed atomic.Int64 }

func (c *clock) ticks() time.Duration    { return time.Duration(c.passed.Load()) }
func (c *clock) advance(d time.Duration) { c.passed.Add(int64(d)) }

// peer is the other end of a connection, and its Handler.
type peer struct {
	*conntest.Peer
	world    *world
	conn     Conn
	messages atomic.Int32 // how many have come
	endings  atomic.Int32 // how often Ending was called
	ended    Ended        // once done is closed
	done     chan struct{}
}

func (p *peer) Admit(time.Duration) *protocol.CloseError {
	if p.world.admit == nil {
		return nil
	}
	return p.world.admit()
}

func (p *peer) Message(message []byte) {
	p.messages.Add(1)
	switch {
	case p.world.take != nil:
		p.world.take(p, message)
	case string(message) != quiet:
		p.conn.Send(func(dst []byte) []byte { return append(dst, message...) })
	}
}

func (p *peer) Ending(Ended) { p.endings.Add(1) }

func (p *peer) Closed(e Ended) {
	p.ended = e
	close(p.done)
}

// wait returns how the connection has ended, when it has.
func (p *peer) wait() Ended {
	p.TB.Helper()
	select {
	case <-p.done:
	case <-time.After(conntest.Patience):
		p.TB.Fatal("the connection does not end")
	}
	return p.ended
}

// wiring is what is special about a connection.
type wiring struct {
	early, answer []byte

	// What the kernel holds, in bytes; 0: as it likes.
	serverBuffer int // of what the node has written
	peerBuffer   int // of what the peer has yet to read
	inbound      int // of what the peer sends, at each end
}

// connect begins a connection.
func (w *world) connect() *peer {
	w.t.Helper()
	return w.wire(wiring{})
}

// wire begins a connection that is special.
func (w *world) wire(with wiring) *peer {
	w.t.Helper()
	p := w.open(with)
	p.begin((*Conn).Begin)
	return p
}

// begin begins the connection with f: Begin or Refuse.
func (p *peer) begin(f func(*Conn)) {
	p.TB.Cleanup(func() {
		_ = p.Conn.Close()
		p.wait()
	})
	f(&p.conn)
}

// open makes a connection that has yet to begin.
func (w *world) open(with wiring) *peer {
	w.t.Helper()
	client, server := conntest.Dial(w.t)
	setBuffer(w.t, server.SetWriteBuffer, with.serverBuffer)
	setBuffer(w.t, client.Conn.SetReadBuffer, with.peerBuffer)
	setBuffer(w.t, client.Conn.SetWriteBuffer, with.inbound)
	setBuffer(w.t, server.SetReadBuffer, with.inbound)
	p := &peer{Peer: client, world: w, done: make(chan struct{})}
	check(w.t, p.conn.Open(&w.opt, w.ids.Add(1), p, server, with.early, with.answer))
	return p
}

func setBuffer(t testing.TB, set func(bytes int) error, size int) {
	t.Helper()
	if size > 0 {
		check(t, set(size))
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

package conn

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn/conntest"
)

// numbered is a message of size bytes or a little more, with its number in it.
func numbered(n, size int) string {
	return fmt.Sprintf(`{"n":%d,"fill":"%s"}`, n, strings.Repeat(string(rune('a'+n%26)), size))
}

// framed is what the node appends.
func framed(message string) []byte { return protocol.AppendTextFrame(nil, []byte(message)) }

// HOSTILE: a peer that does not read what it is sent. It is closed with 1008 when
// 1 MiB is unsent, it costs no more than that, and nobody else feels it. If it
// reads again, it finds whole frames and then why.
func TestSlowConsumer(t *testing.T) {
	const size = 10_000
	w := newWorld(t)
	slow := w.wire(wiring{serverBuffer: 4096, peerBuffer: 4096})
	quick := w.connect()
	sequence := uint64(0)
	broadcast := func(message string) {
		sequence++
		for _, p := range []*peer{slow, quick} {
			if _, flush := p.conn.Append(framed(message), sequence); flush {
				p.conn.Flush()
			}
		}
		quick.Want(aText(message)) // has it before the next is sent
	}

	sent := 0
	for ; slow.conn.out.closeSent() == nil; sent++ {
		if sent > 1000 {
			t.Fatal("10 MB went to a peer that does not read, and it is not closed")
		}
		broadcast(numbered(sent, size))
		if n := slow.unsent(); n > protocol.UnsentBytesLimit+protocol.MaxControlPayloadBytes+2 {
			t.Fatalf("%d bytes are queued", n)
		}
	}
	if sent*size < protocol.UnsentBytesLimit {
		t.Fatalf("closed after %d bytes, before the bound", sent*size)
	}
	if n := slow.unsent(); n > maxWrite+size+200 {
		t.Errorf("%d bytes are still queued after the close was decided", n)
	}
	for range 100 { // life goes on, also while it lingers
		broadcast(numbered(sent, size))
	}
	if n := slow.unsent(); n > maxWrite+size+200 {
		t.Errorf("%d bytes are queued for a connection that is over", n)
	}

	frames := 0
	for ; slow.PeekOp() != ws.OpClose; frames++ {
		slow.Want(aText(numbered(frames, size)))
	}
	slow.Want(aClose(1008, "slow consumer"))
	if frames == 0 || frames >= sent {
		t.Errorf("%d of %d frames came before the close", frames, sent)
	}
	if e := slow.wait(); e != (Ended{"server", 1008, "slow consumer"}) {
		t.Errorf("ended %+v", e)
	}
	quick.Want(alive)
}

func (p *peer) unsent() int {
	p.conn.out.mu.Lock()
	defer p.conn.out.mu.Unlock()
	return p.conn.out.bytes
}

// written waits until the connection knows that everything queued is written: the peer can
// have read it before.
func (p *peer) written() {
	p.TB.Helper()
	written := func() (bool, int) {
		q := &p.conn.out
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.bytes == 0 && !q.draining, q.bytes
	}
	for begin := time.Now(); ; runtime.Gosched() {
		all, unsent := written()
		if all {
			return
		}
		if time.Since(begin) > conntest.Patience {
			p.TB.Fatalf("%d bytes are accounted as unsent when all have come", unsent)
		}
	}
}

// HOSTILE: a peer that asks and does not read the answers. It is told why, as long as
// less than closeReadLimit of what it has sent is under way.
func TestSlowConsumerOfItsOwnAnswers(t *testing.T) {
	w := newWorld(t)
	p := w.wire(wiring{serverBuffer: 4096, peerBuffer: 4096, inbound: 64 << 10})
	ask := bytes.Repeat(pingFrame(strings.Repeat("p", 125)), 100)
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		for p.conn.out.closeSent() == nil {
			if _, err := p.Conn.Write(ask); err != nil {
				return
			}
		}
	}()
	<-writing
	for p.PeekOp() == ws.OpPong {
		p.Read()
	}
	p.Want(aClose(1008, "slow consumer"))
}

// What is queued is given up when a peer is too slow, but not the frame that
// went out in half: the close frame must not land in the middle of it.
func TestSlowConsumerWithAFrameWrittenInHalf(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // what is started here runs when this waits
	w := newWorld(t)
	p := w.wire(wiring{serverBuffer: 4096})
	big := framed(messageOf(1000_000))
	p.conn.Append(big, 1)
	p.conn.Flush()
	for n := uint64(2); p.conn.out.closeSent() == nil; n++ {
		p.conn.Append(big, n)
	}
	if frames := p.wantFramesThenClose(); frames != 1 {
		t.Errorf("%d frames before the close, want the one that had partial", frames)
	}
	if e := p.wait(); e.Code != protocol.ClosePolicy {
		t.Errorf("ended %+v", e)
	}
}

// Tiny socket buffers make nearly every write partial. Not a byte may be lost,
// repeated or out of place.
func TestPartialWritesKeepTheStream(t *testing.T) {
	const frames = 3000
	w := newWorld(t)
	p := w.wire(wiring{serverBuffer: 2048, peerBuffer: 32 << 10})
	p.In = nil // from here on the bytes as they come

	random := rand.New(rand.NewPCG(1, 2))
	var want bytes.Buffer
	var queue [][]byte
	for i := range frames {
		size := random.IntN(200)
		if i%50 == 0 {
			size = random.IntN(100_000) // also beyond one gathered write
		}
		frame := framed(numbered(i, size))
		queue = append(queue, frame)
		want.Write(frame)
	}

	sending := make(chan struct{})
	go func() {
		defer close(sending)
		pause := rand.New(rand.NewPCG(3, 4))
		for i, frame := range queue {
			for p.unsent() > protocol.UnsentBytesLimit/2 {
				p.conn.Flush()
				runtime.Gosched()
			}
			p.conn.Append(frame, uint64(i+1))
			if pause.IntN(4) > 0 {
				p.conn.Flush()
			}
		}
		p.conn.Flush()
	}()

	got := make([]byte, 0, want.Len())
	buffer := make([]byte, 64<<10)
	for len(got) < want.Len() {
		check(t, p.Conn.SetReadDeadline(time.Now().Add(conntest.Patience)))
		n, err := p.Conn.Read(buffer[:1+random.IntN(len(buffer))])
		if err != nil {
			t.Fatalf("after %d of %d bytes: %v", len(got), want.Len(), err)
		}
		got = append(got, buffer[:n]...)
		if !bytes.Equal(got[len(got)-n:], want.Bytes()[len(got)-n:len(got)]) {
			t.Fatalf("the stream differs within the %d bytes before %d", n, len(got))
		}
	}
	<-sending
	p.written()
	p.conn.Append(queue[0], 1<<40) // whole, so a close that gives up what is queued gives this up
	p.conn.out.mu.Lock()
	defer p.conn.out.mu.Unlock()
	if p.conn.out.partial || len(p.conn.out.frames) != 1 {
		t.Errorf("a whole frame counts as partly written, one of %d", len(p.conn.out.frames))
	}
}

// Frames of several writers never mix, and each writer's come in its order.
func TestWritersAtTheSameTime(t *testing.T) {
	const writers, each = 4, 400
	w := newWorld(t)
	p := w.wire(wiring{serverBuffer: 2048})
	var writing sync.WaitGroup
	for writer := range writers {
		writing.Add(1)
		go func() {
			defer writing.Done()
			fill := strings.Repeat("f", 40*(writer+1)*(writer+1))
			for i := range each {
				for p.unsent() > protocol.UnsentBytesLimit/2 {
					runtime.Gosched()
				}
				p.conn.Send(func(dst []byte) []byte { return fmt.Appendf(dst, `{"writer":%d,"n":%d,"fill":"%s"}`, writer, i, fill) })
				p.conn.Flush()
			}
		}()
	}
	var next [writers]int
	for range writers * each {
		_, got := p.Read()
		var writer, n int
		if _, err := fmt.Sscanf(string(got), `{"writer":%d,"n":%d,`, &writer, &n); err != nil || next[writer] != n {
			t.Fatalf("got %.60s…, want number %d of it", got, next[writer])
		}
		next[writer]++
	}
	writing.Wait()
	p.Want(alive)
}

// A close frame must not be lost between the two halves of Close, when the
// peer's own close frame comes at just that time.
func TestCloseIsWrittenThoughThePeerClosesMeanwhile(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	p.conn.out.mu.Lock()
	p.conn.beginClose(protocol.Closef(protocol.CloseGoingAway, ""), false)
	p.conn.out.mu.Unlock()
	p.Write(closing(1000, ""))
	p.Want(aClose(1001, ""))
	p.wait()
	p.conn.Flush() // the other half
}

// All that is queued before the close goes out before it.
func TestCloseComesLast(t *testing.T) {
	w := newWorld(t)
	p := w.wire(wiring{serverBuffer: 4096})
	for i := range 90 {
		p.conn.Append(framed(numbered(i, 10_000)), uint64(i+1))
	}
	p.conn.Close(protocol.Closef(protocol.CloseGoingAway, ""))
	if queued, flush := p.conn.Append(framed(numbered(0, 10)), 1000); queued || flush {
		t.Error("a frame was queued behind the close")
	}
	for i := range 90 {
		p.Want(aText(numbered(i, 10_000)))
	}
	p.Want(aClose(1001, ""))
}

// Overlapping subscriptions deliver a message once.
func TestAppendOncePerSequence(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	const message = `{"n":1}`
	frame := framed(message)
	for _, tt := range []struct {
		sequence      uint64
		queued, flush bool
	}{{7, true, true}, {7, false, false}, {8, true, false}, {8, false, false}} {
		if queued, flush := p.conn.Append(frame, tt.sequence); queued != tt.queued || flush != tt.flush {
			t.Errorf("sequence %d: queued %v, flush %v; want %v, %v", tt.sequence, queued, flush, tt.queued, tt.flush)
		}
	}
	p.conn.Flush()
	p.Want(aText(message), aText(message), alive)
	if _, flush := p.conn.Append(frame, 9); !flush {
		t.Error("nobody was told to flush")
	}
}

// A connection that has gone takes nothing, and says so to nobody.
func TestAppendAfterTheEnd(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	check(t, p.Conn.SetLinger(0))
	check(t, p.Conn.Close())
	p.wait()
	for n := range uint64(300) {
		_, flush := p.conn.Append(framed(numbered(0, 10_000)), n+1)
		if flush {
			p.conn.Flush()
		}
	}
	if n := len(p.conn.out.frames); n != 0 {
		t.Errorf("%d frames are kept for a connection that has gone", n)
	}
}

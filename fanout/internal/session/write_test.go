package session

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

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/protocol"
)

// numbered is a message of size bytes or a little more, with its number in it.
func numbered(n, size int) envelope.Delivery {
	return delivery("devices/all", fmt.Sprintf(`{"n":%d,"fill":"%s"}`, n, strings.Repeat(string(rune('a'+n%26)), size)))
}

// HOSTILE: a peer that subscribes and does not read. It is closed with 1008 when
// 1 MiB is unsent, it costs no more than that, and nobody else feels it. If it
// reads again, it finds whole frames and then why.
func TestSlowConsumer(t *testing.T) {
	const size = 10_000
	w := newWorld(t)
	slow := w.wire(w.grant("slow"), wiring{serverBuffer: 4096, peerBuffer: 4096})
	quick := w.connect(w.grant("quick"))
	slow.wantWelcome()
	for _, p := range []*peer{slow, quick} {
		p.write(text(`{"type":"subscribe","channel":"devices/all","requestId":"r"}`))
		p.want(anAck("r"))
	}

	sent := 0
	for ; slow.session.out.closeSent() == nil; sent++ {
		if sent > 1000 {
			t.Fatal("10 MB went to a peer that does not read, and it is not closed")
		}
		d := numbered(sent, size)
		w.opt.Hub.Broadcast([]envelope.Delivery{d})
		quick.want(aText(string(d.Frame[4:]))) // has it before the next is sent
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
		d := numbered(sent, size)
		w.opt.Hub.Broadcast([]envelope.Delivery{d})
		quick.want(aText(string(d.Frame[4:])))
	}
	if n := slow.unsent(); n > maxWrite+size+200 {
		t.Errorf("%d bytes are queued for a connection that is over", n)
	}

	frames := 0
	for ; slow.peekOp() != ws.OpClose; frames++ {
		d := numbered(frames, size)
		slow.want(aText(string(d.Frame[4:])))
	}
	slow.want(aClose(1008, "slow consumer"))
	if frames == 0 || frames >= sent {
		t.Errorf("%d of %d frames came before the close", frames, sent)
	}
	if e := slow.wait(); e != (Ended{"server", 1008, "slow consumer"}) {
		t.Errorf("ended %+v", e)
	}
	quick.want(alive)
}

func (p *peer) unsent() int {
	p.session.out.mu.Lock()
	defer p.session.out.mu.Unlock()
	return p.session.out.bytes
}

// written waits until the session knows that everything queued is written: the peer can
// have read it before.
func (p *peer) written() {
	p.t.Helper()
	written := func() (bool, int) {
		q := &p.session.out
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.bytes == 0 && !q.draining, q.bytes
	}
	for begin := time.Now(); ; runtime.Gosched() {
		all, unsent := written()
		if all {
			return
		}
		if time.Since(begin) > patience {
			p.t.Fatalf("%d bytes are accounted as unsent when all have come", unsent)
		}
	}
}

// HOSTILE: a peer that asks and does not read the answers.
func TestSlowConsumerOfItsOwnAnswers(t *testing.T) {
	w := newWorld(t)
	p := w.wire(w.grant("slow"), wiring{serverBuffer: 4096, peerBuffer: 4096})
	ask := bytes.Repeat(pingFrame(strings.Repeat("p", 125)), 100)
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		for p.session.out.closeSent() == nil {
			if _, err := p.conn.Write(ask); err != nil {
				return
			}
		}
	}()
	<-writing
	p.wantWelcome()
	for p.peekOp() == ws.OpPong {
		p.read()
	}
	p.want(aClose(1008, "slow consumer"))
}

// What is queued is given up when a peer is too slow, but not the frame that
// went out in half: the close frame must not land in the middle of it.
func TestSlowConsumerWithAFrameWrittenInHalf(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // what is started here runs when this waits
	w := newWorld(t)
	p := w.wire(w.grant("slow"), wiring{serverBuffer: 4096})
	p.wantWelcome()
	big := protocol.AppendTextFrame(nil, []byte(`"`+strings.Repeat("b", 1000_000)+`"`))
	p.session.Append(big, 1)
	p.session.Flush()
	for n := uint64(2); p.session.out.closeSent() == nil; n++ {
		p.session.Append(big, n)
	}
	if frames := p.wantFramesThenClose(); frames != 1 {
		t.Errorf("%d frames before the close, want the one that had begun", frames)
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
	p := w.wire(w.grant("device-1"), wiring{serverBuffer: 2048, peerBuffer: 32 << 10})
	p.wantWelcome()
	p.in = nil // from here on the bytes as they come

	random := rand.New(rand.NewPCG(1, 2))
	var want bytes.Buffer
	var queue [][]byte
	for i := range frames {
		size := random.IntN(200)
		if i%50 == 0 {
			size = random.IntN(100_000) // also beyond one gathered write
		}
		d := numbered(i, size)
		queue = append(queue, d.Frame)
		want.Write(d.Frame)
	}

	sending := make(chan struct{})
	go func() {
		defer close(sending)
		pause := rand.New(rand.NewPCG(3, 4))
		for i, frame := range queue {
			for p.unsent() > protocol.UnsentBytesLimit/2 {
				p.session.Flush()
				runtime.Gosched()
			}
			p.session.Append(frame, uint64(i+1))
			if pause.IntN(4) > 0 {
				p.session.Flush()
			}
		}
		p.session.Flush()
	}()

	got := make([]byte, 0, want.Len())
	buffer := make([]byte, 64<<10)
	for len(got) < want.Len() {
		check(t, p.conn.SetReadDeadline(time.Now().Add(patience)))
		n, err := p.conn.Read(buffer[:1+random.IntN(len(buffer))])
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
	p.session.Append(queue[0], 1<<40) // whole, so a close that gives up what is queued gives this up
	p.session.out.mu.Lock()
	defer p.session.out.mu.Unlock()
	if p.session.out.begun || len(p.session.out.frames) != 1 {
		t.Errorf("a whole frame counts as partly written, one of %d", len(p.session.out.frames))
	}
}

// Frames of several writers never mix, and each writer's come in its order.
func TestWritersAtTheSameTime(t *testing.T) {
	const writers, each = 4, 400
	w := newWorld(t)
	p := w.wire(w.grant("device-1"), wiring{serverBuffer: 2048})
	p.wantWelcome()
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
				p.session.send(func(dst []byte) []byte { return fmt.Appendf(dst, `{"writer":%d,"n":%d,"fill":"%s"}`, writer, i, fill) })
				p.session.Flush()
			}
		}()
	}
	var next [writers]int
	for range writers * each {
		_, got := p.read()
		var writer, n int
		if _, err := fmt.Sscanf(string(got), `{"writer":%d,"n":%d,`, &writer, &n); err != nil || next[writer] != n {
			t.Fatalf("got %.60s…, want number %d of it", got, next[writer])
		}
		next[writer]++
	}
	writing.Wait()
	p.want(alive)
}

// A close frame must not be lost between the two halves of Close, when the
// peer's own close frame comes at just that time.
func TestCloseIsWrittenThoughThePeerClosesMeanwhile(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	p.session.out.mu.Lock()
	p.session.beginClose(protocol.Closef(protocol.CloseGoingAway, ""), false)
	p.session.out.mu.Unlock()
	p.write(closing(1000, ""))
	p.want(aClose(1001, ""))
	p.wait()
	p.session.Flush() // the other half
}

// All that is queued before the close goes out before it.
func TestCloseComesLast(t *testing.T) {
	w := newWorld(t)
	p := w.wire(w.grant("device-1"), wiring{serverBuffer: 4096})
	p.wantWelcome()
	for i := range 90 {
		p.session.Append(numbered(i, 10_000).Frame, uint64(i+1))
	}
	p.session.Close(protocol.Closef(protocol.CloseGoingAway, ""))
	if queued, flush := p.session.Append(numbered(0, 10).Frame, 1000); queued || flush {
		t.Error("a frame was queued behind the close")
	}
	for i := range 90 {
		p.want(aText(string(numbered(i, 10_000).Frame[4:])))
	}
	p.want(aClose(1001, ""))
}

// Overlapping subscriptions deliver a message once.
func TestAppendOncePerSequence(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	frame := delivery("devices/a", "1").Frame
	for _, tt := range []struct {
		sequence      uint64
		queued, flush bool
	}{{7, true, true}, {7, false, false}, {8, true, false}, {8, false, false}} {
		if queued, flush := p.session.Append(frame, tt.sequence); queued != tt.queued || flush != tt.flush {
			t.Errorf("sequence %d: queued %v, flush %v; want %v, %v", tt.sequence, queued, flush, tt.queued, tt.flush)
		}
	}
	p.session.Flush()
	p.want(aText(string(frame[2:])), aText(string(frame[2:])), alive)
	if _, flush := p.session.Append(frame, 9); !flush {
		t.Error("nobody was told to flush")
	}
}

// A connection that has gone takes nothing, and says so to nobody.
func TestAppendAfterTheEnd(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	check(t, p.conn.SetLinger(0))
	check(t, p.conn.Close())
	p.wait()
	for n := range uint64(300) {
		_, flush := p.session.Append(numbered(0, 10_000).Frame, n+1)
		if flush {
			p.session.Flush()
		}
	}
	if n := len(p.session.out.frames); n != 0 {
		t.Errorf("%d frames are kept for a connection that has gone", n)
	}
}

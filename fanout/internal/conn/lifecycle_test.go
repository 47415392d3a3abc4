package conn

import (
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn/conntest"
)

// A connection handles the bytes that came with the upgrade request first.
func TestEarlyBytes(t *testing.T) {
	w := newWorld(t)
	large := messageOf(20_000)
	for name, early := range map[string][]byte{
		"none": {}, "a frame": text(ping), "three frames": join(text(ping), text(ping), text(ping)),
		"a frame and a half": join(text(ping), text(ping)[:5]), "one byte": text(ping)[:1],
		"a large frame": text(large), "a frame and most of a large one": join(text(ping), text(large)[:15_000]),
	} {
		t.Run(name, func(t *testing.T) {
			p := w.wire(wiring{early: early})
			all := join(text(ping), text(ping), text(ping), text(ping))
			wants := []want{aText(ping), aText(ping), aText(ping), aText(ping)}
			switch name {
			case "a large frame":
				all, wants = join(text(large), text(ping)), []want{aText(large), aText(ping)}
			case "a frame and most of a large one":
				all, wants = join(text(ping), text(large), text(ping)), []want{aText(ping), aText(large), aText(ping)}
			}
			p.Write(all[len(early):])
			p.Want(wants...)
		})
	}
}

func TestEarlyClose(t *testing.T) {
	w := newWorld(t)
	p := w.wire(wiring{early: join(text(ping), closing(1000, "changed my mind"))})
	p.Want(aText(ping), aClose(1000, ""))
	if e := p.wait(); e != (Ended{"peer", 1000, "changed my mind"}) {
		t.Errorf("ended %+v", e)
	}
}

// An idle connection costs no goroutine, or, where there is no epoll, one.
func TestGoroutinesOfIdleConnections(t *testing.T) {
	const n = 200
	w := newWorld(t)
	peers := make([]*peer, n)
	for i := range peers {
		peers[i] = w.connect()
		peers[i].Want(alive)
	}
	wantGoroutines(t, n*goroutinesEach)

	for _, p := range peers {
		p.conn.Append(framed("1"), 1)
		p.conn.KeepAlive(w.clock.ticks())
		p.Want(aText("1"), conntest.WantPing)
	}
	wantGoroutines(t, n*goroutinesEach)

	for _, p := range peers { // nor a buffer
		p.Want(alive)
	}
	for _, p := range peers {
		_ = p.Conn.Close()
		p.wait()
		if p.conn.in.buffer != nil || p.conn.in.pooled != nil {
			t.Fatal("a buffer was kept")
		}
	}
	wantGoroutines(t, 0)
}

// wantGoroutines waits until so many goroutines are at work for connections.
func wantGoroutines(t *testing.T, want int) {
	t.Helper()
	stacks := make([]byte, 4<<20)
	for deadline := time.Now().Add(conntest.Patience); ; runtime.Gosched() {
		n := 0
		for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(stack, "created by fleetwire/fanout/internal/conn.(*") {
				n++
			}
		}
		if n == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, want %d", n, want)
		}
	}
}

// However many ends come at the same time, there is one, and the socket is closed.
func TestEndsThatRace(t *testing.T) {
	w := newWorld(t)
	shared := framed(messageOf(5000))
	for i := range 150 {
		p := w.wire(wiring{serverBuffer: 4096})
		begin := make(chan struct{})
		var racing sync.WaitGroup
		race := func(f func()) {
			racing.Add(1)
			go func() {
				defer racing.Done()
				<-begin
				f()
			}()
		}
		race(func() { p.conn.Close(protocol.Closef(protocol.CloseGoingAway, "")) })
		race(func() { p.conn.Close(protocol.Closef(protocol.CloseDisconnected, "")) })
		race(func() { p.conn.KeepAlive(w.clock.ticks()) })
		race(func() {
			for j := range uint64(300) { // past the bound of unsent bytes
				if _, flush := p.conn.Append(shared, j+1); flush && j%3 == 0 {
					p.conn.Flush()
				}
			}
			p.conn.Flush()
		})
		switch i % 3 {
		case 0:
			race(func() { _, _ = p.Conn.Write(join(text(ping), closing(1000, ""))) })
		case 1:
			race(func() { _ = p.Conn.SetLinger(0); _ = p.Conn.Close() })
		case 2:
			race(func() { _, _ = p.Conn.Write(frame{Op: 3, Unmasked: true}.Bytes()) })
		}
		close(begin)
		racing.Wait()
		if i%3 != 1 {
			p.wantFramesThenClose()
		}
		e := p.wait()
		if e.By == "" || p.endings.Load() != 1 {
			t.Fatalf("ended %+v, Ending was called %d times", e, p.endings.Load())
		}
		wantSocketClosed(t, &p.conn)
	}
}

// wantFramesThenClose reads whole frames until a close frame, and then the end.
func (p *peer) wantFramesThenClose() (frames int) {
	p.TB.Helper()
	for p.PeekOp() != ws.OpClose {
		p.Read()
		frames++
	}
	p.Read()
	_ = p.Conn.CloseWrite()
	if rest, err := io.ReadAll(p.In); len(rest) > 0 {
		p.TB.Fatalf("%d bytes behind the close frame (%v)", len(rest), err)
	}
	return frames
}

package conn

import (
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
)

// portion is one of frames with these bodies, and a channel that hears when it is written.
func portion(until time.Duration, bodies ...string) (*Portion, <-chan bool) {
	written := make(chan bool, 2)
	p := &Portion{Written: func(all bool) { written <- all }}
	for _, body := range bodies {
		p.Frames = append(p.Frames, Perishable{Frame: framed(body), Until: until})
	}
	return p, written
}

func (p *peer) appendPortion(portion *Portion) {
	if p.conn.AppendPortion(portion) {
		p.conn.Flush()
	}
}

func TestPortionIsWritten(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	three, written := portion(0, `"1"`, `"2"`, messageOf(70_000))
	p.appendPortion(three)
	if !<-written {
		t.Error("not all of it is said to be written")
	}
	void, written := portion(w.clock.ticks(), `"void"`)
	p.appendPortion(void)
	if !<-written {
		t.Error("what is void is said to be in the way")
	}
	p.Want(aText(`"1"`), aText(`"2"`), aText(messageOf(70_000)), alive)
}

// A portion waits for all else. What becomes void while it waits is not written; what is
// partly written comes whole.
func TestPortionWaits(t *testing.T) {
	w := newWorld(t)
	p, body := w.stall(400 << 10)
	soon, writtenSoon := portion(w.clock.ticks()+time.Second, `"soon"`)
	late, writtenLate := portion(0, `"1"`, messageOf(200_000), messageOf(100_000), `"4"`)
	p.appendPortion(soon)
	p.appendPortion(late)
	p.conn.Append(framed(`"first"`), 7)
	w.clock.advance(time.Second)
	select {
	case <-writtenSoon:
		t.Fatal("written to a socket that takes nothing")
	default:
	}
	p.Want(aText(string(body)), aText(`"first"`), aText(`"1"`), aText(messageOf(200_000)), aText(messageOf(100_000)), aText(`"4"`))
	if !<-writtenSoon || !<-writtenLate {
		t.Error("not all is said to be written")
	}
	alive(p.Peer)
}

// A connection that is closed in order sends what it was given before.
func TestPortionBeforeTheCloseFrame(t *testing.T) {
	w := newWorld(t)
	p, body := w.stall(400 << 10)
	rest, written := portion(0, `"1"`)
	void, _ := portion(w.clock.ticks(), `"void"`)
	p.appendPortion(rest)
	p.appendPortion(void)
	p.conn.Close(protocol.Closef(protocol.CloseGoingAway, ""))
	<-written
	p.Want(aText(string(body)), aText(`"1"`), aClose(1001, "going away"))
	after, written := portion(0, `"2"`)
	p.appendPortion(after)
	if <-written {
		t.Error("written behind the close frame")
	}
}

// The portion does not count against the bound then, either: with nearly that much queued
// the connection is not closed as slow instead.
func TestPortionBeforeTheCloseFrameIsNotCounted(t *testing.T) {
	w := newWorld(t)
	p, body := w.stall(400 << 10)
	nearly, most := messageOf(protocol.UnsentBytesLimit-20), messageOf(200_000)
	p.conn.Append(framed(nearly), 7)
	rest, written := portion(0, most)
	p.appendPortion(rest)
	p.conn.Close(protocol.Closef(protocol.CloseGoingAway, ""))
	<-written
	p.Want(aText(string(body)), aText(nearly), aText(most), aClose(1001, "going away"))
}

// A socket that takes a portion has made progress: no earlier block counts any more.
func TestPortionIsProgress(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	p.conn.out.mu.Lock()
	p.conn.out.progress = time.Nanosecond // it was full once
	p.conn.out.mu.Unlock()
	one, written := portion(0, `"1"`)
	p.appendPortion(one)
	<-written
	p.Want(aText(`"1"`))
	p.conn.out.mu.Lock()
	defer p.conn.out.mu.Unlock()
	if at := p.conn.out.progress; at != 0 {
		t.Errorf("the block of %v still counts", at)
	}
}

// A connection that is lost says so of what it was given.
func TestPortionOfALostConnection(t *testing.T) {
	w := newWorld(t)
	p, _ := w.stall(400 << 10)
	rest, written := portion(0, `"1"`)
	p.appendPortion(rest)
	p.Conn.Close()
	if <-written {
		t.Error("said to be written")
	}
	p.wait()
}

// HOSTILE: a peer that reads nothing is given commands, which count once no portion of
// what waited is among them.
func TestPortionsHaveABound(t *testing.T) {
	w := newWorld(t)
	p, _ := w.stall(400 << 10)
	uncounted, written := portion(0, messageOf(2<<20))
	p.appendPortion(uncounted)
	for i := 0; p.conn.out.closeSent() == nil; i++ {
		if i > protocol.UnsentBytesLimit/60_000+1 {
			t.Fatal("a peer that reads nothing is given more than the bound")
		}
		p.appendPortion(&Portion{Frames: []Perishable{{Frame: framed(messageOf(60_000))}}})
	}
	if <-written {
		t.Error("said to be written")
	}
	for p.PeekOp() != ws.OpClose {
		p.Read()
	}
	p.Want(aClose(1008, "slow consumer"))
}

// A firm Hold lets nothing pass, whatever the time; too much closes the connection.
func TestFirmHold(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	var h Hold
	p.conn.HoldFirmly(&h, nil)
	large := messageOf(protocol.MaxFrameBytes)
	for i := range 3 {
		if _, flush := p.conn.AppendBehind(&h, framed(large), uint64(i+1)); flush {
			t.Error("it passes")
		}
	}
	alive(p.Peer)
	if p.conn.Release(&h) {
		p.conn.Flush()
	}
	p.Want(aText(large), aText(large), aText(large), alive)

	p.conn.HoldFirmly(&h, nil)
	for i := 0; p.conn.out.closeSent() == nil; i++ {
		if i > protocol.UnsentBytesLimit/len(large) {
			t.Fatal("more than the bound is held")
		}
		if _, flush := p.conn.AppendBehind(&h, framed(large), uint64(i+10)); flush {
			p.conn.Flush()
		}
	}
	p.Want(aClose(1008, "slow consumer"))
}

package session

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetwire/fanout/internal/conn/conntest"
	"fleetwire/pkg/envelope"
)

// wire carries messages to the node, late, and loses some in outages.
type wire struct {
	w       *world
	m       *memory
	mu      sync.Mutex
	waiting []envelope.Delivery
	room    chan struct{} // has a value for each that waits, and so bounds them
}

// publish publishes one message after the other until stop, each at once on its way. It waits
// while too many are.
func (x *wire) publish(stop <-chan struct{}) {
	for i := 1; ; i++ {
		select {
		case <-stop:
			return
		case x.room <- struct{}{}:
		}
		x.mu.Lock()
		x.waiting = append(x.waiting, x.m.publish(logA, "sender", 0, fmt.Sprint(i)))
		x.mu.Unlock()
	}
}

// carry hands on what waits, in parts. Now and then all that waits is lost, and the node
// learns that the link is there again.
func (x *wire) carry(stop <-chan struct{}, peers []*peer) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		x.mu.Lock()
		n := rand.IntN(len(x.waiting) + 1)
		part := x.waiting[:n:n]
		x.waiting = x.waiting[n:]
		x.mu.Unlock()
		for range n {
			<-x.room
		}
		if rand.IntN(50) == 0 {
			for _, p := range peers {
				p.session.Restored()
			}
			continue
		}
		if n > 0 {
			x.w.deliver(part...)
		}
	}
}

// heard is a frame that a peer reads.
type heard struct {
	Type, RequestID string
	Epoch           string
	Offset          uint64
	Recovered       *bool
	Replayed        bool
}

// joins subscribes again and again, in all ways, and sees that each message comes once and
// in order.
func joins(p *peer, rounds int) error {
	read := func() (f heard, err error) {
		if err := p.Conn.SetReadDeadline(time.Now().Add(conntest.Patience)); err != nil {
			return f, err
		}
		_, text, err := conntest.ReadFrame(p.In)
		if err != nil {
			return f, err
		}
		return f, json.Unmarshal(text, &f)
	}
	at := uint64(0)
	subscribed := false
	for round := range rounds {
		fields, last := "", uint64(0)
		switch rand.IntN(3) {
		case 0:
			last = 1 + rand.Uint64N(50)
			fields = fmt.Sprintf(`,"last":%d`, last)
		case 1:
			fields = since("E1", int(at))
		}
		if subscribed { // it goes on meanwhile
			last, fields = 0, ""
		}
		if _, err := p.Conn.Write(text(fmt.Sprintf(`{"type":"subscribe","channel":"%s","requestId":"s"%s}`, logA, fields))); err != nil {
			return err
		}
		ack, answered := heard{}, false
		for more := rand.IntN(30); !answered || at < ack.Offset || more > 0; {
			f, err := read()
			switch {
			case err != nil:
				return fmt.Errorf("round %d, %q: %w", round, fields, err)
			case f.Type == "ack":
				ack, answered = f, true
				if f.Recovered != nil && !*f.Recovered {
					return fmt.Errorf("round %d: not recovered since %d at %d", round, at, f.Offset)
				}
				switch {
				case subscribed || strings.Contains(fields, "since"):
				case last > 0:
					at = f.Offset - min(last, f.Offset)
				default:
					at = f.Offset
				}
			case f.Type != "message" || f.Offset != at+1 || answered && f.Replayed != (fields != "" && f.Offset <= ack.Offset):
				return fmt.Errorf("round %d, %q: got %+v behind %d, the ack was of %d", round, fields, f, at, ack.Offset)
			default:
				at = f.Offset
				more--
			}
		}
		if subscribed = rand.IntN(3) == 0; subscribed {
			continue
		}
		if _, err := p.Conn.Write(text(`{"type":"unsubscribe","channel":"` + logA + `","requestId":"u"}`)); err != nil {
			return err
		}
		for f, err := read(); f.RequestID != "u"; f, err = read() {
			if err != nil || f.Offset != at+1 {
				return fmt.Errorf("round %d, before the end: got %+v behind %d, %v", round, f, at, err)
			}
			at = f.Offset
		}
	}
	return nil
}

// Subscribers join at full rate in all ways, while messages are late and get lost between
// Redis and the node: no gap, no repetition.
func TestJoinsAtFullRate(t *testing.T) {
	w, m := remembering(t, 1_000_000)
	x := &wire{w: w, m: m, room: make(chan struct{}, 20)}
	peers := make([]*peer, 8)
	for i := range peers {
		peers[i] = w.connect(w.remembers(fmt.Sprintf("device-%d", i)))
	}
	stop := make(chan struct{})
	var all, joining sync.WaitGroup
	all.Go(func() { x.publish(stop) })
	all.Go(func() { x.carry(stop, peers) })
	for _, p := range peers {
		joining.Go(func() {
			if err := joins(p, 100); err != nil {
				t.Error(err)
			}
		})
	}
	joining.Wait()
	close(stop)
	all.Wait()
}

package session

import (
	"errors"
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn/conntest"
	"fleetwire/pkg/envelope"
)

const goesOn = `{"type":"error","requestId":"r","code":"backend_error","message":"the connection to Redis was lost; the subscription goes on as it was, try again","outcome":"none"}`

// subscribingTo returns the frames that subscribe to a name or pattern, and unsubscribe.
func subscribingTo(name string) (subscribe, unsubscribe []byte) {
	return text(`{"type":"subscribe","channel":"` + name + `","requestId":"r"}`), text(`{"type":"unsubscribe","channel":"` + name + `","requestId":"u"}`)
}

// hears has a message come, which the peer gets, once.
func (w *world) hears(p *peer) {
	w.t.Helper()
	d := delivery("devices/a", "1")
	w.opt.Hub.Broadcast([]envelope.Delivery{d})
	p.Want(aText(string(d.Frame[2:])), alive)
}

func eachSubscription(t *testing.T, test func(t *testing.T, w *world, p *peer, subscribe, unsubscribe []byte)) {
	for _, name := range []string{"devices/a", "devices/*"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.lists.eager = true
			subscribe, unsubscribe := subscribingTo(name)
			test(t, w, w.connect(w.grant("device-1")), subscribe, unsubscribe)
		})
	}
}

// A subscribe fails after the peer has unsubscribed and subscribed again: it takes nothing
// from the newer subscription.
func TestLateFailureTakesNoNewerSubscription(t *testing.T) {
	eachSubscription(t, func(t *testing.T, w *world, p *peer, subscribe, unsubscribe []byte) {
		w.interest.set(nil, true)
		p.Write(subscribe, unsubscribe)
		p.Want(anAck("u"), alive)
		w.interest.set(nil, false)
		p.Write(subscribe)
		p.Want(anAck("r"))
		w.interest.release(errors.New("lost"))
		p.Want(anError(protocol.BackendError, "r"), alive)
		w.hears(p)
	})
}

// A peer subscribes again, and that fails: the subscription that it has goes on.
func TestFailedRenewal(t *testing.T) {
	eachSubscription(t, func(t *testing.T, w *world, p *peer, subscribe, unsubscribe []byte) {
		p.Write(subscribe)
		p.Want(anAck("r"))
		w.interest.set(nil, true)
		p.Write(subscribe)
		p.Want(alive)
		w.interest.release(errors.New("lost"))
		p.Want(aText(goesOn), alive)
		w.hears(p)
		p.Write(unsubscribe)
		p.Want(anAck("u"))
		w.opt.Hub.Broadcast([]envelope.Delivery{delivery("devices/a", "2")})
		p.Want(alive)
	})
}

// So it does in a channel that remembers, and the next subscribe replays.
func TestFailedRenewalOfAFollower(t *testing.T) {
	w, m := remembering(t, 10)
	p := follows(w, m, "")
	w.interest.set(nil, true)
	p.asks("r", `,"last":1`)
	p.Want(alive)
	w.interest.release(errors.New("lost"))
	p.Want(aText(goesOn), alive)
	w.happens(m, 4, 4)
	p.wants(live(4, 4))
	w.interest.set(nil, false)
	p.asks("r", `,"last":1`)
	p.wants(one(ackAt("r", "E1", 4)), replayed(4, 4))
}

// Two subscribes of one name are under way. One fails, the other does not: the peer is
// subscribed. Both fail: it is not.
func TestOneOfTwoSubscribesFails(t *testing.T) {
	eachSubscription(t, func(t *testing.T, w *world, p *peer, subscribe, unsubscribe []byte) {
		lost := errors.New("lost")
		for _, errs := range [][2]error{{lost, nil}, {nil, lost}, {lost, lost}} {
			w.interest.set(nil, true)
			p.Write(subscribe, subscribe)
			p.Want(alive)
			w.interest.mu.Lock()
			held := w.interest.held
			w.interest.held = nil
			w.interest.mu.Unlock()
			subscribed := false
			for i, done := range held {
				done(errs[i])
				if subscribed = subscribed || errs[i] == nil; errs[i] == nil {
					p.Want(anAck("r"))
				} else {
					p.Want(anError(protocol.BackendError, "r"))
				}
			}
			if subscribed {
				w.hears(p)
			}
			w.interest.set(nil, false)
			p.Write(unsubscribe)
			p.Want(anAck("u"), alive)
			for _, name := range []string{"devices/a", "devices/*"} {
				if n := w.interest.subscribersOf(name); n != 0 {
					t.Fatalf("%v: %s has %d subscribers", errs, name, n)
				}
			}
		}
	})
}

// Messages that wait while a subscribe is under way do not come behind the ack of an
// unsubscribe.
func TestNothingBehindTheUnsubscribe(t *testing.T) {
	for name, end := range map[string]func(w *world){
		"confirmed": func(w *world) { w.interest.release(nil) },
		"failed":    func(w *world) { w.interest.release(errors.New("lost")) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.lists.eager = true
			p := w.connect(w.grant("device-1"))
			subscribe, unsubscribe := subscribingTo("devices/a")
			w.interest.set(nil, true)
			p.Write(subscribe)
			p.Want(alive)
			w.opt.Hub.Broadcast([]envelope.Delivery{delivery("devices/a", "1")})
			p.Write(unsubscribe)
			p.Want(anAck("u"))
			end(w)
			want := []conntest.Want{anAck("r"), alive}
			if name == "failed" {
				want[0] = anError(protocol.BackendError, "r")
			}
			p.Want(want...)
		})
	}
}

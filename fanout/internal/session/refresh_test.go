package session

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn/conntest"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

// answerHeld has what Redis was asked answered, in this order.
func (w *world) answerHeld(order ...int) {
	w.t.Helper()
	w.mu.Lock()
	held := w.held
	w.held = nil
	w.mu.Unlock()
	if len(held) != len(order) {
		w.t.Fatalf("Redis was asked %d times, want %d", len(held), len(order))
	}
	for _, i := range order {
		held[i]()
	}
}

func (w *world) holdRevoked(hold bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds, w.revokedErr = hold, err
}

// The former credential is in force until Redis has said that the new token was not
// revoked, and nothing else waits for that.
func TestRefreshAsksRedis(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	before := p.session.Grant()
	w.holdRevoked(true, nil)
	p.Write(refresh(w.token("sk_test", "device-1", "fleets/*")))
	p.Want(alive)
	p.Write(text(`{"type":"subscribe","channel":"devices/a","requestId":"s"}`))
	p.Want(anAck("s"))
	if p.session.Grant() != before {
		t.Error("the new grant is in force before Redis has answered")
	}
	w.answerHeld(0)
	p.Want(aText(`{"type":"ack","requestId":"f","expiresAt":` + fmt.Sprint(w.clock.in(time.Hour).Unix()) + `,"unsubscribed":["devices/a"]}`))

	w.holdRevoked(false, errors.New("connection reset"))
	before = p.session.Grant()
	p.Write(refresh(w.token("sk_test", "device-1")))
	p.Want(anError(protocol.BackendError, "f"), alive)
	if p.session.Grant() != before {
		t.Error("the grant has changed, though Redis did not answer")
	}
}

// Whatever the order of the answers, the last refresh that was granted holds.
func TestRefreshesAnsweredOutOfOrder(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	w.holdRevoked(true, nil)
	p.Write(refresh(w.token("sk_test", "device-1", "fleets/*")))
	p.Write(refresh(w.token("sk_test", "device-1", "devices/b")))
	p.Want(alive)
	w.answerHeld(1, 0)
	for range 2 {
		p.Want(aText(`{"type":"ack","requestId":"f","expiresAt":` + fmt.Sprint(w.clock.in(time.Hour).Unix()) + `,"unsubscribed":[]}`))
	}
	if g := p.session.Grant(); g.Check(apps.ActionSubscribe, "devices/b") != nil || g.Check(apps.ActionSubscribe, "fleets/f") == nil {
		t.Errorf("the grant is for %v", g.Patterns)
	}
	// One that is refused does not count.
	since := w.clock.in(0)
	p.Write(refresh(w.token("sk_test", "device-1", "fleets/*")))
	token, _, err := auth.Mint(w.key, auth.TokenRequest{Peer: "device-1", TTL: 2 * time.Hour}, w.clock.in(-time.Hour))
	check(t, err)
	since = since.Add(-time.Minute)
	w.revokedSince.Store(&since)
	p.Write(refresh(token))
	p.Want(alive)
	w.answerHeld(1, 0)
	p.Want(anError(protocol.InvalidToken, "f"))
	p.Want(aText(`{"type":"ack","requestId":"f","expiresAt":` + fmt.Sprint(w.clock.in(time.Hour).Unix()) + `,"unsubscribed":[]}`))
	if g := p.session.Grant(); g.Check(apps.ActionSubscribe, "fleets/f") != nil {
		t.Errorf("the grant is for %v", g.Patterns)
	}
}

// The time of day is set, on the node: nobody has been silent for longer, and nobody's
// rate is another.
func TestTimeOfDayIsSet(t *testing.T) {
	for name, step := range map[string]time.Duration{"ahead": time.Hour, "back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.connect(w.limited("device-1", 1, 5))
			p.Write(text(ping))
			p.Read()
			w.clock.step(step)
			p.session.KeepAlive(w.clock.ticks())
			p.Want(conntest.WantPing)
			for range 2 {
				w.clock.advance(5 * time.Second) // the bucket is full again
				for range 4 {
					p.Want(alive)
				}
			}
			// And limits hold as ever.
			w.clock.advance(protocol.InactivityLimit)
			p.session.KeepAlive(w.clock.ticks())
			p.Want(aClose(4000, "nothing heard from you for 75 s"))
		})
	}
	t.Run("rate", func(t *testing.T) {
		w := newWorld(t)
		p := w.connect(w.limited("device-1", 1, 5))
		for range 5 {
			p.Write(text(ping))
			p.Read()
		}
		w.clock.step(time.Hour) // fills no bucket
		p.Write(text(ping))
		p.Want(aClose(4011, "over 1 frames per second (burst 5)"))
	})
}

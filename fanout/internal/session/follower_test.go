package session

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn/conntest"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn/redistest"
)

// follows connects a peer that is subscribed and has had everything up to 3.
func follows(w *world, m *memory, fields string) *peer {
	w.t.Helper()
	m.misses(1, 2)
	p := w.connect(w.remembers("device-1"))
	p.asks("r", fields)
	if strings.Contains(fields, "since") {
		p.Want(ackSince("r", "E1", 2, true))
	} else {
		p.Want(ackAt("r", "E1", 2))
	}
	w.happens(m, 3, 3)
	p.wants(live(3, 3))
	return p
}

// Messages that the node has missed come before those behind them, whether the node
// notices by the next message or because the link is there again.
func TestRefill(t *testing.T) {
	for _, fields := range []string{"", since("E1", 2)} {
		t.Run("fields "+fields, func(t *testing.T) {
			w, m := remembering(t, 10)
			p := follows(w, m, fields)
			m.misses(4, 6)
			w.happens(m, 7, 8)
			p.wants(live(4, 8))
			m.misses(9, 9)
			p.session.Restored()
			p.wants(live(9, 9))
			p.session.Restored()
			w.happens(m, 10, 11)
			p.wants(live(10, 11))
		})
	}
}

// Peers that have asked for history once are told of messages that are forgotten by then.
func TestGap(t *testing.T) {
	for fields, want := range map[string][]want{"": nil, since("E1", 2): {gap("E1", 7)}, `,"last":0`: {gap("E1", 7)}} {
		w, m := remembering(t, 5)
		p := follows(w, m, fields)
		m.misses(4, 12)
		p.session.Restored()
		p.wants(want, live(8, 12))
		w.happens(m, 13, 13)
		p.wants(live(13, 13))
	}
}

// Messages that the node holds make a gap smaller.
func TestGapIsAsSmallAsCanBe(t *testing.T) {
	w, m := remembering(t, 1)
	p := follows(w, m, since("E1", 2))
	m.misses(4, 5)
	m.close()
	w.happens(m, 6, 6)
	<-m.asked
	w.happens(m, 7, 9) // before Redis reads: 9 alone is left
	m.gate <- struct{}{}
	p.wants(one(gap("E1", 5)), live(6, 9))
}

// A new epoch is a gap, too: the peer may have had its messages under other offsets.
func TestGapOfAnEpoch(t *testing.T) {
	w, m := remembering(t, 10)
	p := follows(w, m, since("E1", 2))
	m.begin(logA, "E2")
	m.misses(1, 2)
	w.happens(m, 3, 4)
	p.wants(one(gap("E2", 2)), live(3, 4))
	m.begin(logA, "E3")
	p.session.Restored()
	p.wants(one(gap("E3", 0)))
	w.happens(m, 1, 1)
	p.wants(live(1, 1))
}

// A message of an epoch that is over reaches the node late. It is dropped, and no reason
// to read for ever.
func TestLateMessageOfAnotherEpoch(t *testing.T) {
	w, m := remembering(t, 10)
	p := follows(w, m, "")
	late := m.publish(logA, "sender", 0, "4")
	m.begin(logA, "E2")
	p.session.Restored()
	p.Want(alive)
	w.deliver(late)
	p.Want(alive)
	w.happens(m, 1, 2)
	p.wants(live(1, 2))
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := len(m.reads); n > 4 {
		t.Errorf("%d reads", n)
	}
}

// A connection's own message is its ack's affair: it does not come, live or after an
// outage, and is no gap. When the connection asks for it, it comes.
func TestOwnMessages(t *testing.T) {
	w, m := remembering(t, 10)
	p := follows(w, m, since("E1", 2))
	other := w.connect(w.remembers("device-2"))
	other.asks("r", "")
	other.Want(ackAt("r", "E1", 3))
	own := func(i int) envelope.Delivery { return m.publish(logA, "sender", p.session.ID(), fmt.Sprint(i)) }
	w.deliver(own(4))
	w.happens(m, 5, 5)
	p.wants(live(5, 5))
	own(6)
	m.misses(7, 7)
	own(8)
	p.session.Restored()
	p.wants(live(7, 7))
	w.happens(m, 9, 9)
	p.wants(live(9, 9))
	other.wants(live(4, 9))
	p.asks("again", `,"last":6`)
	p.Want(ackAt("again", "E1", 9))
	p.wants(replayed(4, 9))
}

// Another process's connections have the same numbers.
func TestOwnMessagesAreOfThisProcess(t *testing.T) {
	w, m := remembering(t, 10)
	p := follows(w, m, "")
	m.publish(logA, "sender", p.session.ID(), "4")
	m.mu.Lock()
	m.channels[logA].messages[3].ID.Process++
	m.mu.Unlock()
	p.session.Restored()
	p.wants(live(4, 4))
}

// Protocol §9: behind the ack come the replay, the waiting commands, and live messages.
func TestReplayComesBeforeCommands(t *testing.T) {
	w, m := remembering(t, 10)
	w.commands.late = true
	m.misses(1, 3)
	p := w.connect(w.remembers("device-1"))
	p.asks("r", `,"last":2`)
	p.Want(ackAt("r", "E1", 3))
	p.wants(replayed(2, 3))
	w.happens(m, 4, 5)
	p.Want(alive) // and nothing before it
	w.commands.enter()
	w.happens(m, 6, 6)
	p.wants(live(4, 6))
	if got := strings.Join(w.commands.entered, "|"); got != "app_test "+logA+" device-1" {
		t.Errorf("entered %s", got)
	}
}

func (p *peer) follower() *follower {
	p.session.scope.mu.Lock()
	defer p.session.scope.mu.Unlock()
	return p.session.scope.subscriptions.follower(logA)
}

// HOSTILE: a channel gets more while its subscriber waits than a node may keep. The node
// lets go of it, and reads it when the subscriber can have it.
func TestHeldMessagesHaveABound(t *testing.T) {
	w, m := remembering(t, 1000)
	w.commands.late = true
	p := w.connect(w.remembers("device-1"))
	p.asks("r", "")
	p.Want(ackAt("r", "E1", 0), alive)
	large := `"` + strings.Repeat("x", 20_000) + `"`
	for range 200 { // four times what a connection may have unsent
		w.deliver(m.publish(logA, "sender", 0, large))
		f := p.follower()
		f.mu.Lock()
		bytes, messages := f.heldBytes, len(f.held)
		f.mu.Unlock()
		if bytes > maxHeld+len(large) || messages > 4 {
			t.Fatalf("%d bytes of %d messages are held", bytes, messages)
		}
	}
	w.commands.enter()
	for i := range 200 {
		p.Want(aText(fmt.Sprintf(`{"type":"message","channel":"%s","from":"sender","data":%s,"offset":%d}`, logA, large, i+1)))
	}
	p.Want(alive)
}

// Subscribing again answers with the position, and replays again if that is asked for.
// Messages that the subscription owes come all the same.
func TestSubscribeAgain(t *testing.T) {
	w, m := remembering(t, 10)
	p := follows(w, m, "")
	p.asks("plain", "")
	p.wants(one(ackAt("plain", "E1", 3)))
	p.asks("last", `,"last":2`)
	p.wants(one(ackAt("last", "E1", 3)), replayed(2, 3))
	p.asks("since", since("E1", 0))
	p.wants(one(ackSince("since", "E1", 3, true)), replayed(1, 3))
	m.misses(4, 6) // they are on their way
	p.asks("owed", `,"last":1`)
	p.wants(one(ackAt("owed", "E1", 6)), replayed(4, 6))
	m.misses(7, 8)
	p.asks("owed", since("E1", 7))
	p.wants(one(ackSince("owed", "E1", 8, true)), replayed(7, 8))
	m.misses(9, 9)
	p.asks("plain", "")
	p.wants(one(ackAt("plain", "E1", 9)))
	w.happens(m, 10, 10)
	p.wants(live(9, 10))
}

// Each subscribe that waits is answered. A connection that goes on asking is not read
// meanwhile.
func TestSubscribesWaitForTheirAnswers(t *testing.T) {
	w, m := remembering(t, 10)
	m.misses(1, 1)
	m.close()
	p := w.connect(w.remembers("device-1"))
	for i := range 20 {
		p.asks(fmt.Sprint(i), `,"last":1`)
	}
	<-m.asked
	f := p.follower()
	redistest.Eventually(t, conntest.Patience, "the connection is not read", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.pending > maxAsks+1 {
			t.Fatalf("%d subscribes wait", f.pending)
		}
		return f.paused
	})
	m.open()
	answered := map[string]bool{} // in any order
	for range 20 {
		_, ack := p.Read()
		answered[string(ack)] = true
		p.Want(replayed(1, 1)...)
	}
	if len(answered) != 20 {
		t.Errorf("answers %v", answered)
	}
	p.Want(alive)
}

// An unsubscribe ends the replay: the messages that were not written do not come.
func TestUnsubscribeDuringTheReplay(t *testing.T) {
	w, m := remembering(t, 100)
	m.misses(1, 5)
	m.close()
	p := w.connect(w.remembers("device-1"))
	p.asks("r", `,"last":5`)
	<-m.asked
	p.Write(text(`{"type":"unsubscribe","channel":"` + logA + `","requestId":"u"}`))
	p.Want(anAck("r"), anAck("u"))
	m.gate <- struct{}{}
	p.Want(alive)
	m.open()
	w.happens(m, 6, 6)
	p.asks("again", `,"last":1`)
	p.wants(one(ackAt("again", "E1", 6)), replayed(6, 6))
	if got := w.interest.subscribersOf(logA); got != 1 {
		t.Errorf("%d subscribers", got)
	}
}

// A subscribe is answered also if the unsubscribe comes before Redis has confirmed it.
func TestUnsubscribeBeforeTheSubscription(t *testing.T) {
	w, _ := remembering(t, 10)
	w.interest.set(nil, true)
	p := w.connect(w.remembers("device-1"))
	p.asks("r", `,"last":1`)
	p.Write(text(`{"type":"unsubscribe","channel":"` + logA + `","requestId":"u"}`))
	p.Want(anAck("u"))
	w.interest.release(nil)
	p.Want(anAck("r"), alive)
}

// Subscribes that Redis confirms after the read of the first one has failed are refused, too.
func TestSubscribesBehindAFailedRead(t *testing.T) {
	w, m := remembering(t, 10)
	m.err = errors.New("away")
	m.close()
	p := w.connect(w.remembers("device-1"))
	p.asks("r", "")
	<-m.asked
	w.interest.set(nil, true)
	p.asks("late", "")
	p.Want(alive)
	m.gate <- struct{}{}
	p.Want(anError(protocol.BackendError, "r"))
	w.interest.release(nil)
	p.Want(anError(protocol.BackendError, "late"), alive)
	if n := w.interest.subscribersOf(logA); n != 0 {
		t.Errorf("%d subscribers", n)
	}
}

// A subscribe fails late and takes nothing from the subscription that the peer has by then.
func TestSubscribeFailsAfterTheUnsubscribe(t *testing.T) {
	w, m := remembering(t, 10)
	m.misses(1, 1)
	p := w.connect(w.remembers("device-1"))
	w.interest.set(nil, true)
	p.asks("late", "")
	p.Write(text(`{"type":"unsubscribe","channel":"` + logA + `","requestId":"u"}`))
	p.Want(anAck("u"), alive)
	w.interest.set(nil, false)
	p.asks("again", "")
	p.wants(one(ackAt("again", "E1", 1)))
	w.interest.release(errors.New("lost"))
	p.Want(anError(protocol.BackendError, "late"), alive)
	w.happens(m, 2, 2)
	p.wants(live(2, 2))
}

// A subscribe fails, and another one of the channel, which waits for its read, does not.
func TestSubscribeFailsBesideAnother(t *testing.T) {
	w, m := remembering(t, 10)
	m.close()
	p := w.connect(w.remembers("device-1"))
	p.asks("first", `,"last":1`)
	<-m.asked
	w.interest.set(nil, true)
	p.asks("second", `,"last":1`)
	p.Want(alive)
	w.interest.release(errors.New("lost"))
	p.Want(anError(protocol.BackendError, "second"), alive)
	m.open()
	p.wants(one(ackAt("first", "E1", 0)))
	w.interest.release(errors.New("lost"))
	p.Want(alive)
	w.happens(m, 1, 1)
	p.wants(live(1, 1))
}

// Redis does not answer: a new subscription is refused, one that is there goes on, and a
// refill is tried again.
func TestHistoryIsNotRead(t *testing.T) {
	w, m := remembering(t, 10)
	p := follows(w, m, "")
	fails := func(err error) {
		m.mu.Lock()
		m.err = err
		m.mu.Unlock()
	}
	fails(errors.New("away"))
	other := w.connect(w.remembers("device-2"))
	other.asks("r", `,"last":1`)
	other.Want(aText(`{"type":"error","requestId":"r","code":"backend_error","message":"Redis does not answer; not subscribed, try again","outcome":"none"}`))
	p.asks("again", `,"last":1`)
	p.Want(aText(`{"type":"error","requestId":"again","code":"backend_error","message":"Redis does not answer; nothing is replayed, and the subscription goes on as it was; try again","outcome":"none"}`))
	w.happens(m, 4, 4)
	p.wants(live(4, 4))
	if got := w.interest.subscribersOf(logA); got != 1 {
		t.Errorf("%d subscribers", got)
	}
	m.misses(5, 5)
	p.session.Restored()
	w.happens(m, 6, 6)
	p.Want(alive)
	fails(nil)
	p.wants(live(5, 6))
}

// A message that both a name and a wildcard match comes once, whatever of it the replay
// has had.
func TestReplayAndWildcard(t *testing.T) {
	w, m := remembering(t, 10)
	m.misses(1, 2)
	p := w.connect(w.remembers("device-1"))
	p.Write(text(`{"type":"subscribe","channel":"devices/log/*","includeSenderMetadata":true}`))
	p.Want(alive)
	m.close()
	p.asks("r", `,"last":2`)
	<-m.asked
	both := m.publish(logA, "sender", 0, "3")
	both.FromMetadata = []byte(`{}`)
	late := m.publish(logA, "sender", 0, "4")
	w.deliver(both)
	m.gate <- struct{}{}
	p.wants(one(ackAt("r", "E1", 4)), replayed(3, 4))
	w.deliver(late)
	w.happens(m, 5, 5)
	p.wants(live(5, 5))
}

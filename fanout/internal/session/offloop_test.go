package session

import (
	"sync"
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/publish"
)

// slowVerify makes refreshes wait. begun has one for each that is being checked.
func (w *world) slowVerify() (begun chan struct{}, end func()) {
	begun, ended := make(chan struct{}, 100), make(chan struct{})
	verify := *w.verify.Load()
	w.verifyWith(func(token, origin string) (*auth.Grant, *protocol.CloseError) {
		begun <- struct{}{}
		<-ended
		return verify(token, origin)
	})
	end = sync.OnceFunc(func() { close(ended) })
	w.t.Cleanup(end)
	return begun, end
}

// HOSTILE: a token takes long to check. The connection's further frames wait for it, in
// order; the other connections of its loop do not.
func TestTokensAreCheckedOffTheLoop(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	var others []*peer
	for range 10 {
		others = append(others, w.connect(w.grant("device-2")))
	}
	begun, end := w.slowVerify()
	p.Write(join(refresh("no token"), text(`{"type":"publish","channel":"devices/a","data":1}`)), text(ping))
	<-begun
	for _, o := range others {
		o.Want(alive)
	}
	if n := len(w.publisher.published()); n != 0 {
		t.Errorf("%d messages published while the token is checked", n)
	}
	end()
	p.Want(anError(protocol.InvalidToken, "f"), aText(pong))
	if n := len(w.publisher.published()); n != 1 {
		t.Errorf("%d messages published, want 1", n)
	}
}

// A publisher may pause the connection that a message comes from: its further frames wait,
// and those of others do not.
func TestPublisherPausesTheSender(t *testing.T) {
	w := newWorld(t)
	senders := make(chan publish.Sender, 1)
	w.publisher.answer = func(m publish.Message) (publish.Result, *protocol.Error) {
		if string(m.Data) == "1" {
			m.Sender.Pause()
			senders <- m.Sender
		}
		return publish.Result{}, nil
	}
	p, other := w.connect(w.grant("device-1")), w.connect(w.grant("device-1"))
	p.Write(join(text(`{"type":"publish","channel":"devices/a","data":1,"requestId":"1"}`), text(`{"type":"publish","channel":"devices/a","data":2,"requestId":"2"}`)))
	sender := <-senders
	p.Want(anAck("1"))
	other.Want(alive)
	if n := len(w.publisher.published()); n != 1 {
		t.Errorf("%d messages published while the connection is paused, want 1", n)
	}
	sender.Resume()
	p.Want(anAck("2"))
}

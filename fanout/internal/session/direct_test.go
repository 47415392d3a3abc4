package session

import (
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/envelope"
)

func directBody(data string) string {
	return string(protocol.AppendDirect(nil, "device-7", nil, []byte(data)))
}

// send hands a direct message to the peer's connections.
func (w *world) send(peer, data string) {
	w.opt.Hub.Broadcast([]envelope.Delivery{{
		Kind: envelope.KindPeer, App: "app_test", Channel: peer,
		Frame: protocol.AppendTextFrame(nil, []byte(directBody(data))),
	}})
}

// awaiting is a registered connection that has subscribed to these channels, and
// not been shown who is there.
func (w *world) awaiting(channels ...string) *peer {
	w.t.Helper()
	withSnapshots(w)
	w.lists.late = true
	p := w.connect(w.grant("device-1"))
	p.register()
	for _, name := range channels {
		p.Write(text(`{"type":"subscribe","requestId":"` + name + `","channel":"` + name + `"}`))
		p.Want(anAck(name))
	}
	return p
}

// Protocol §4.3: a newcomer has been shown who is there before anybody's direct
// message comes. Everything else goes on.
func TestDirectMessagesWaitForTheSnapshot(t *testing.T) {
	w := newWorld(t)
	p := w.awaiting("devices/a")
	w.send("device-1", "1")
	w.send("device-1", "2")
	d := delivery("devices/a", "3")
	w.opt.Hub.Broadcast([]envelope.Delivery{d})
	p.Want(aText(string(d.Frame[2:])), alive)
	w.lists.show()
	p.Want(aText(emptySnapshot), aText(directBody("1")), aText(directBody("2")), alive)
	w.send("device-1", "4")
	p.Want(aText(directBody("4")), alive)
}

func TestDirectMessagesWaitForTheLastSnapshot(t *testing.T) {
	w := newWorld(t)
	p := w.awaiting("devices/a", "devices/b")
	w.send("device-1", "1")
	w.lists.show()
	p.Want(aText(emptySnapshot), alive)
	w.lists.show()
	p.Want(aText(emptySnapshot), aText(directBody("1")), alive)
}

// Nothing waits for a snapshot that will not come, or for too long.
func TestWhatEndsTheWaitForASnapshot(t *testing.T) {
	large := `"` + strings.Repeat("x", 60<<10) + `"`
	for _, tt := range []struct {
		name string
		end  func(w *world, p *peer)
		want []want
	}{
		{"the channel is left", func(_ *world, p *peer) {
			p.Write(text(`{"type":"unsubscribe","requestId":"u","channel":"devices/a"}`))
		}, []want{aText(directBody("1")), anAck("u"), alive}},
		{"the action is lost", func(w *world, p *peer) {
			without := *p.session.Grant()
			without.Actions = 0
			p.session.Regrant(&without)
			p.session.Flush()
		}, []want{aText(directBody("1")), alive}},
		{"it is too much", func(w *world, _ *peer) {
			w.send("device-1", large)
			w.send("device-1", "3")
		}, []want{aText(directBody("1")), aText(directBody(large)), aText(directBody("3")), alive}},
		{"the connection is closed", func(_ *world, p *peer) {
			p.session.Close(protocol.Closef(protocol.CloseGoingAway, ""))
		}, []want{aText(directBody("1")), aClose(1001, protocol.CloseGoingAway.Reason())}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			p := w.awaiting("devices/a")
			w.send("device-1", "1")
			tt.end(w, p)
			p.Want(tt.want...)
		})
	}
}

// After a wait was given up, a new subscription makes direct messages wait again.
func TestASnapshotAfterTheWait(t *testing.T) {
	w := newWorld(t)
	p := w.awaiting("devices/a")
	large := `"` + strings.Repeat("x", 60<<10) + `"`
	w.send("device-1", large)
	w.send("device-1", large) // too much to wait
	p.Want(aText(directBody(large)), aText(directBody(large)))
	w.send("device-1", "9")
	p.Want(aText(directBody("9")), alive)
	w.lists.show()
	p.Want(aText(emptySnapshot), alive)

	p.Write(text(`{"type":"subscribe","requestId":"b","channel":"devices/b"}`))
	p.Want(anAck("b"))
	w.send("device-1", "2")
	p.Want(alive)
	w.lists.show()
	p.Want(aText(emptySnapshot), aText(directBody("2")), alive)
}

// Whoever does not watch has nothing to wait for.
func TestDirectMessagesWithoutPresence(t *testing.T) {
	w := newWorld(t)
	withSnapshots(w)
	w.lists.late = true
	p := w.connect(w.grant("device-1"))
	p.register()
	p.Write(text(`{"type":"subscribe","requestId":"1","channel":"devices/*"}`))
	p.Want(anAck("1"))
	w.send("device-1", "1")
	p.Want(aText(directBody("1")), alive)
}

package watchers

import (
	"errors"
	"slices"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/envelope"
)

// joining has, by peer, the small channels (see few) that the peer has joined in a window
// that is open, so that its join is not shown yet. A channel has few such peers at most.
type joining map[joiningKey][]*view

type joiningKey struct{ app, peer string }

func (j joining) add(v *view, peer string) {
	key := joiningKey{v.id.App, peer}
	j[key] = append(j[key], v)
	v.joined = append(v.joined, peer)
}

// left takes out a peer that has left within the window, if it is there.
func (j joining) left(v *view, peer string) {
	if i := slices.Index(v.joined, peer); i >= 0 {
		j.forget(v, v.joined[i:i+1])
		v.joined = slices.Delete(v.joined, i, i+1)
	}
}

func (j joining) forget(v *view, peers []string) {
	for _, peer := range peers {
		key := joiningKey{v.id.App, peer}
		views := j[key]
		i := slices.Index(views, v)
		if views = slices.Delete(views, i, i+1); len(views) > 0 {
			j[key] = views
		} else {
			delete(j, key)
		}
	}
}

// Precede is called with direct messages before their peers get them. Where the
// sender has joined a small channel within the window that is open, those who watch it
// are shown that at once: a peer that hears from a newcomer has been shown that it is
// there. The other changes of the window gather on.
func (ws *Watchers) Precede(batch []envelope.Delivery) {
	for i := range batch {
		if d := &batch[i]; d.Kind == envelope.KindPeer {
			ws.precede(d)
		}
	}
}

func (ws *Watchers) precede(d *envelope.Delivery) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.joining) == 0 {
		return // nearly always
	}
	from := sender(d.Frame)
	for _, v := range slices.Clone(ws.joining[joiningKey{d.App, from}]) {
		// The peer may be in a frame that is being encoded: that is of more than
		// large changes, and still takes some milliseconds at most.
		for v.closing != nil && len(v.members) <= few {
			ws.closed.Wait()
		}
		if len(v.members) <= few {
			ws.showJoined(v, from)
		}
	}
}

// showJoined shows that a peer has joined, if that waits for the end of the window.
func (ws *Watchers) showJoined(v *view, peer string) {
	if !slices.Contains(v.joined, peer) {
		return
	}
	ws.joining.left(v, peer)
	c := &closing{changes: v.changes.take(peer), announced: v.announced.take(peer), patterns: ws.patterns[v.id.App]}
	c.encode(v.id.Channel)
	ws.hand(v, c)
	ws.flushing.Set()
}

var errFound = errors.New("found")

// sender is who a direct frame is from.
func sender(frame []byte) (from string) {
	header := 2
	switch frame[1] { // RFC 6455 §5.2
	case 126:
		header = 4
	case 127:
		header = 10
	}
	_ = protocol.ScanObject(frame[header:], func(name string, value []byte) error {
		if name != "from" {
			return nil
		}
		from, _ = protocol.DecodeString(value) // a peer id, which is ASCII
		return errFound                        // the rest may be long
	})
	return from
}

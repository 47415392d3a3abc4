package watchers

import (
	"errors"
	"slices"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/protocol"
)

// Precede is called with direct messages before their peers get them. Where the
// sender has joined a small channel within the window that is open (see few), the
// window ends: a peer that hears from a newcomer has been shown that it is there.
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
	if len(ws.now)+len(ws.due) == 0 {
		return // nearly always
	}
	from := sender(d.Frame)
	var ending []*view
	end := func(v *view) bool {
		before, changed := v.was[from]
		if v.id.App != d.App || !changed || before.present || len(v.members) > few || v.encoding {
			return false
		}
		ending = append(ending, v)
		return true
	}
	ws.now = slices.DeleteFunc(ws.now, end)
	ws.due = slices.DeleteFunc(ws.due, end)
	for _, v := range ending {
		ws.close(v)
		ws.flushing.Set()
	}
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

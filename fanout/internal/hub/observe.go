package hub

import (
	"time"

	"fleetwire/pkg/envelope"
)

// Observer hears of what Broadcast does, from the goroutine that calls it. It must not block.
type Observer interface {
	// Written is called with a message that tells when it was taken (envelope.Delivery.TakenAt),
	// when it has been written to the last of the connections that get it. began is when the hub
	// came to it. A connection whose socket is full gets it later.
	Written(d *envelope.Delivery, began time.Time, connections int)
}

// Observe has o hear of messages. Set it before the first Broadcast.
func (h *Hub) Observe(o Observer) { h.observer = o }

// note adds those of a run to timed that tell when they were taken.
func (p *progress) note(run []envelope.Delivery, receivers int) {
	for i := range run {
		if _, ok := run[i].TakenAt(); ok {
			p.timed = append(p.timed, timed{run[i], time.Now(), receivers})
		}
	}
}

// timed is a message that tells when it was taken.
type timed struct {
	envelope.Delivery
	began       time.Time
	connections int
}

// observed tells the observer of a part of a batch that is finished.
func (h *Hub) observed(p *progress) {
	if h.observer == nil {
		return
	}
	for i := range p.timed {
		h.observer.Written(&p.timed[i].Delivery, p.timed[i].began, p.timed[i].connections)
	}
}

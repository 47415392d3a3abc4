package eventstream

import (
	"sync/atomic"

	"fleetwire/clients/go/protocol"
)

// heard is a stream as a Subscriber of the hub. It is no connection, and counts as none.
type heard struct {
	id      uint64 // no connection has it
	frames  chan []byte
	dropped atomic.Uint64
}

// ID is hub.Subscriber's.
func (h *heard) ID() uint64 { return h.id }

// Append is hub.Subscriber's. Nothing is queued for a connection, so nothing counts as delivered.
func (h *heard) Append(frame []byte, _ uint64) (queued, flush bool) {
	select {
	case h.frames <- frame:
	default:
		for range bodies(frame) {
			h.dropped.Add(1)
		}
	}
	return false, false
}

// Flush is hub.Subscriber's.
func (*heard) Flush() {}

// Close is hub.Subscriber's. Orders do not close streams.
func (*heard) Close(*protocol.CloseError) bool { return false }

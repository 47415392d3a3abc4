package replay

import (
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/history"
)

// Page is a part of what a channel remembers. Subscriptions that asked for the same share
// it.
type Page struct {
	history.Read
	process uint64
	frames  [4][][]byte // by includeSenderMetadata and replayed, once they are needed
}

// Reached is the position up to which the page has all that is there.
func (p *Page) Reached() protocol.Position {
	reached := p.Position
	if n := len(p.Messages); p.More && n > 0 {
		reached.Offset = p.Messages[n-1].Offset
	}
	return reached
}

// Begin is the offset of the first message, or that of the next to be published if there
// is none.
func (p *Page) Begin() uint64 {
	if len(p.Messages) > 0 {
		return p.Messages[0].Offset
	}
	return p.Position.Offset + 1
}

// IsOf says whether a connection of this process has published the message.
func (p *Page) IsOf(message int, connection uint64) bool {
	m := &p.Messages[message]
	return m.Connection == connection && m.ID.Process == p.process
}

// Frame is the message as a shared frame.
func (p *Page) Frame(message int, metadata, replayed bool) []byte {
	kind := 0
	if metadata && len(p.Messages[message].Metadata) > 0 {
		kind = 1
	}
	if replayed {
		kind += 2
	}
	if p.frames[kind] == nil {
		p.frames[kind] = make([][]byte, len(p.Messages))
	}
	frame := &p.frames[kind][message]
	if *frame == nil {
		*frame = p.Messages[message].Frame(p.Channel, metadata, replayed)
	}
	return *frame
}

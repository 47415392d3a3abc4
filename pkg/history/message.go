package history

import (
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/envelope"
)

// Message is a message that a channel remembers.
type Message struct {
	ID         envelope.ID // as envelope.Delivery has it
	Connection uint64      // that published it, in the process ID.Process; 0: none
	Offset     uint64
	At         int64  // unix ms, by Redis's clock
	From       string // peer id of the sender
	Metadata   []byte // of the sender: a JSON object, or empty
	Data       []byte
}

// ParseMessage reads a message as Redis keeps it. offset is where it stands.
func ParseMessage(kept []byte, offset uint64) (Message, error) {
	r, err := envelope.ParseRemembered(kept)
	return Message{r.ID, r.Connection, offset, r.At, r.From, r.FromMetadata, r.Data}, err
}

// Frame is the whole WebSocket text frame of the message. metadata is for subscriptions that
// asked for the sender's.
func (m *Message) Frame(channel string, metadata, replayed bool) []byte {
	r := envelope.Remembered{
		Position: protocol.Position{Offset: m.Offset},
		From:     m.From, FromMetadata: m.Metadata, Data: m.Data,
	}
	return r.Frame(channel, metadata, replayed)
}

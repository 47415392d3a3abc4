// Package envelope is what Redis carries between the process that publishes a
// message and the nodes that deliver it: the finished frame, and about it what a
// node must know.
package envelope

import (
	"encoding/binary"
	"errors"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/rediskeys"
)

// Message is one message to one channel, or to one peer, of one app.
type Message struct {
	App          string
	Channel      string
	To           string // the peer that a direct message is for; Channel is empty then
	From         string // peer id of the sender
	FromMetadata []byte // JSON object, or nil
	Data         []byte // any JSON value, carried byte for byte
	Connection   uint64 // the publishing connection's id in this process; 0: none
}

// Kind is what a topic carries, and so what a delivery is.
type Kind = rediskeys.Kind

// The kinds of deliveries.
const (
	KindMessages = rediskeys.Messages // the messages of a channel
	KindPresence = rediskeys.Presence // who joins and leaves a channel
	KindPeer     = rediskeys.Peer     // direct messages to a peer
)

// ID names a message: the process that published it, and its number there (Number).
type ID struct{ Process, Sequence uint64 }

// Delivery is a message as a node gets it. It is shared by all receivers and
// must not be changed.
type Delivery struct {
	ID           ID
	Kind         Kind
	App          string
	Channel      string // with KindPeer: the peer
	Frame        []byte // a whole WebSocket text frame; with KindPresence the announcement as it was published
	FromMetadata []byte // JSON object, or empty

	// Publisher is the connection of this process that published it, or 0.
	Publisher uint64

	// Only is the connection of this process that it is for alone, or 0.
	Only uint64

	// Command is what the message is of a command; nil: it is of none.
	Command *Command

	// Position is where the channel remembers it; Offset 0: it does not.
	Position protocol.Position

	dataLen int
	tail    int // bytes behind the data in the frame
}

// Redis carries the finished frame that subscribers get, so that a node
// writes it to its sockets without looking inside (integers are
// big-endian):
//
//	byte  0      version, 1 (of commands: command.go)
//	bytes 1–8    id of the publishing process
//	bytes 9–16   number of the message within that process (timing.go)
//	bytes 17–24  connection that published it, within that process; 0: none
//	bytes 25–28  length of data, the last thing in the frame but for its brace
//	bytes 29–30  length of the sender's metadata
//	then         the metadata (a JSON object), and the WebSocket text frame
const (
	envelopeVersion    = 1
	stateVersion       = 6 // made by pkg/registry/record.lua, for one connection of the process in bytes 1–8
	envelopeHeaderSize = 31
)

const fromMetadataKey = `,"fromMetadata":`

var errEnvelope = errors.New("not a message of this version")

// maxTextHeader is how long a text frame's header can be.
const maxTextHeader = 10

// Encode builds the envelope of a message. The frame around its parts takes
// less than 64 bytes.
func Encode(id ID, m *Message) []byte {
	e := begin(envelopeVersion, id, m.FromMetadata, 64+len(m.Channel)+len(m.From)+len(m.Data))
	binary.BigEndian.PutUint64(e[17:], m.Connection)
	binary.BigEndian.PutUint32(e[25:], uint32(len(m.Data)))

	// The body is written behind room for the longest header, and moved up to the
	// header that it turns out to need.
	at := len(e)
	e = append(e, make([]byte, maxTextHeader)...)
	if m.To != "" {
		e = protocol.AppendDirect(e, m.From, nil, m.Data)
	} else {
		e = protocol.AppendMessage(e, m.Channel, m.From, nil, m.Data)
	}
	body := e[at+maxTextHeader:]
	return append(protocol.AppendTextHeader(e[:at], len(body)), body...)
}

// begin is an envelope up to its frame, with room for a frame whose body has so many bytes.
func begin(version byte, id ID, metadata []byte, body int) []byte {
	e := make([]byte, envelopeHeaderSize, envelopeHeaderSize+len(metadata)+maxTextHeader+body)
	e[0] = version
	binary.BigEndian.PutUint64(e[1:], id.Process)
	binary.BigEndian.PutUint64(e[9:], id.Sequence)
	binary.BigEndian.PutUint16(e[29:], uint16(len(metadata)))
	return append(e, metadata...)
}

// Decode reads an envelope without copying: the delivery's slices alias e, but for the
// frame of a message that its channel remembers, which has to be built: for that, Channel
// must be set. Publisher is the connection's id in the process that published the message.
func (d *Delivery) Decode(e []byte) error {
	if len(e) < envelopeHeaderSize {
		return errEnvelope
	}
	d.tail = len(`}`)
	switch e[0] {
	case envelopeVersion:
		return d.decode(e)
	case stateVersion:
		err := d.decode(e)
		d.Only, d.Publisher = d.Publisher, 0
		return err
	case commandVersion, shownVersion, cancelledVersion, takenBackVersion:
		return d.decodeCommand(e)
	case rememberedVersion:
		return d.decodeRemembered(e)
	default:
		return errEnvelope
	}
}

// decode reads an envelope of any version.
func (d *Delivery) decode(e []byte) error {
	d.ID.Process = binary.BigEndian.Uint64(e[1:])
	d.ID.Sequence = binary.BigEndian.Uint64(e[9:])
	d.Publisher = binary.BigEndian.Uint64(e[17:])
	d.dataLen = int(binary.BigEndian.Uint32(e[25:]))
	metadata := int(binary.BigEndian.Uint16(e[29:]))
	rest := e[envelopeHeaderSize:]
	if len(rest) < metadata+2 {
		return errEnvelope
	}
	d.FromMetadata, d.Frame = rest[:metadata:metadata], rest[metadata:]
	if body := d.body(); len(body) < len(`,"data":}`)+d.dataLen {
		return errEnvelope
	}
	return nil
}

// body is the frame's payload, without the WebSocket header before it.
func (d *Delivery) body() []byte {
	header := 2
	switch d.Frame[1] {
	case 126:
		header = 4
	case 127:
		header = 10
	}
	return d.Frame[min(header, len(d.Frame)):]
}

// FrameWithMetadata is the frame for subscriptions that asked for the sender's
// metadata (protocol §4.3). It is built anew at each call.
func (d *Delivery) FrameWithMetadata() []byte {
	if len(d.FromMetadata) == 0 {
		return d.Frame
	}
	body := d.body()
	at := len(body) - len(`,"data":`) - d.dataLen - d.tail
	length := len(body) + len(fromMetadataKey) + len(d.FromMetadata)
	frame := protocol.AppendTextHeader(make([]byte, 0, 10+length), length)
	frame = append(frame, body[:at]...)
	frame = append(frame, fromMetadataKey...)
	frame = append(frame, d.FromMetadata...)
	return append(frame, body[at:]...)
}

package envelope

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"fleetwire/clients/go/protocol"
)

// A command travels on the topic of its channel's messages, in an envelope of another
// version. In place of the sender's metadata stand the id of the command, its timeout
// and its TTL, in milliseconds.
const (
	commandVersion   = 2
	shownVersion     = 3 // made by pkg/command/state.lua from the first
	cancelledVersion = 4
	takenBackVersion = 5 // made by pkg/command/takeback.lua from the first, with the peer behind the TTL
)

// Stage is what an envelope says of a command.
type Stage uint8

// The stages.
const (
	// CommandCreated: it was created. Nodes claim it for their subscribers by name
	// (pkg/command); nobody else sees it.
	CommandCreated Stage = iota + 1
	// CommandHandedOver: it was handed over for the first time. Subscribers by wildcard
	// that are not subscribed by name see Frame. With AtCreation, the node that created it
	// writes it to its subscribers by name.
	CommandHandedOver
	// CommandCancelled: Frame is for the subscribers that confirm and were handed it.
	CommandCancelled
	// CommandTakenBack: Peer has not confirmed it, and its connection has ended. The node
	// on which Peer has another claims it.
	CommandTakenBack
)

// Command is what an envelope says of a command.
type Command struct {
	Stage   Stage
	ID      string
	Timeout time.Duration
	TTL     time.Duration // 0: none
	Peer    string        // with CommandTakenBack
	// AtCreation, with CommandHandedOver: it was handed to all that are in the channel in the same
	// step in which it was created, by the node on which they are.
	AtCreation bool
}

// atCreation is the first byte of the number of such an envelope (pkg/command/create.lua).
const atCreation = 129

// EncodeCommand makes the envelope of a command that is created. m has neither To nor
// FromMetadata nor Connection. id is random.
func EncodeCommand(id ID, c Command, m *Message) []byte {
	about := *m
	about.FromMetadata = fmt.Appendf(nil, "%s %d %d", c.ID, c.Timeout.Milliseconds(), c.TTL.Milliseconds())
	// The highest bit of the number is that of the first hand-over (shown in state.lua).
	e := Encode(ID{id.Process, id.Sequence >> 1}, &about)
	e[0] = commandVersion
	return e
}

// CommandDelivery is what EncodeCommand's envelope is decoded to, but for its number.
func CommandDelivery(c Command, m *Message) *Delivery {
	d := &Delivery{Kind: KindMessages, App: m.App, Channel: m.Channel}
	if err := d.Decode(EncodeCommand(ID{}, c, m)); err != nil {
		panic(err) // it is of our own making
	}
	return d
}

// EncodeCancelled makes the envelope that says that a command was cancelled. id is random.
func EncodeCancelled(id ID, command string) []byte {
	body := protocol.AppendCommandCancelled(nil, command)
	e := begin(cancelledVersion, id, []byte(command+" 0 0"), len(body))
	return append(protocol.AppendTextHeader(e, len(body)), body...)
}

// decodeCommand reads an envelope of a command. FromMetadata is empty then.
func (d *Delivery) decodeCommand(e []byte) error {
	if err := d.decode(e); err != nil {
		return err
	}
	id, rest, _ := strings.Cut(string(d.FromMetadata), " ")
	timeout, rest, _ := strings.Cut(rest, " ")
	ttl, peer, hasPeer := strings.Cut(rest, " ")
	timeoutMs, err := strconv.ParseInt(timeout, 10, 64)
	ttlMs, err2 := strconv.ParseInt(ttl, 10, 64)
	if err != nil || err2 != nil || id == "" || hasPeer != (e[0] == takenBackVersion) {
		return errEnvelope
	}
	d.FromMetadata = nil
	d.Command = &Command{
		Stage: Stage(e[0] - commandVersion + byte(CommandCreated)), ID: id,
		Timeout: time.Duration(timeoutMs) * time.Millisecond, TTL: time.Duration(ttlMs) * time.Millisecond, Peer: peer,
		AtCreation: e[0] == shownVersion && d.ID.Sequence>>56 == atCreation,
	}
	return nil
}

// CommandFrame is the frame for a subscriber that answers: the message with the field
// command.
func (d *Delivery) CommandFrame(ref protocol.CommandRef) []byte {
	body := protocol.AppendCommand(nil, d.body(), ref)
	return append(protocol.AppendTextHeader(make([]byte, 0, maxTextHeader+len(body)), len(body)), body...)
}

// Data is the message's data.
func (d *Delivery) Data() []byte {
	body := d.body()
	end := len(body) - d.tail
	return body[end-d.dataLen : end]
}

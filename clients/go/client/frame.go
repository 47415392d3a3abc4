package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"fleetwire/clients/go/protocol"
)

// A Message is one that was published to a channel, or sent to this peer (protocol
// §4.3).
type Message struct {
	Channel string          // the channel, also where the subscription is a pattern; "": sent to this peer
	From    string          // the sending peer's id, or what a backend gave in its place
	Data    json.RawMessage // byte for byte as it was published; the handler's to keep

	// SenderMetadata is the sender's peerMetadata, if the subscription asked for it
	// (what is sent to a peer always has it) and the sender has some; else nil.
	SenderMetadata json.RawMessage

	// Position is where the message stands in its channel, if that remembers its messages
	// (protocol §9); else it is zero. The epoch is known to subscriptions by name.
	Position Position
	Replayed bool      // it was published before the subscription, or while the client was away
	At       time.Time // when it was published; only of REST's

	// Missed counts the messages and presence changes, of all subscriptions, that came
	// right before this one and were dropped because too many waited for the handlers.
	Missed int

	command *commandRef // nil: it is no command
}

// A Member is a peer in a channel.
type Member struct {
	Peer     string
	Metadata json.RawMessage // its peerMetadata; nil: it has none
}

// A Presence says who has joined and left a channel (protocol §4.3). The first one
// after a subscription, on each connection, has all who are there in Joined.
type Presence struct {
	Channel string
	Joined  []Member
	Left    []Member
	Missed  int // as in Message; if it is not 0, who is there can only be known by REST.Members
}

// A Welcome is what the service says first on each connection (protocol §4.1).
type Welcome struct {
	PeerID         string
	ExpiresAt      time.Time // when the token ends; zero for a publishable key
	ServerTime     time.Time // the service's clock, to the second
	MaxMessageSize int       // bytes of a frame that the service takes
	Metadata       json.RawMessage
}

// A serverFrame is any frame of the service; which fields it has depends on its type.
type serverFrame struct {
	Type, RequestID, Channel, From, Code, Message, PeerID string
	Outcome                                               string
	Data, FromMetadata, Metadata, Command                 []byte // alias the frame
	ExpiresAt, ServerTime, MaxMessageSize, RetryAfterMs   int64
	Joined, Left                                          []Member
	Unsubscribed                                          []string // nil: it is not the ack of a refresh
	Epoch                                                 string   // "": no position
	Offset                                                uint64
	Recovered, Replayed                                   bool
	Group, AckID                                          string // of a message that waited for a group
	PublishedAt, Attempt                                  int64
}

// position is nil if the frame has none.
func (f *serverFrame) position() *Position {
	if f.Epoch == "" {
		return nil
	}
	return &Position{Epoch: f.Epoch, Offset: f.Offset}
}

func parseServerFrame(b []byte) (f serverFrame, err error) {
	err = protocol.ScanObject(b, func(name string, value []byte) error {
		switch name {
		case "type":
			return text(name, value, &f.Type)
		case "requestId":
			return text(name, value, &f.RequestID)
		case "channel":
			return text(name, value, &f.Channel)
		case "from":
			return text(name, value, &f.From)
		case "code":
			return text(name, value, &f.Code)
		case "message":
			return text(name, value, &f.Message)
		case "outcome":
			return text(name, value, &f.Outcome)
		case "peerId":
			return text(name, value, &f.PeerID)
		case "data":
			f.Data = value
		case "command":
			f.Command = value
		case "fromMetadata":
			f.FromMetadata = value
		case "metadata":
			f.Metadata = value
		case "joined":
			return members(name, value, &f.Joined)
		case "left":
			return members(name, value, &f.Left)
		case "unsubscribed":
			f.Unsubscribed = []string{}
			return list(name, value, &f.Unsubscribed)
		case "expiresAt":
			if string(value) != "null" {
				return number(name, value, &f.ExpiresAt)
			}
		case "serverTime":
			return number(name, value, &f.ServerTime)
		case "maxMessageSize":
			return number(name, value, &f.MaxMessageSize)
		case "retryAfterMs":
			return number(name, value, &f.RetryAfterMs)
		case "epoch":
			return text(name, value, &f.Epoch)
		case "offset":
			return number(name, value, &f.Offset)
		case "recovered":
			f.Recovered = string(value) == "true"
		case "group":
			return text(name, value, &f.Group)
		case "ackId":
			return text(name, value, &f.AckID)
		case "publishedAt":
			return number(name, value, &f.PublishedAt)
		case "attempt":
			return number(name, value, &f.Attempt)
		case "replayed":
			f.Replayed = string(value) == "true"
		}
		return nil
	})
	if err == nil && f.Type == "" {
		err = errors.New("type is missing")
	}
	return f, err
}

func text(name string, value []byte, to *string) error {
	s, err := protocol.DecodeString(value)
	if err != nil {
		return fmt.Errorf("%s is not a string of whole characters", name)
	}
	*to = s
	return nil
}

func number[T int64 | uint64](name string, value []byte, to *T) error {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < 0 && T(n) > 0 {
		return fmt.Errorf("%s is not a whole number", name)
	}
	*to = T(n)
	return nil
}

func members(name string, value []byte, to *[]Member) error {
	var all []struct {
		PeerID   string          `json:"peerId"`
		Metadata json.RawMessage `json:"metadata"`
	}
	if err := list(name, value, &all); err != nil {
		return err
	}
	for _, m := range all {
		*to = append(*to, Member{m.PeerID, m.Metadata})
	}
	return nil
}

func list(name string, value []byte, to any) error {
	if json.Unmarshal(value, to) != nil {
		return fmt.Errorf("%s is not a list of what it should be", name)
	}
	return nil
}

func (f *serverFrame) welcome() Welcome {
	w := Welcome{
		PeerID: f.PeerID, ServerTime: time.Unix(f.ServerTime, 0),
		MaxMessageSize: int(f.MaxMessageSize), Metadata: f.Metadata,
	}
	if f.ExpiresAt != 0 {
		w.ExpiresAt = time.Unix(f.ExpiresAt, 0)
	}
	if w.MaxMessageSize <= 0 {
		w.MaxMessageSize = protocol.MaxFrameBytes
	}
	return w
}

// frame makes {"type":…,about:…,rest… but for the end and the requestId, which a link
// adds when it is sent.
func frame(typ protocol.FrameType, about, value, rest string, data []byte) []byte {
	b := make([]byte, 0, 64+len(value)+len(data)+requestIDRoom)
	b = append(b, `{"type":"`...)
	b = append(b, typ.String()...)
	b = append(b, `","`...)
	b = append(b, about...)
	b = append(b, `":`...)
	b = protocol.AppendString(b, value)
	b = append(b, rest...)
	return append(b, data...)
}

// requestIDRoom is what a requestId and the closing brace take at most.
const requestIDRoom = len(`,"requestId":"18446744073709551615"}`)

// encode makes JSON of what a program wants to publish. A json.RawMessage stays as
// it is, byte for byte.
func encode(data any) ([]byte, error) {
	raw, ok := data.(json.RawMessage)
	if !ok || raw == nil {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(data); err != nil {
			return nil, fmt.Errorf("client: the data has no JSON: %w", err)
		}
		raw = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	} else if !json.Valid(raw) {
		return nil, errors.New("client: the data is a json.RawMessage that is not valid JSON")
	}
	if !utf8.Valid(raw) {
		return nil, errors.New("client: the data is not valid UTF-8")
	}
	return raw, nil
}

package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"fleetwire/pkg/protocol"
)

// A Message is one that was published to a channel (protocol §4.3).
type Message struct {
	Channel string          // the channel, also where the subscription is a pattern
	From    string          // the sending peer's id, or what a backend gave in its place
	Data    json.RawMessage // byte for byte as it was published; the handler's to keep

	// SenderMetadata is the sender's peerMetadata, if the subscription asked for it
	// and the sender has some; else nil.
	SenderMetadata json.RawMessage

	// Missed counts the messages, of all subscriptions, that came right before this
	// one and were dropped because too many waited for the handlers.
	Missed int
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
	Data, FromMetadata, Metadata                          []byte // alias the frame
	ExpiresAt, ServerTime, MaxMessageSize, RetryAfterMs   int64
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
		case "peerId":
			return text(name, value, &f.PeerID)
		case "data":
			f.Data = value
		case "fromMetadata":
			f.FromMetadata = value
		case "metadata":
			f.Metadata = value
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
		}
		return nil
	})
	if err == nil && f.Type == "" {
		err = errors.New("type is missing")
	}
	return f, err
}

func text(name string, value []byte, to *string) error {
	s, ok := protocol.DecodeString(value)
	if !ok {
		return fmt.Errorf("%s is not a string", name)
	}
	*to = s
	return nil
}

func number(name string, value []byte, to *int64) error {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return fmt.Errorf("%s is not a whole number", name)
	}
	*to = n
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

// frame makes {"type":…,"channel":…,rest… but for the end and the requestId, which
// a link adds when it is sent.
func frame(typ protocol.FrameType, channel, rest string, data []byte) []byte {
	b := make([]byte, 0, 64+len(channel)+len(data)+requestIDRoom)
	b = append(b, `{"type":"`...)
	b = append(b, typ.String()...)
	b = append(b, `","channel":`...)
	b = protocol.AppendString(b, channel)
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

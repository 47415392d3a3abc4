package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

// Fleetwire is our own protocol (docs/protocol.md §4).
type Fleetwire struct{ Key *apps.Key }

// Open mints a token for just these channels, as a provisioning backend does.
func (f Fleetwire) Open(device string, publishes, subscribes []string) Opening {
	return f.OpenWith(f.Token(device, append(publishes[:len(publishes):len(publishes)], subscribes...), nil), subscribes)
}

// Token is a device's token for these channels or patterns. The others are shown
// metadata, a JSON object or nil.
func (f Fleetwire) Token(device string, channels []string, metadata []byte) string {
	request := auth.TokenRequest{Peer: device, HasChannels: true, PeerMetadata: metadata}
	for _, name := range channels {
		p, err := channel.Compile(name)
		if err != nil {
			panic(fmt.Sprintf("channel %q: %v", name, err))
		}
		request.Channels = append(request.Channels, p)
	}
	token, _, err := auth.Mint(f.Key, request, time.Now())
	if err != nil {
		panic(fmt.Sprintf("token for %s: %v", device, err))
	}
	return token
}

// OpenWith opens a connection with the token and subscribes it.
func (Fleetwire) OpenWith(token string, subscribes []string) Opening {
	o := Opening{Upgrade: upgrade("/v1?token=" + token), Steps: []Step{{Expect: `"type":"welcome"`}}}
	for i, name := range subscribes {
		id := fmt.Sprintf("s%d", i)
		frame, _ := json.Marshal(map[string]string{"type": "subscribe", "channel": name, "requestId": id})
		o.Steps = append(o.Steps, Step{ClientFrame(OpText, frame), `{"type":"ack","requestId":"` + id + `"}`})
	}
	return o
}

// Remember opens a connection that publishes so many messages into a channel that
// remembers. position gets that of the last one.
func (f Fleetwire) Remember(device, channel string, body []byte, messages int, position func(protocol.Position)) Opening {
	o := f.Open(device, []string{channel}, nil)
	var frames []byte
	for i := range messages {
		id := ""
		if i == messages-1 {
			id = `,"requestId":"last"`
		}
		frames = append(frames, ClientFrame(OpText, fmt.Appendf(nil, `{"type":"publish","channel":%q,"data":%s%s}`, channel, body, id))...)
	}
	o.Steps = append(o.Steps, Step{frames, `"requestId":"last"`})
	o.Took = func(payload []byte) {
		var at protocol.Position
		if i := bytes.Index(payload, []byte(`{"type":"ack"`)); i >= 0 {
			_ = json.Unmarshal(payload[i:], &at) // without a position, nothing is recovered
		}
		position(at)
	}
	return o
}

// Recover opens a connection that is subscribed to the channel, and replayed all that came
// behind the position.
func (f Fleetwire) Recover(device, channel string, since protocol.Position) Opening {
	o := f.Open(device, nil, []string{channel})
	at, _ := json.Marshal(since)
	subscribe := &o.Steps[len(o.Steps)-1]
	subscribe.Send = ClientFrame(OpText, fmt.Appendf(nil, `{"type":"subscribe","channel":%q,"since":%s,"requestId":"s0"}`, channel, at))
	subscribe.Expect = `"recovered":true}`
	return o
}

// Ingest opens a connection that gets what waits for a group of this pattern.
func (f Fleetwire) Ingest(device, pattern, group string) Opening {
	o := f.Open(device, nil, []string{pattern})
	subscribe := &o.Steps[len(o.Steps)-1]
	subscribe.Send = ClientFrame(OpText, fmt.Appendf(nil, `{"type":"subscribe","group":%q,"maxInFlight":%d,"requestId":"s0"}`, group, protocol.MaxInFlight))
	return o
}

// acksTogether is of how many messages a frame acknowledges them.
const acksTogether = 100

// Acks acknowledges the messages of one connection that has opened with Ingest, many with a
// frame.
func (Fleetwire) Acks(string) func(payload []byte) []byte {
	var ids []byte
	held := 0
	return func(payload []byte) []byte {
		_, rest, is := bytes.Cut(payload, []byte(`"ackId":"`))
		if !is {
			return nil
		}
		id, _, _ := bytes.Cut(rest, []byte{'"'})
		ids = append(append(append(ids, `,"`...), id...), '"')
		if held++; held < acksTogether {
			return nil
		}
		frame := ClientFrame(OpText, fmt.Appendf(nil, `{"type":"group_ack","ackIds":[%s]}`, ids[1:]))
		ids, held = ids[:0], 0
		return frame
	}
}

// Publish asks for no ack: NATS and MQTT at QoS 0 give none.
func (Fleetwire) Publish(channel string, body []byte) *Message {
	return framed(OpText, fmt.Appendf(nil, `{"type":"publish","channel":%q,"data":%s}`, channel, body))
}

// Refusal is in error frames only (protocol §4.3).
func (Fleetwire) Refusal() string { return `{"type":"error"` }

// REST is a publish request of a backend (protocol §5).
func (f Fleetwire) REST(channel string, body []byte) *Message {
	return f.post(channel, "publish", body)
}

func (f Fleetwire) post(channel, resource string, body []byte) *Message {
	data := fmt.Sprintf(`{"data":%s}`, body)
	return newMessage(fmt.Appendf(nil, "POST /v1/channels/%s/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s:%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		url.PathEscape(channel), resource, f.Key.ID, f.Key.Secret, len(data), data))
}

// Command is a command to the receivers of a channel, and asks for the end (protocol §8.1).
func (f Fleetwire) Command(channel string, body []byte) *Message {
	return f.post(channel, "commands", body)
}

// CommandAnswer is the frame with which a device answers a command, nil if the payload is that
// of another frame. A device need not parse what a server writes always alike.
func CommandAnswer(payload []byte) []byte {
	_, rest, is := bytes.Cut(payload, []byte(`"command":{"id":"`))
	if !is {
		return nil
	}
	id, _, _ := bytes.Cut(rest, []byte{'"'})
	return ClientFrame(OpText, fmt.Appendf(nil, `{"type":"answer","command":"%s","data":{"uptime":3}}`, id))
}

// Floor is the protocol of package floor: it writes what it is given to everyone.
type Floor struct{}

// Open needs no steps: the floor knows a subscriber before it answers.
func (Floor) Open(_ string, publishes, _ []string) Opening {
	if len(publishes) > 0 {
		return Opening{Upgrade: upgrade("/publish")}
	}
	return Opening{Upgrade: upgrade("/subscribe")}
}

// Publish gives the floor the very frame that a Fleetwire node would write.
func (Floor) Publish(channel string, body []byte) *Message {
	return framed(OpText, protocol.AppendMessage(nil, channel, "server", nil, body))
}

// Refusal cannot come.
func (Floor) Refusal() string { return "\x00" }

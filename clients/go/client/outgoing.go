package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
)

// An Outgoing is a message to publish, and what is asked for beside it.
type Outgoing struct {
	Channel string
	Data    any // any value that encoding/json takes; a json.RawMessage is delivered byte for byte

	// Only for REST: who the message says it is from, "server" if it is ""; and a JSON
	// object, up to 4 KiB, for the subscribers that ask for their senders' metadata.
	From     string
	Metadata any

	// IdempotencyKey, 1 to 128 bytes, has the message published once in 10 minutes, however
	// often it is sent: give one to a message that the program may send again after a
	// crash. "": REST makes one for each call; a Client sends none.
	IdempotencyKey string

	// If has the message published only if this is the newest position of the channel,
	// which must remember its messages (protocol §9): the position of a message, of
	// REST.History, or of an Error with protocol.OffsetMismatch. nil: in any case.
	If *Position
}

// Published says what became of a message.
type Published struct {
	Subscribers int64    // connections subscribed by name; only of REST
	Position    Position // of the message, in a channel that remembers; else zero
}

func published(subscribers int64, at *Position) Published {
	p := Published{Subscribers: subscribers}
	if at != nil {
		p.Position = *at
	}
	return p
}

// check finds what is wrong with a message without the service.
func (m *Outgoing) check() error {
	if err := channel.ValidateName(m.Channel); err != nil {
		return fmt.Errorf("client: publish: %w", &Error{Code: protocol.InvalidChannel, Message: err.Error()})
	}
	if m.If != nil && !protocol.ValidEpoch(m.If.Epoch) {
		return errors.New("client: publish: If has no epoch, so a writer from before a lost Redis could win; take a whole Position, such as that of REST.History")
	}
	return nil
}

// asked are the fields for what is asked for.
func (m *Outgoing) asked() map[string]any {
	fields := map[string]any{}
	if m.IdempotencyKey != "" {
		fields["idempotencyKey"] = m.IdempotencyKey
	}
	if m.If != nil {
		fields["ifOffset"], fields["ifEpoch"] = m.If.Offset, m.If.Epoch
	}
	return fields
}

// body is the message as REST takes it, with options.
func (m *Outgoing) body(opts []PublishOption) (json.RawMessage, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	fields := m.asked()
	if m.From != "" {
		fields["from"] = m.From
	}
	if err := addObject(fields, "peerMetadata", m.Metadata); err != nil {
		return nil, err
	}
	for _, o := range opts {
		if err := o(fields); err != nil {
			return nil, err
		}
	}
	if fields["idempotencyKey"] == nil {
		fields["idempotencyKey"] = rand.Text()
	}
	return withData(m.Data, fields)
}

// withData is the JSON of an object with at least one field, and of data before it, which
// encoding/json alone would compact.
func withData(data, fields any) (json.RawMessage, error) {
	raw, err := encode(data)
	if err != nil {
		return nil, err
	}
	rest, err := encode(fields)
	if err != nil {
		return nil, err
	}
	body := append([]byte(`{"data":`), raw...)
	return append(append(body, ','), rest[1:]...), nil
}

// A PublishOption changes what REST.Publish sends.
type PublishOption func(body map[string]any) error

// From is who the message says it is from: 1 to 128 printable ASCII characters; not
// given, it is "server".
func From(peer string) PublishOption {
	return func(body map[string]any) error {
		body["from"] = peer
		return nil
	}
}

// WithMetadata is a JSON object, up to 4 KiB, for the subscribers that ask for their
// senders' metadata.
func WithMetadata(object any) PublishOption {
	return func(body map[string]any) error { return addObject(body, "peerMetadata", object) }
}

// Publish sends data, as Client.Publish takes it, to all subscribers of a channel,
// and returns how many connections are subscribed to it by name: with 0 no
// connection was there to hear it.
//
// If the answer is lost, or the service fails, Publish sends the message again, up to 4
// times. It is published once all the same: all requests have one idempotency key.
func (r *REST) Publish(ctx context.Context, channelName string, data any, opts ...PublishOption) (subscribers int64, err error) {
	p, err := r.publish(ctx, &Outgoing{Channel: channelName, Data: data}, opts)
	return p.Subscribers, err
}

// PublishMessage is Publish with conditions, and says where the message stands in a channel
// that remembers. If another one came first, the error is an *Error with
// protocol.OffsetMismatch and the newest position.
func (r *REST) PublishMessage(ctx context.Context, m Outgoing) (Published, error) {
	return r.publish(ctx, &m, nil)
}

// publishAnswer is what the service says of a message.
type publishAnswer struct {
	Subscribers int64
	refused     // with its epoch and offset also if it is published
}

func (a *publishAnswer) published() Published {
	return published(a.Subscribers, a.position())
}

func (r *REST) publish(ctx context.Context, m *Outgoing, opts []PublishOption) (Published, error) {
	body, err := m.body(opts)
	if err != nil {
		return Published{}, err
	}
	var answer publishAnswer
	err = untilAnswered(ctx, func() error {
		return r.post(ctx, "/channels/"+url.PathEscape(m.Channel)+"/publish", protocol.MaxBodyBytes, body, &answer)
	})
	if err != nil {
		return Published{}, fmt.Errorf("client: publish to %q: %w", m.Channel, err)
	}
	return answer.published(), nil
}

// A PublishResult says what became of one of many messages.
type PublishResult struct {
	Published
	Err error // nil: published; else an *Error of the service
}

// PublishMany publishes 1 to 100 messages, of 256 KiB in all, in one request. Each is
// published or refused for itself, and the results have their order. An error means that
// there are no results; as with Publish, a request whose answer is lost is sent again.
func (r *REST) PublishMany(ctx context.Context, messages []Outgoing) ([]PublishResult, error) {
	if len(messages) == 0 || len(messages) > protocol.MaxPublishMessages {
		return nil, fmt.Errorf("client: publish %d messages: it must be 1 to %d at once", len(messages), protocol.MaxPublishMessages)
	}
	sent := []byte(`{"messages":[`)
	for i := range messages {
		m := &messages[i]
		body, err := m.body(nil)
		if err != nil {
			return nil, fmt.Errorf("client: message %d of %d: %w", i+1, len(messages), err)
		}
		if i > 0 {
			sent = append(sent, ',')
		}
		sent = protocol.AppendString(append(sent, `{"channel":`...), m.Channel)
		sent = append(append(sent, ','), body[1:]...)
	}
	var answer struct{ Results []publishAnswer }
	sent = append(sent, "]}"...)
	err := untilAnswered(ctx, func() error {
		return r.post(ctx, "/publish", protocol.MaxPublishBodyBytes, json.RawMessage(sent), &answer)
	})
	if err != nil {
		return nil, fmt.Errorf("client: publish %d messages: %w", len(messages), err)
	}
	if len(answer.Results) != len(messages) {
		return nil, fmt.Errorf("client: publish %d messages: the answer has %d results", len(messages), len(answer.Results))
	}
	results := make([]PublishResult, len(messages))
	for i := range answer.Results {
		a := &answer.Results[i]
		if a.Error == "" {
			results[i].Published = a.published()
			continue
		}
		refused := &Error{}
		a.describe(refused)
		results[i].Err = fmt.Errorf("client: publish to %q: %w", messages[i].Channel, refused)
	}
	return results, nil
}

package client

import (
	"context"
	"errors"
	"fmt"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
)

// Publish sends data, any value that encoding/json takes, to every other subscriber
// of a channel, on every node, and waits until the service has taken it (protocol
// §4.2). A json.RawMessage is delivered byte for byte.
//
// While there is no connection, Publish waits for one, and until the subscriptions
// are renewed on it (so that what the message causes is heard), as long as ctx lets
// it. An error is an *Error of the service (nothing was published), ErrTooLarge, ctx's, why
// the client has stopped, or ErrConnectionLost: whether it was published is then not
// known, nor when ctx ends after the frame was sent.
func (c *Client) Publish(ctx context.Context, channel string, data any) error {
	f, err := publishFrame(channel, data)
	if err != nil {
		return err
	}
	if _, err := c.deliver(ctx, f, false); err != nil {
		return fmt.Errorf("client: publish to %q: %w", channel, err)
	}
	return nil
}

// PublishMessage is Publish with conditions, and says where the message stands in a channel
// that remembers. From and Metadata must not be set: they are the peer's own. With an
// IdempotencyKey the message is sent again on the next connection if its answer is lost.
func (c *Client) PublishMessage(ctx context.Context, m Outgoing) (Published, error) {
	if m.From != "" || m.Metadata != nil {
		return Published{}, errors.New("client: publish: From and Metadata are a backend's; a connection publishes as its own peer")
	}
	if err := m.check(); err != nil {
		return Published{}, err
	}
	raw, err := encode(m.Data)
	if err != nil {
		return Published{}, err
	}
	asked, err := encode(m.asked())
	if err != nil {
		return Published{}, err
	}
	rest := ""
	if len(asked) > len("{}") {
		rest = "," + string(asked[1:len(asked)-1])
	}
	a, err := c.deliver(ctx, frame(protocol.TypePublish, "channel", m.Channel, rest+`,"data":`, raw), m.IdempotencyKey != "")
	if err != nil {
		return Published{}, fmt.Errorf("client: publish to %q: %w", m.Channel, err)
	}
	return published(0, a.at), nil
}

// Send sends data to all connections of a peer, on any node (protocol §4.2), and
// waits until the service has taken it. If no connection has the id, the error is
// an *Error with protocol.PeerNotFound. The rest is as in Publish.
func (c *Client) Send(ctx context.Context, peer string, data any) error {
	if !protocol.ValidPeerID(peer) {
		return fmt.Errorf("client: send: %w", &Error{Code: protocol.InvalidPeerID, Message: "a peer's id is 1–128 printable ASCII characters"})
	}
	raw, err := encode(data)
	if err != nil {
		return err
	}
	if _, err := c.deliver(ctx, frame(protocol.TypeSend, "to", peer, `,"data":`, raw), false); err != nil {
		return fmt.Errorf("client: send to %q: %w", peer, err)
	}
	return nil
}

// deliver sends a message on the first connection that takes it, and waits for its
// answer. again: a message whose answer is lost may be sent once more.
func (c *Client) deliver(ctx context.Context, f []byte, again bool) (ack, error) {
	for {
		l, err := c.live(ctx)
		if err != nil {
			return ack{}, err
		}
		if err := l.fits(f); err != nil {
			return ack{}, err
		}
		a, err := c.ask(ctx, l, f)
		if !errors.Is(err, errNotSent) && !(again && errors.Is(err, ErrConnectionLost)) {
			return a, err
		} // else on the next connection
	}
}

// PublishNoAck sends data as Publish does, and returns when the frame has been handed
// to the connection: it does not tell whether it arrives. Refusals go to
// Options.OnError. It waits only when many frames wait to be sent already, or
// subscriptions to be renewed, and not for a connection: without one, the error is
// ErrNotConnected.
func (c *Client) PublishNoAck(ctx context.Context, channel string, data any) error {
	f, err := publishFrame(channel, data)
	if err != nil {
		return err
	}
	c.mu.Lock()
	there, stopped := c.link != nil, c.stopped
	c.mu.Unlock()
	switch {
	case stopped != nil:
		return stopped
	case !there:
		return ErrNotConnected
	}
	l, err := c.live(ctx)
	if err != nil {
		return err
	}
	if err := l.fits(f); err != nil {
		return err
	}
	if err := l.send(ctx, append(f, '}')); err != nil {
		if errors.Is(err, errNotSent) {
			return ErrNotConnected
		}
		return fmt.Errorf("client: publish to %q: %w", channel, err)
	}
	return nil
}

func publishFrame(name string, data any) ([]byte, error) {
	if err := channel.ValidateName(name); err != nil {
		return nil, fmt.Errorf("client: publish: %w", &Error{Code: protocol.InvalidChannel, Message: err.Error()})
	}
	raw, err := encode(data)
	if err != nil {
		return nil, err
	}
	return frame(protocol.TypePublish, "channel", name, `,"data":`, raw), nil
}

func (l *link) fits(f []byte) error {
	if most := l.welcome.MaxMessageSize; len(f)+requestIDRoom > most {
		return fmt.Errorf("%w: the frame would be %d bytes long; the service takes %d", ErrTooLarge, len(f)+requestIDRoom, most)
	}
	return nil
}

// ask sends a frame and waits for its answer.
func (c *Client) ask(ctx context.Context, l *link, f []byte) (ack, error) {
	type answer struct {
		ack
		err error
	}
	answered := make(chan answer, 1)
	id, err := l.request(ctx, f, func(a ack, err error) { answered <- answer{a, err} })
	if err != nil {
		return ack{}, err
	}
	select {
	case a := <-answered:
		return a.ack, a.err
	case <-ctx.Done():
		l.forget(id)
		return ack{}, ctx.Err()
	}
}

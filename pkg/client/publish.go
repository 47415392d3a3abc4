package client

import (
	"context"
	"errors"
	"fmt"

	"fleetwire/pkg/channel"
	"fleetwire/pkg/protocol"
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
	if err := c.deliver(ctx, f); err != nil {
		return fmt.Errorf("client: publish to %q: %w", channel, err)
	}
	return nil
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
	if err := c.deliver(ctx, frame(protocol.TypeSend, "to", peer, `,"data":`, raw)); err != nil {
		return fmt.Errorf("client: send to %q: %w", peer, err)
	}
	return nil
}

// deliver sends a message on the first connection that takes it, and waits for its
// answer.
func (c *Client) deliver(ctx context.Context, f []byte) error {
	for {
		l, err := c.live(ctx)
		if err != nil {
			return err
		}
		if err := l.fits(f); err != nil {
			return err
		}
		if err := c.ask(ctx, l, f); !errors.Is(err, errNotSent) {
			return err
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
func (c *Client) ask(ctx context.Context, l *link, f []byte) error {
	answer := make(chan error, 1)
	id, err := l.request(ctx, f, func(err error) { answer <- err })
	if err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		l.forget(id)
		return ctx.Err()
	}
}

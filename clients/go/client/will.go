package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
)

// will is what the service is to publish when the client is gone. It is set anew on each
// connection.
type will struct {
	frame   []byte        // nil: none; guarded by Client.mu
	sending chan struct{} // is full while a frame is being sent, so that the last one sent is the newest
}

var noWill = []byte(`{"type":"will","channel":null`)

// SetWill has the service publish data on a channel when this peer is gone: when its last
// connection has ended, for any reason but Close, and it is not back when delay and the
// app's grace are over (protocol §4.7). data is any value that encoding/json takes, of at
// most 4 KiB as JSON; delay is at most 24 h, in whole milliseconds.
//
// The will lasts until ClearWill or another SetWill: the client sets it on each further
// connection, before it renews subscriptions. SetWill waits until the service has it on
// this one, and for a connection where there is none. If the service refuses it, the
// former will stays. After ctx's error, or a backend_error whose outcome is unknown,
// the will is the new one, and the service may not have it yet.
func (c *Client) SetWill(ctx context.Context, name string, data any, delay time.Duration) error {
	f, err := willFrame(name, data, delay)
	if err != nil {
		return err
	}
	if err := c.putWill(ctx, f); err != nil {
		return fmt.Errorf("client: will on %q: %w", name, err)
	}
	return nil
}

// ClearWill takes the will back, and waits until the service has done so. It is no error
// if there is none.
func (c *Client) ClearWill(ctx context.Context) error {
	if err := c.putWill(ctx, nil); err != nil {
		return fmt.Errorf("client: taking the will back: %w", err)
	}
	return nil
}

func willFrame(name string, data any, delay time.Duration) ([]byte, error) {
	if err := channel.ValidateName(name); err != nil {
		return nil, fmt.Errorf("client: will: %w", &Error{Code: protocol.InvalidChannel, Message: err.Error()})
	}
	if delay < 0 || delay.Milliseconds() > protocol.MaxWillDelayMs {
		return nil, fmt.Errorf("client: will: the delay is %v; it must be 0 to 24h", delay)
	}
	raw, err := encode(data)
	if err != nil {
		return nil, err
	}
	if len(raw) > protocol.MaxWillBytes {
		return nil, fmt.Errorf("%w: the data of the will is %d bytes long; the service takes %d", ErrTooLarge, len(raw), protocol.MaxWillBytes)
	}
	return frame(protocol.TypeWill, "channel", name, fmt.Sprintf(`,"delayMs":%d,"data":`, delay.Milliseconds()), raw), nil
}

// putWill makes f the will, nil for none, and has the service told.
func (c *Client) putWill(ctx context.Context, f []byte) error {
	c.mu.Lock()
	if c.stopped != nil {
		defer c.mu.Unlock()
		return c.stopped
	}
	former := c.will.frame
	c.will.frame = f
	connected := c.link != nil
	c.mu.Unlock()
	if f == nil && !connected {
		return nil // the next connection will not have it
	}
	for {
		l, err := c.connected(ctx)
		if err != nil {
			return err
		}
		answer := make(chan error, 1)
		if err = c.sendWill(ctx, l, func(err error) { answer <- err }); err == nil {
			select {
			case err = <-answer:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		var refused *Error
		switch {
		case errors.Is(err, errNotSent), errors.Is(err, ErrConnectionLost):
			continue // to have it on the next one twice does no harm
		case errors.As(err, &refused) && refused.Outcome != protocol.OutcomeUnknown:
			c.restoreWill(f, former)
		}
		return err
	}
}

// restoreWill makes the former will the will again, unless it is another by now.
func (c *Client) restoreWill(f, former []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.will.frame; len(now) > 0 && len(f) > 0 && &now[0] == &f[0] {
		c.will.frame = former
	}
}

// sendWill tells the service of the will as it is now.
func (c *Client) sendWill(ctx context.Context, l *link, answered func(error)) error {
	select {
	case c.will.sending <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ctx.Done():
		return errNotSent
	}
	defer func() { <-c.will.sending }()
	c.mu.Lock()
	f := c.will.frame
	c.mu.Unlock()
	if f == nil {
		f = noWill
	}
	_, err := l.request(ctx, f, func(_ ack, err error) { answered(err) })
	return err
}

// renewWill sets the will on a new connection. A refusal is reported; after an error of the
// service's store that left it undone it is sent again.
func (c *Client) renewWill(l *link) {
	c.mu.Lock()
	there := c.will.frame != nil
	c.mu.Unlock()
	if !there {
		return
	}
	_ = c.sendWill(l.ctx, l, func(err error) { // its error is the connection's end
		if err == nil || errors.Is(err, ErrConnectionLost) {
			return
		}
		c.report(fmt.Errorf("client: renewing the will: %w", err))
		var refused *Error
		if errors.As(err, &refused) && (refused.Code == protocol.BackendError && refused.Outcome != protocol.OutcomeUnknown || refused.Code == protocol.InternalError) {
			again := time.AfterFunc(retrySubscribe+c.backoff.jitter(retrySubscribe), func() { c.renewWill(l) })
			context.AfterFunc(l.ctx, func() { again.Stop() })
		}
	})
}

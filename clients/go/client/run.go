package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"fleetwire/clients/go/protocol"
)

// run keeps the client connected until it is closed, or the service will not have
// it any more.
func (c *Client) run() {
	for {
		c.tell(Change{State: Connecting})
		e := c.session(c.ctx)
		if c.ctx.Err() != nil {
			return
		}
		next := c.backoff.after(e)
		if next.newToken {
			c.token = ""
			next.stop = next.stop || c.opt.Token == nil
		}
		if next.stop {
			if errors.Is(e.err, ErrStop) && c.latest != nil {
				e.err = fmt.Errorf("%w, after: %w", e.err, c.latest)
			}
			c.opt.Log.Error("stopped: the service will not have this client", "err", e.err)
			c.stop(fmt.Errorf("client: stopped: %w", e.err))
			c.tell(Change{State: Stopped, Err: e.err})
			c.queue.finish()
			return
		}
		c.opt.Log.Warn("not connected", "err", e.err, "retryIn", next.pause)
		c.mu.Lock()
		c.latest = e.err
		c.mu.Unlock()
		c.tell(Change{State: Waiting, Err: e.err, RetryIn: next.pause})
		again := time.NewTimer(next.pause)
		select {
		case <-again.C:
		case <-c.ctx.Done():
			again.Stop()
			return
		}
	}
}

// errLeft is how a connection ends that the service has announced to close.
var errLeft = &protocol.CloseError{Code: protocol.CloseGoingAway, Reason: "left: the service did not close it within retryAfterMs"}

// session is one connection, from the token to its end.
func (c *Client) session(ctx context.Context) (e ending) {
	token, err := c.currentToken(ctx)
	if err != nil {
		return ending{err: err}
	}
	l, err := c.dial(ctx, token)
	if err != nil {
		return ending{err: err}
	}
	// The link outlives ctx: it ends with a close frame.
	var running sync.WaitGroup
	running.Go(l.write)
	farewell := context.AfterFunc(ctx, l.close)
	defer func() {
		farewell()
		c.detach()
		cause := e.err
		if c.isClosed() {
			cause = ErrClosed
		}
		l.over(fmt.Errorf("%w: %w", ErrConnectionLost, cause))
		running.Wait()
	}()

	if err := l.awaitWelcome(); err != nil {
		return ending{err: err}
	}
	begin := time.Now()
	c.opt.Log.Info("connected", "peer", l.welcome.PeerID)
	c.tell(Change{State: Connected, Welcome: l.welcome})
	subs := c.attach(l)
	running.Go(func() { c.renew(l, subs) })
	running.Go(func() { c.refresh(l) })
	for err == nil {
		var b []byte
		if b, err = l.next(); err == nil {
			c.handle(l, b)
		}
	}
	if l.left.Load() {
		err = errLeft
	}
	return ending{err: err, welcomed: true, lived: time.Since(begin), backAt: l.backAt}
}

// attach makes the link the current one, and returns the subscriptions
// to renew, oldest first: later ones are sent by their makers.
func (c *Client) attach(l *link) []*subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = l
	c.change()
	return slices.Clone(c.order)
}

func (c *Client) detach() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil {
		c.link = nil
		c.change()
	}
}

func (c *Client) enqueue(i item) {
	if c.queue.put(i) == 1 {
		c.opt.Log.Warn("messages are dropped: the handlers are too slow", "queueBytes", c.opt.QueueBytes)
	}
}

// handle does what a frame of the service says (protocol §4.3). It
// ignores unknown frames, for a newer service may send more.
func (c *Client) handle(l *link, b []byte) {
	f, err := parseServerFrame(b)
	if err == nil && (f.Type == "message" || f.Type == "direct") && f.Data == nil {
		err = errors.New("a message without data")
	}
	if err != nil {
		c.opt.Log.Warn("ignored a frame that is not the protocol's", "err", err, "bytes", len(b))
		return
	}
	switch f.Type {
	case "message", "direct":
		if f.Group != "" {
			c.grouped(l, &f)
			return
		}
		if f.Type == "direct" {
			f.Channel = ""
		}
		m := &Message{Channel: f.Channel, From: f.From, Data: f.Data, SenderMetadata: f.FromMetadata, Replayed: f.Replayed}
		if f.Offset > 0 {
			m.Position = Position{Epoch: c.came(l, f.Channel, f.Offset), Offset: f.Offset}
		}
		if f.Command != nil {
			if m.command, err = parseCommandRef(f.Command); err != nil {
				c.opt.Log.Warn("took a command for a message, for it is not the protocol's", "err", err)
				m.command = nil
			}
		}
		c.enqueue(item{message: m})
	case "command_cancelled":
		if id, err := protocol.DecodeString(f.Command); err == nil {
			c.known.cancel(id)
		}
	case "gap":
		c.gap(l, f.Channel, f.position())
	case "presence":
		c.enqueue(item{presence: &Presence{Channel: f.Channel, Joined: f.Joined, Left: f.Left}})
	case "ack":
		if f.Unsubscribed != nil {
			c.refreshed(l, f)
		}
		l.answer(f.RequestID, ack{f.position(), f.Recovered}, nil)
	case "error":
		refused := &Error{Code: protocol.Code(f.Code), Message: f.Message, Outcome: protocol.Outcome(f.Outcome), Position: f.position()}
		if l.answer(f.RequestID, ack{}, refused) || f.RequestID != "" {
			return
		}
		if g := c.ingester(f.Group); g != nil {
			g.end(refused)
		} else {
			c.report(refused)
		}
	case "going_away":
		retryAfter := time.Duration(min(max(f.RetryAfterMs, 0), maxAsked.Milliseconds())) * time.Millisecond
		if retryAfter > 0 {
			l.goAway(retryAfter)
		}
		c.tell(Change{State: GoingAway, RetryIn: retryAfter})
	}
}

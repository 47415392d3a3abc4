package client

import (
	"errors"
	"fmt"
	"time"

	"fleetwire/clients/go/protocol"
)

const (
	// A token is exchanged when a fifth of its time is left, or this much; at which
	// moment of that time's first half is random, lest a fleet does it all at once.
	refreshLead = 5 * time.Minute
	// retryRefresh is the pause after an attempt that failed, at least; up to as much
	// again is random.
	retryRefresh = 2 * time.Second
)

// refresh exchanges the connection's token before its time is over, as often as it
// takes (protocol §4.2). Where that does not work the service ends the connection
// with the token, and the next one is made with a new one.
func (c *Client) refresh(l *link) {
	if c.opt.Token == nil || l.welcome.ExpiresAt.IsZero() {
		return
	}
	now := l.welcome.ServerTime.Add(time.Second) // or up to a second before: it has whole seconds
	welcomed := time.Now()                       // our own clock may be set: what has passed counts
	left := l.welcome.ExpiresAt.Sub(now)
	for {
		lead := min(left/5, refreshLead)
		if !l.pause(left - lead + c.backoff.jitter(lead/2)) {
			return
		}
		for {
			err := c.refreshOnce(l)
			if err == nil {
				break
			}
			var refused *Error
			if l.ctx.Err() != nil || errors.Is(err, ErrStop) || errors.As(err, &refused) && refused.Code != protocol.BackendError {
				if l.ctx.Err() == nil {
					c.opt.Log.Warn("the token was not exchanged; the connection ends with it", "err", err)
				}
				return
			}
			c.opt.Log.Warn("the token was not exchanged, it is tried again", "err", err)
			if !l.pause(retryRefresh + c.backoff.jitter(retryRefresh)) {
				return
			}
		}
		select {
		case expires := <-l.expires:
			left = expires.Sub(now) - time.Since(welcomed)
		default:
			return // an ack that does not say when: not one of a refresh
		}
	}
}

// refreshOnce gets a token and gives it to the service. The connecting goroutine,
// whose c.token is, waits for this one before it goes on.
func (c *Client) refreshOnce(l *link) error {
	token, err := c.askToken(l.ctx)
	if err != nil {
		return err
	}
	if _, err := c.ask(l.ctx, l, frame(protocol.TypeRefresh, "token", token, "", nil)); err != nil {
		return err
	}
	c.token = token
	return nil
}

// refreshed takes what the ack of a refresh says; its requestId is answered next.
func (c *Client) refreshed(l *link, f serverFrame) {
	select {
	case l.expires <- time.Unix(f.ExpiresAt, 0):
	default:
	}
	for _, name := range f.Unsubscribed {
		c.report(fmt.Errorf("client: the subscription to %q: %w", name,
			&Error{Code: protocol.ChannelNotAuthorized, Message: "the new token does not cover it"}))
	}
}

// pause waits; false when the link has ended meanwhile.
func (l *link) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}

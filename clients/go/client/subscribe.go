package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
)

// retrySubscribe is the pause before a subscription that the service's store did not
// take (backend_error) is sent again, at least; up to as much again is random.
const retrySubscribe = 2 * time.Second

var errReplaced = errors.New("another call for the same channel came in between")

// A SubscribeOption changes what Subscribe asks for.
type SubscribeOption func(*subscription)

// WithSenderMetadata asks for the senders' metadata with each message.
func WithSenderMetadata() SubscribeOption {
	return func(s *subscription) { s.metadata = true }
}

// WithPresence hands over who joins and leaves the channel, or with a pattern each
// channel that it matches; the token must allow presence, else nothing comes. A
// pattern's subscriber hears of changes only, not of who is there already.
func WithPresence(handler func(Presence)) SubscribeOption {
	return func(s *subscription) { s.presence = handler }
}

// A subscription is one that the program wants; on which connections it is live is
// for them to know.
type subscription struct {
	channel  string
	pattern  *channel.Pattern // nil: a plain channel
	metadata bool
	confirm  bool
	handler  func(Message)
	messages func(Message)  // takes what is no command, in handler's place; or nil
	presence func(Presence) // or nil
	result   chan error     // takes the first answer
	last     int            // how many of the newest to begin with
	answered bool           // the first answer came; guarded by Client.mu
	place    place          // likewise
}

func (s *subscription) take(m Message) {
	if m.command == nil && s.messages != nil {
		s.messages(m)
		return
	}
	s.handler(m)
}

// Subscribe joins a channel, or with a pattern such as devices/*/events every
// channel that it matches, now and later (protocol §2, §4.2), and waits until the
// service has said that this is so: what is published from then on, on any node,
// comes to handler. The subscription lasts until Unsubscribe or Close, over as many
// connections as it takes.
//
// A message that several subscriptions match comes once, and goes to the handler of
// each. Subscribing again to the same channel or pattern replaces handler and
// options.
//
// While there is no connection, Subscribe waits for one. An error leaves the channel
// unsubscribed: an *Error of the service, ctx's, or why the client has stopped.
func (c *Client) Subscribe(ctx context.Context, channelOrPattern string, handler func(Message), opts ...SubscribeOption) error {
	s, err := newSubscription(channelOrPattern, handler, opts)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.stopped != nil {
		defer c.mu.Unlock()
		return c.stopped
	}
	_, again := c.subs[s.channel]
	c.replace(s.channel, s)
	l := c.link
	c.mu.Unlock()
	if l != nil {
		c.sendSubscribe(ctx, l, s, nil)
	}
	if err := c.awaitSubscribed(ctx, s); err != nil {
		c.give(s, again || CodeOf(err) == "")
		return fmt.Errorf("client: subscribe to %q: %w", channelOrPattern, err)
	}
	return nil
}

func newSubscription(name string, handler func(Message), opts []SubscribeOption) (*subscription, error) {
	if handler == nil {
		return nil, errors.New("client: Subscribe needs a handler")
	}
	s := &subscription{channel: name, handler: handler, result: make(chan error, 1)}
	err := channel.ValidateName(name)
	if channel.IsPattern(name) {
		s.pattern, err = channel.Compile(name)
	}
	if err != nil {
		return nil, fmt.Errorf("client: subscribe: %w", &Error{Code: protocol.InvalidChannel, Message: err.Error()})
	}
	for _, o := range opts {
		o(s)
	}
	if s.pattern != nil && (s.last != 0 || s.place.at != nil) {
		return nil, errors.New("client: subscribe: Last and Since need a channel's name; a pattern replays nothing")
	}
	if s.last < 0 || s.last > protocol.MaxLast {
		return nil, fmt.Errorf("client: subscribe: Last(%d): it must be 1 to %d messages", s.last, protocol.MaxLast)
	}
	return s, nil
}

func (c *Client) awaitSubscribed(ctx context.Context, s *subscription) error {
	for {
		c.mu.Lock()
		stopped, changed, replaced := c.stopped, c.changed, c.subs[s.channel] != s
		c.mu.Unlock()
		select {
		case err := <-s.result:
			return err
		default:
		}
		switch {
		case stopped != nil:
			return stopped
		case replaced:
			return errReplaced
		}
		select {
		case err := <-s.result:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Unsubscribe leaves a channel or a pattern, as it was given to Subscribe, and waits
// until the service has said so. It is no error if there is no such subscription.
// No message is handed to its handler afterwards but one that is in its hands.
func (c *Client) Unsubscribe(ctx context.Context, channelOrPattern string) error {
	c.mu.Lock()
	if c.stopped != nil {
		defer c.mu.Unlock()
		return c.stopped
	}
	_, there := c.subs[channelOrPattern]
	c.replace(channelOrPattern, nil)
	l := c.link
	c.mu.Unlock()
	if !there || l == nil {
		return nil // the next connection will not have it
	}
	_, err := c.ask(ctx, l, frame(protocol.TypeUnsubscribe, "channel", channelOrPattern, "", nil))
	if err == nil || errors.Is(err, errNotSent) || errors.Is(err, ErrConnectionLost) {
		return nil
	}
	return fmt.Errorf("client: unsubscribe from %q: %w", channelOrPattern, err)
}

// replace sets the subscription of a channel, nil for none; c.mu is held.
func (c *Client) replace(name string, s *subscription) {
	c.order = slices.DeleteFunc(c.order, func(old *subscription) bool { return old.channel == name })
	if _, ok := c.subs[name]; ok {
		delete(c.subs, name)
		c.change() // for those that wait for its answer
	}
	if s != nil {
		c.subs[name] = s
		c.order = append(c.order, s)
	}
}

// give gives up a subscription that failed. If the service may still have it, give
// unsubscribes, and does not wait for the answer.
func (c *Client) give(s *subscription, tell bool) {
	c.mu.Lock()
	mine := c.subs[s.channel] == s
	if mine {
		c.replace(s.channel, nil)
	}
	l := c.link
	c.mu.Unlock()
	if mine && tell && l != nil {
		go c.correct(l, s.channel)
	}
}

// correct makes the service's mind up about a channel: two frames about it were
// under way at the same time, and which came last is not known.
func (c *Client) correct(l *link, name string) {
	c.mu.Lock()
	s := c.subs[name]
	c.mu.Unlock()
	if s != nil {
		c.sendSubscribe(l.ctx, l, s, nil)
		return
	}
	_, _ = l.request(l.ctx, frame(protocol.TypeUnsubscribe, "channel", name, "", nil), func(ack, error) {}) // if it fails, so has the connection
}

// renew sends the will and the subscriptions on a new connection, and tells when all of them have
// been answered.
func (c *Client) renew(l *link, subs []*subscription) {
	c.renewWill(l)
	c.renewGroups(l)
	live := func() {
		c.tell(Change{State: Live})
		close(l.live)
	}
	if len(subs) == 0 {
		live()
		return
	}
	open := len(subs) // the reading goroutine's, which calls settled
	settled := func() {
		if open--; open == 0 {
			live()
		}
	}
	for _, s := range subs {
		c.sendSubscribe(l.ctx, l, s, settled)
	}
}

// sendSubscribe asks for a subscription on this connection. settled, if there is
// one, is called when the service has granted or refused it for good.
func (c *Client) sendSubscribe(ctx context.Context, l *link, s *subscription, settled func()) {
	rest := ""
	if s.metadata {
		rest = `,"includeSenderMetadata":true`
	}
	if s.confirm {
		rest += `,"commands":"confirm"`
	}
	begin, goesOn := c.start(s)
	rest += begin
	// An error is the connection's end (the next one renews it) or ctx's (who waits
	// for it sees that too).
	_, _ = l.request(ctx, frame(protocol.TypeSubscribe, "channel", s.channel, rest, nil), func(a ack, err error) {
		c.subscribeAnswered(l, s, a, err, goesOn, settled)
	})
}

func (c *Client) subscribeAnswered(l *link, s *subscription, a ack, err error, goesOn bool, settled func()) {
	if errors.Is(err, ErrConnectionLost) {
		return
	}
	c.mu.Lock()
	current := c.subs[s.channel] == s
	first := !s.answered
	s.answered = true
	var gap *Gap
	if err == nil {
		gap = s.placed(l, a, goesOn)
	}
	c.mu.Unlock()
	if gap != nil && current {
		c.missed(*gap)
	}
	switch {
	case first:
		s.result <- err
	case !current || err == nil:
	case CodeOf(err) == protocol.BackendError || CodeOf(err) == protocol.InternalError:
		c.report(fmt.Errorf("client: renewing the subscription to %q: %w", s.channel, err))
		pause := retrySubscribe + c.backoff.jitter(retrySubscribe)
		again := time.AfterFunc(pause, func() { c.sendSubscribe(l.ctx, l, s, settled) })
		context.AfterFunc(l.ctx, func() { again.Stop() })
		return
	default:
		c.report(fmt.Errorf("client: renewing the subscription to %q: %w", s.channel, err))
	}
	if !current {
		go c.correct(l, s.channel)
	}
	if settled != nil {
		settled()
	}
}

// matching appends all subscriptions that match the channel: its own, then those of
// patterns, oldest first.
func (c *Client) matching(to []*subscription, name string) []*subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.subs[name]; s != nil && s.pattern == nil {
		to = append(to, s)
	}
	for _, s := range c.order {
		if s.pattern != nil && s.pattern.Match(name) {
			to = append(to, s)
		}
	}
	return to
}

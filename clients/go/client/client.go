package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A State is what a Client is doing.
type State uint8

// The states, in the order of a connection's life.
const (
	// Connecting: a token is asked for, or a connection opened.
	Connecting State = 1 + iota
	// Connected: the service has said welcome.
	Connected
	// Live: every subscription that there was before the connection has been renewed
	// or refused. Messages published in between are lost, but those of channels that
	// remember; this is when to ask for them.
	Live
	// GoingAway: the service will close the connection; it works until then.
	GoingAway
	// Waiting: the connection has ended, or none could be had; the next attempt
	// follows after RetryIn.
	Waiting
	// Stopped: the service will not have this client any more, for the reason in Err;
	// it does nothing from now on.
	Stopped
)

var stateNames = [...]string{Connecting: "connecting", Connected: "connected", Live: "live", GoingAway: "going away", Waiting: "waiting", Stopped: "stopped"}

// String is the state in a word or two.
func (s State) String() string {
	if s == 0 || int(s) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[s]
}

// A Change is what Options.OnState is told.
type Change struct {
	State   State
	Welcome Welcome // Connected
	// Err says why, with Waiting and Stopped. It has a *protocol.CloseError in its
	// chain if the service closed the connection.
	Err error
	// RetryIn is, with Waiting, when the next attempt comes; with GoingAway, when the
	// client will be back, whether or not the service closes the connection before.
	RetryIn time.Duration
}

// Client holds one connection to the service. Its methods may be called from any
// goroutine.
type Client struct {
	opt     Options
	address string // of the WebSocket
	queue   *queue
	ctx     context.Context // ends with Close
	close   context.CancelFunc
	ended   chan struct{}
	away    chan struct{} // closed when the connection's goroutines have ended

	// The connecting goroutine's.
	token   string // the last one, "" if it is of no use any more
	backoff backoff

	mu      sync.Mutex
	link    *link         // nil: not connected
	stopped error         // why it is over; nil: it is not
	changed chan struct{} // closed and replaced when link or stopped change
	latest  error         // why the last attempt failed; only the connecting goroutine sets it
	subs    map[string]*subscription
	order   []*subscription // the same, oldest first
	will    will
	groups  map[string]*ingester // by name

	known   known
	working sync.WaitGroup // goroutines that do commands
}

// New makes a Client, which connects in the background. An error is about the
// options.
func New(opt Options) (*Client, error) { return start(opt, rand.N[time.Duration]) }

// Dial makes a Client and waits until it is connected. An error is about the
// options, or why the client has stopped, or ctx's with why the last attempt failed.
func Dial(ctx context.Context, opt Options) (*Client, error) {
	c, err := New(opt)
	if err != nil {
		return nil, err
	}
	if _, err := c.connected(ctx); err != nil {
		c.mu.Lock()
		latest := c.latest
		c.mu.Unlock()
		c.Close()
		if ctx.Err() != nil && latest != nil {
			err = fmt.Errorf("%w; the last attempt: %w", err, latest)
		}
		return nil, err
	}
	return c, nil
}

func start(opt Options, jitter func(time.Duration) time.Duration) (*Client, error) {
	if err := opt.complete(); err != nil {
		return nil, err
	}
	u, err := serviceURL(opt.URL)
	if err != nil {
		return nil, err
	}
	u.Scheme = "ws" + strings.TrimPrefix(u.Scheme, "http")
	if opt.PublishableKey != "" {
		u.RawQuery = url.Values{"key": {opt.PublishableKey}}.Encode() // it is public
	}
	c := &Client{
		opt: opt, address: u.String(), queue: newQueue(opt.QueueBytes),
		ended: make(chan struct{}), away: make(chan struct{}),
		backoff: backoff{jitter: jitter}, changed: make(chan struct{}), subs: map[string]*subscription{},
		will: will{sending: make(chan struct{}, 1)},
	}
	c.ctx, c.close = context.WithCancel(context.Background())
	go func() {
		defer close(c.away)
		c.run()
	}()
	go func() {
		defer close(c.ended)
		c.dispatch()
		<-c.away
		c.working.Wait()
	}()
	return c, nil
}

// Close ends the connection in order: what was sent before goes out, and the service
// is told. That takes a second at most. Afterwards no further handler is called; one
// that is running goes on (Done says when it has ended), so that handlers may call
// Close. Closing twice is fine.
func (c *Client) Close() {
	c.stop(ErrClosed)
	c.close()
	<-c.away
}

// Done is closed when the client has stopped or been closed, and the last of the
// program's functions has returned.
func (c *Client) Done() <-chan struct{} { return c.ended }

// Err is nil while the client is at work, then why it is not: ErrClosed, or what
// made it stop.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// stop is for good; the first reason counts.
func (c *Client) stop(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped == nil {
		c.stopped = err
		c.change()
	}
}

// change wakes all who wait for link or stopped; c.mu is held.
func (c *Client) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// connected waits for a connection.
func (c *Client) connected(ctx context.Context) (*link, error) {
	for {
		c.mu.Lock()
		l, stopped, changed := c.link, c.stopped, c.changed
		c.mu.Unlock()
		switch {
		case stopped != nil:
			return nil, stopped
		case l != nil:
			return l, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("client: not connected: %w", ctx.Err())
		}
	}
}

// live waits for a connection on which the subscriptions are renewed: no answer to
// what is published there can be missed.
func (c *Client) live(ctx context.Context) (*link, error) {
	for {
		l, err := c.connected(ctx)
		if err != nil {
			return nil, err
		}
		select {
		case <-l.live:
			return l, nil
		case <-l.ctx.Done():
		case <-ctx.Done():
			return nil, fmt.Errorf("client: the subscriptions are not renewed yet: %w", ctx.Err())
		}
	}
}

// tell queues a change for OnState.
func (c *Client) tell(change Change) {
	if c.opt.OnState != nil {
		c.queue.put(item{change: &change})
	}
}

// report is for errors that no call returns.
func (c *Client) report(err error) {
	c.opt.Log.Warn("the service refused a frame", "err", err)
	if c.opt.OnError != nil {
		c.queue.put(item{err: err})
	}
}

// dispatch calls the program's functions, one after the other.
func (c *Client) dispatch() {
	var matching []*subscription
	for {
		i, ok := c.queue.take(c.ctx.Done())
		switch {
		case !ok:
			return
		case i.change != nil:
			c.opt.OnState(*i.change)
		case i.gap != nil:
			c.opt.OnGap(*i.gap)
		case i.err != nil:
			c.opt.OnError(i.err)
		case i.presence != nil:
			matching = c.matching(matching[:0], i.presence.Channel)
			for _, s := range matching {
				if s.presence != nil {
					s.presence(*i.presence)
				}
			}
		case i.message.Channel == "":
			if c.opt.OnDirect != nil {
				c.opt.OnDirect(*i.message)
			}
		default:
			matching = c.matching(matching[:0], i.message.Channel)
			for _, s := range matching {
				s.take(*i.message)
			}
		}
	}
}

// isClosed tells an end that the program asked for from all others.
func (c *Client) isClosed() bool { return errors.Is(c.Err(), ErrClosed) }

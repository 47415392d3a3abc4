package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
)

// A Command is a message whose receivers answer (protocol §8). REST.Command returns one
// with what became of it; HandleCommands hands one to the program that has to do it.
type Command struct {
	ID      string
	Channel string
	From    string
	Data    json.RawMessage // byte for byte as it was sent

	// What became of it; only of REST.
	Status               string // such as succeeded, failed, timed_out, mixed; waiting or active while it goes on
	CreatedAt, ExpiresAt Time   // ExpiresAt is zero without a TTL
	Expect               int    // peers whose end completes it
	Counts               CommandCounts
	Answers              []CommandAnswer // of the first 20 peers, by id
	More                 bool            // there are others: see REST.Answers

	// How it was handed over; only of HandleCommands.
	Attempt int           // over 1: it was handed over before
	Timeout time.Duration // within which the final answer must come; Progress starts it anew

	client *Client
}

// CommandCounts says how many peers are in each state of a command.
type CommandCounts struct {
	Sent, Received, Running, Succeeded, Failed, Rejected, TimedOut, Missing int
}

// A CommandAnswer is what one peer has said of a command.
type CommandAnswer struct {
	Peer               string
	Status             string
	Data               json.RawMessage // nil: none
	Attempt            int
	SentAt, AnsweredAt Time        // AnsweredAt is zero until the peer answers
	Late               *LateAnswer // what it answered after it had timed out; nil: nothing
}

// A LateAnswer is one that came after the peer's timeout.
type LateAnswer struct {
	Status     string
	Data       json.RawMessage
	AnsweredAt Time
}

// Ended says whether the status is final.
func (c *Command) Ended() bool { return c.Status != "waiting" && c.Status != "active" }

// CommandOptions change what REST.Command sends. The zero value is fine: a command for
// those who are there now.
type CommandOptions struct {
	From           string        // who it says it is from; "": server
	TTL            time.Duration // for how long it may be handed to peers that subscribe later; up to 7 days
	Timeout        time.Duration // for each peer's answer, 1 s to 24 h; 0: 30 s
	Expect         int           // peers whose end completes it; 0: those who are subscribed by name
	IdempotencyKey string        // for a program that may send a command again after a crash; "": one of the call's own
	CollapseKey    string        // stops the hand-over of earlier commands with the same key
	Notify         string        // a channel that hears how it goes on
	Rollout        *Rollout      // the pace of hand-over; nil: all at once
}

// A Rollout is the pace at which a command with a TTL is handed over.
type Rollout struct {
	PerMinute int    `json:"perMinute"`       // peers
	Abort     *Abort `json:"abort,omitempty"` // when to stop; nil: never
}

// An Abort stops a rollout when FailedPct percent of the peers that have ended did not
// succeed, once MinAnswered have ended (0: 1).
type Abort struct {
	FailedPct   int `json:"failedPct"`
	MinAnswered int `json:"minAnswered,omitempty"`
}

const (
	// waitAtOnce is how long one request waits for the end of a command. It is within the
	// time that the default HTTP client gives a request.
	waitAtOnce = 10 * time.Second
	// createTries is how often a command or a message is sent whose answer is lost.
	createTries = 5
	// retryRequest is the pause before a request is repeated, at least; up to as much again
	// is random.
	retryRequest = time.Second
)

// Command sends a command to a channel, and waits for its end as long as ctx lets it,
// with as many requests as that takes. If ctx ends first, the error is ctx's, and the
// Command says how far it has come; its ID is "" if it is not known to be sent.
//
// If the answer to the first request is lost, Command sends it again, up to 4 times. The
// peers are handed the command once all the same: both requests have one idempotency
// key. An HTTPClient of your own must give a request more than 10 s.
func (r *REST) Command(ctx context.Context, channelName string, data any, opt CommandOptions) (Command, error) {
	c, err := r.create(ctx, channelName, data, opt, wait)
	if err != nil {
		return Command{}, err
	}
	for !c.Ended() {
		if ctx.Err() != nil {
			return c, fmt.Errorf("client: command %s is %s: %w", c.ID, c.Status, ctx.Err())
		}
		if wait(ctx) == 0 { // too late for another request
			<-ctx.Done()
			continue
		}
		asked := time.Now()
		next, err := r.ReadCommand(ctx, c.ID)
		switch {
		case err == nil:
			if c = next; !c.Ended() && time.Since(asked) < retryRequest { // it did not wait: too many do
				pauseAfter(ctx, nil)
			}
		case ctx.Err() != nil:
		case passing(err) || CodeOf(err) == protocol.RateLimited:
			pauseAfter(ctx, err)
		default:
			return c, err
		}
	}
	return c, nil
}

// StartCommand sends a command as Command does, and returns when the service has it, without
// waiting for its end: see ReadCommand.
func (r *REST) StartCommand(ctx context.Context, channelName string, data any, opt CommandOptions) (Command, error) {
	return r.create(ctx, channelName, data, opt, func(context.Context) time.Duration { return 0 })
}

// create sends a command until there is an answer. Each request waits for the end of the
// command as long as wait says.
func (r *REST) create(ctx context.Context, channelName string, data any, opt CommandOptions, wait func(context.Context) time.Duration) (c Command, err error) {
	if err := channel.ValidateName(channelName); err != nil {
		return c, fmt.Errorf("client: command: %w", &Error{Code: protocol.InvalidChannel, Message: err.Error()})
	}
	if opt.IdempotencyKey == "" {
		opt.IdempotencyKey = rand.Text()
	}
	err = untilAnswered(ctx, func() error {
		body, err := opt.body(data, wait(ctx))
		if err != nil {
			return err
		}
		return r.post(ctx, "/channels/"+url.PathEscape(channelName)+"/commands", protocol.MaxBodyBytes, body, &c)
	})
	if err != nil {
		return Command{}, fmt.Errorf("client: command to %q: %w", channelName, err)
	}
	return c, nil
}

// untilAnswered makes a request with an idempotency key until there is an answer, but not
// without end.
func untilAnswered(ctx context.Context, request func() error) error {
	for try := 1; ; try++ {
		err := request()
		if err == nil || try == createTries || !passing(err) || ctx.Err() != nil {
			return err
		}
		if pauseAfter(ctx, err); ctx.Err() != nil {
			return fmt.Errorf("%w; the last attempt: %w", ctx.Err(), err)
		}
	}
}

// passing says whether an error may pass: it is not the service's word on the request.
func passing(err error) bool {
	if refused, ok := errors.AsType[*Error](err); ok {
		return refused.Status >= http.StatusInternalServerError
	}
	_, ok := errors.AsType[*url.Error](err)
	return ok || errors.Is(err, errCut)
}

// pauseAfter waits before another request, as long as the answer asked for.
func pauseAfter(ctx context.Context, err error) {
	d := retryRequest
	if refused, ok := errors.AsType[*Error](err); ok {
		d = max(d, min(refused.RetryAfter, maxAsked))
	}
	pause(ctx, d+mathrand.N(retryRequest))
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// ReadCommand returns a command when it has ended, after 10 s, or when ctx is about to
// end, whichever comes first.
func (r *REST) ReadCommand(ctx context.Context, id string) (c Command, err error) {
	path := fmt.Sprintf("/commands/%s?waitMs=%d", url.PathEscape(id), wait(ctx).Milliseconds())
	if err := r.do(ctx, http.MethodGet, path, nil, &c); err != nil {
		return Command{}, fmt.Errorf("client: command %q: %w", id, err)
	}
	return c, nil
}

// CancelCommand cancels a command. The error is an *Error with protocol.CommandFinal if
// it had ended.
func (r *REST) CancelCommand(ctx context.Context, id string) (c Command, err error) {
	if err := r.do(ctx, http.MethodDelete, "/commands/"+url.PathEscape(id), nil, &c); err != nil {
		return Command{}, fmt.Errorf("client: cancel command %q: %w", id, err)
	}
	return c, nil
}

// wait is how long a request waits that has to be over when ctx ends.
func wait(ctx context.Context) time.Duration {
	until, ends := ctx.Deadline()
	if !ends {
		return waitAtOnce
	}
	return min(waitAtOnce, max(0, time.Until(until)-250*time.Millisecond))
}

func (o *CommandOptions) body(data any, wait time.Duration) (json.RawMessage, error) {
	for name, d := range map[string]time.Duration{"TTL": o.TTL, "Timeout": o.Timeout} {
		if d < 0 || d%time.Millisecond != 0 {
			return nil, fmt.Errorf("client: %s of a command is %v; it must be whole milliseconds, and not negative", name, d)
		}
	}
	if o.Expect < 0 {
		return nil, fmt.Errorf("client: Expect of a command is %d; it must not be negative", o.Expect)
	}
	return withData(data, struct {
		From           string   `json:"from,omitempty"`
		WaitMs         int64    `json:"waitMs"`
		TTLMs          int64    `json:"ttlMs,omitempty"`
		TimeoutMs      int64    `json:"timeoutMs,omitempty"`
		Expect         int      `json:"expect,omitempty"`
		IdempotencyKey string   `json:"idempotencyKey"`
		CollapseKey    string   `json:"collapseKey,omitempty"`
		Notify         string   `json:"notify,omitempty"`
		Rollout        *Rollout `json:"rollout,omitempty"`
	}{o.From, wait.Milliseconds(), o.TTL.Milliseconds(), o.Timeout.Milliseconds(), o.Expect, o.IdempotencyKey, o.CollapseKey, o.Notify, o.Rollout})
}

package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"fleetwire/pkg/channel"
	"fleetwire/pkg/protocol"
)

// A Command is a message whose receivers answer (protocol §8). REST.Command returns one
// with what became of it; HandleCommands hands one to the program that has to do it.
type Command struct {
	ID      string
	Channel string
	From    string
	Data    json.RawMessage // byte for byte as it was sent

	// What became of it; only of REST.
	Status  string // such as succeeded, failed, timed_out, mixed; waiting or active while it goes on
	Expect  int    // peers whose end completes it
	Counts  CommandCounts
	Answers []CommandAnswer // of the first 20 peers, by id
	More    bool            // there are others

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
	Peer    string
	Status  string
	Data    json.RawMessage // nil: none
	Attempt int
}

// Ended says whether the status is final.
func (c *Command) Ended() bool { return c.Status != "waiting" && c.Status != "active" }

// CommandOptions change what REST.Command sends. The zero value is fine: a command for
// those who are there now.
type CommandOptions struct {
	From           string        // who it says it is from; "": server
	TTL            time.Duration // for how long it may be handed to peers that subscribe later
	Timeout        time.Duration // for each peer's answer; 0: 30 s
	Expect         int           // peers whose end completes it; 0: those who are subscribed by name
	IdempotencyKey string
	CollapseKey    string
	Notify         string // a channel that hears how it goes on
}

// waitAtOnce is how long one request waits for the end of a command. It is within the
// time that the default HTTP client gives a request.
const waitAtOnce = 10 * time.Second

// Command sends a command to a channel, and waits for its end as long as ctx lets it,
// with as many requests as that takes. If ctx ends first, the error is ctx's, and the
// Command says how far it has come; its ID is "" if it is not known to be sent.
func (r *REST) Command(ctx context.Context, channelName string, data any, opt CommandOptions) (Command, error) {
	if err := channel.ValidateName(channelName); err != nil {
		return Command{}, fmt.Errorf("client: command: %w", &Error{Code: protocol.InvalidChannel, Message: err.Error()})
	}
	body, err := opt.body(data, wait(ctx))
	if err != nil {
		return Command{}, err
	}
	var c Command
	if err := r.post(ctx, "/channels/"+url.PathEscape(channelName)+"/commands", protocol.MaxBodyBytes, body, &c); err != nil {
		return Command{}, fmt.Errorf("client: command to %q: %w", channelName, err)
	}
	for !c.Ended() {
		if ctx.Err() != nil {
			return c, fmt.Errorf("client: command %s is %s: %w", c.ID, c.Status, ctx.Err())
		}
		if wait(ctx) == 0 { // too late for another request
			<-ctx.Done()
			continue
		}
		next, err := r.ReadCommand(ctx, c.ID)
		switch {
		case err == nil:
			c = next
		case ctx.Err() != nil:
		case CodeOf(err) == protocol.BackendError || CodeOf(err) == protocol.RateLimited:
			pause(ctx, time.Second)
		default:
			return c, err
		}
	}
	return c, nil
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
	raw, err := encode(data)
	if err != nil {
		return nil, err
	}
	if o.TTL < 0 || o.Timeout < 0 || o.Expect < 0 {
		return nil, errors.New("client: TTL, Timeout and Expect of a command must not be negative")
	}
	rest, err := encode(struct {
		From           string `json:"from,omitempty"`
		WaitMs         int64  `json:"waitMs"`
		TTLMs          int64  `json:"ttlMs,omitempty"`
		TimeoutMs      int64  `json:"timeoutMs,omitempty"`
		Expect         int    `json:"expect,omitempty"`
		IdempotencyKey string `json:"idempotencyKey,omitempty"`
		CollapseKey    string `json:"collapseKey,omitempty"`
		Notify         string `json:"notify,omitempty"`
	}{o.From, wait.Milliseconds(), o.TTL.Milliseconds(), o.Timeout.Milliseconds(), o.Expect, o.IdempotencyKey, o.CollapseKey, o.Notify})
	if err != nil {
		return nil, err
	}
	// encoding/json would compact the data.
	body := append([]byte(`{"data":`), raw...)
	return append(append(body, ','), rest[1:]...), nil
}

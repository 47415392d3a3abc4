// Package sink delivers the messages of groups to webhooks, queues and streams (protocol §10.4).
package sink

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Message is a message of a group on its way to a target.
type Message struct {
	ID           string // the same at every delivery; no other message of the app has it in this group
	App, Group   string
	Channel      string
	From         string
	FromMetadata json.RawMessage // nil: the sender has none
	Data         json.RawMessage
	PublishedAt  int64 // unix ms, by Redis's clock
	Attempt      int   // 1, or more if it was delivered before
}

// Target is where a sink delivers to.
type Target interface {
	// Deliver delivers a batch of at least one message. Those of a channel are in order. It
	// returns one result for each message: nil, the target has it; a *Refused, the target does
	// not take this message, and that is the message's fault; ErrGone, the target wants nothing
	// any more; any other error, such as an *Unavailable, the target takes nothing now. It
	// is called by several goroutines at once. When ctx ends, it returns soon.
	Deliver(ctx context.Context, batch []Message) []error
	// Close frees what the target holds. No Deliver is under way then.
	Close() error
}

// ErrGone reports that a target wants no message any more: the sink stops.
var ErrGone = errors.New("the target is gone")

// Refused reports that a target does not take one message. The delivery counts: the message
// becomes a dead letter if it is refused too often.
type Refused struct{ Reason string }

func (e *Refused) Error() string { return e.Reason }

// Unavailable reports that a target takes nothing now. No delivery counts.
type Unavailable struct {
	Reason string
	// RetryAfter is for how long the target asks not to be tried again. 0: it does not say.
	RetryAfter time.Duration
}

func (e *Unavailable) Error() string { return e.Reason }

// All is one result for each of n messages.
func All(n int, result error) []error {
	results := make([]error, n)
	for i := range results {
		results[i] = result
	}
	return results
}

// KeepOrder has messages behind one that the target did not take now come again with it: of each
// channel, results after the first that is neither nil nor a *Refused become that one. The target
// may have some of them already; then it gets them twice, and the last time in order.
func KeepOrder(batch []Message, results []error) {
	failed := map[string]error{}
	for i := range batch {
		if before, ok := failed[batch[i].Channel]; ok {
			results[i] = before
			continue
		}
		var refused *Refused
		if results[i] != nil && !errors.As(results[i], &refused) {
			failed[batch[i].Channel] = results[i]
		}
	}
}

package client

import (
	"errors"
	"time"

	"fleetwire/clients/go/protocol"
)

const (
	firstBound = time.Second
	lastBound  = time.Minute
	// connectionLimitPause is how long to stay away after 4010 at least (protocol §4.5).
	connectionLimitPause = 30 * time.Second
	// maxAsked bounds what a going_away frame or a Retry-After can ask for.
	maxAsked = 5 * time.Minute
	// settled is how long a connection must last for the bound to go back to its first.
	settled = 10 * time.Second
)

// An ending is how an attempt or a connection ended.
type ending struct {
	err      error
	welcomed bool
	lived    time.Duration // since the welcome
	backAt   time.Time     // when a going_away frame wants the client back; zero: whenever
}

// backoff decides what to do after an ending (protocol §4.5).
type backoff struct {
	jitter   func(bound time.Duration) time.Duration // random in [0, bound)
	failures int
	refused  bool // the last token was refused with 4001
	expired  bool // the last attempt ended with 4002, before a welcome
}

// A step is what to do next.
type step struct {
	stop     bool
	newToken bool
	pause    time.Duration
}

func (b *backoff) after(e ending) step {
	if e.welcomed {
		b.refused, b.expired = false, false
	}
	if e.lived >= settled {
		b.failures = 0
	}
	switch CloseCodeOf(e.err) {
	case protocol.CloseChannelNotCovered, protocol.CloseSuspended, protocol.CloseDisconnected:
		return step{stop: true}
	case protocol.CloseInvalidCredential:
		if b.refused {
			return step{stop: true}
		}
		b.refused = true
		return step{newToken: true, pause: b.grow()}
	case protocol.CloseExpired:
		if b.expired {
			return step{newToken: true, pause: b.grow()}
		}
		b.expired = !e.welcomed
		return step{newToken: true}
	case protocol.CloseConnectionLimit:
		return step{pause: connectionLimitPause + b.grow()}
	}
	switch refused, _ := errors.AsType[*Error](e.err); {
	case errors.Is(e.err, ErrStop):
		return step{stop: true}
	case !e.backAt.IsZero():
		return step{pause: max(time.Until(e.backAt), 0)}
	case refused != nil && refused.RetryAfter > 0:
		return step{pause: min(refused.RetryAfter, maxAsked) + b.grow()}
	}
	return step{pause: b.grow()}
}

// grow is the next pause.
func (b *backoff) grow() time.Duration {
	bound := min(firstBound<<min(b.failures, 6), lastBound)
	b.failures++
	return b.jitter(bound)
}

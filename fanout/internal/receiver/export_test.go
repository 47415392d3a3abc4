package receiver

import (
	"context"
	"time"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/rediskeys"
)

// MessagesTopic is the Redis channel of a channel's messages.
func MessagesTopic(app, name string) string {
	return rediskeys.Namespace{}.Topic(envelope.KindMessages, app, name)
}

// ExpectProbesWithin has the link given up when a probe does not come in for so long.
func (r *Receiver) ExpectProbesWithin(patience time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.patience = patience
}

// Pausing has f called instead of pausing between attempts to connect. It is to be
// set before Run.
func (r *Receiver) Pausing(f func(context.Context, time.Duration)) { r.pause = f }

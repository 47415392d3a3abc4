package broker

import (
	"context"
	"time"

	"fleetwire/pkg/rediskeys"
)

// MessagesTopic is the Redis channel of a channel's messages.
func MessagesTopic(app, name string) string {
	return rediskeys.Namespace{}.Topic(KindMessages, app, name)
}

// ExpectProbesWithin has the link given up when a probe is not heard for so long.
func (b *Broker) ExpectProbesWithin(patience time.Duration) {
	b.interests.mu.Lock()
	defer b.interests.mu.Unlock()
	b.interests.patience = patience
}

// Pausing has f called instead of pausing between attempts to connect. It is to be
// set before Run.
func (b *Broker) Pausing(f func(context.Context, time.Duration)) { b.interests.pause = f }

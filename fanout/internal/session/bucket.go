package session

import (
	"time"

	"fleetwire/pkg/apps"
)

// bucket is a connection's token bucket (protocol §6) in one number: when the
// bucket would be full again (Options.Ticks). An idle connection pays 8 bytes
// for it.
type bucket time.Duration

// take takes a token, if there is one.
func (b *bucket) take(now time.Duration, limits *apps.Limits) bool {
	perToken := time.Second / time.Duration(limits.ConnectionMessagesPerSec)
	full := max(time.Duration(*b), now) + perToken
	if full-now > perToken*time.Duration(limits.ConnectionMessagesBurst) {
		return false
	}
	*b = bucket(full)
	return true
}

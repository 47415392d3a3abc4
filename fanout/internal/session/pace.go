package session

import (
	"time"

	"fleetwire/pkg/apps"
)

// pace is a connection's token bucket (protocol §6) in one number: when the
// bucket would be full again (Options.Ticks). An idle connection pays 8 bytes
// for it.
type pace time.Duration

// take takes a token, if there is one.
func (p *pace) take(now time.Duration, limits *apps.Limits) bool {
	perToken := time.Second / time.Duration(limits.ConnectionMessagesPerSec)
	full := max(time.Duration(*p), now) + perToken
	if full-now > perToken*time.Duration(limits.ConnectionMessagesBurst) {
		return false
	}
	*p = pace(full)
	return true
}

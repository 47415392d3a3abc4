package session

import (
	"time"

	"fleetwire/pkg/apps"
)

// pace is a connection's token bucket (protocol §6) in one number: when the
// bucket would be full again, unix nanoseconds. An idle connection pays 8 bytes
// for it.
type pace int64

// take takes a token, if there is one.
func (p *pace) take(now time.Time, limits *apps.Limits) bool {
	perToken := int64(time.Second) / int64(limits.ConnectionMessagesPerSec)
	at := now.UnixNano()
	full := max(int64(*p), at) + perToken
	if full-at > perToken*int64(limits.ConnectionMessagesBurst) {
		return false
	}
	*p = pace(full)
	return true
}

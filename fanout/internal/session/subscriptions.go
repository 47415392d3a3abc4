package session

import "fleetwire/pkg/channel"

// subscriptions are what a connection has subscribed to: protocol.MaxSubscriptions
// at most, and mostly one or two, for which a map would be ten times as large.
type subscriptions []subscription

type subscription struct {
	name    string           // channel or pattern as asked for
	pattern *channel.Pattern // nil: a channel
}

func (s subscriptions) find(name string) int {
	for i := range s {
		if s[i].name == name {
			return i
		}
	}
	return -1
}

func (s subscriptions) has(name string) bool { return s.find(name) >= 0 }

// put adds a subscription, unless it is there.
func (s *subscriptions) put(name string, pattern *channel.Pattern) {
	if !s.has(name) {
		*s = append(*s, subscription{name, pattern})
	}
}

// take takes a subscription out, and says whether it was there.
func (s *subscriptions) take(name string) (pattern *channel.Pattern, there bool) {
	i := s.find(name)
	if i < 0 {
		return nil, false
	}
	all := *s
	pattern = all[i].pattern
	last := len(all) - 1
	all[i] = all[last]
	all[last] = subscription{}
	*s = all[:last]
	return pattern, true
}

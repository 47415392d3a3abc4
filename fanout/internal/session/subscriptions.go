package session

import (
	"sync/atomic"

	"fleetwire/clients/go/channel"
)

// subscriptions are what a connection has subscribed to: protocol.MaxSubscriptions
// at most, and mostly one or two, for which a map would be ten times as large.
type subscriptions []subscription

type subscription struct {
	name    string           // channel or pattern as asked for
	pattern *channel.Pattern // nil: a channel
	// follower is what the hub knows as the Subscriber in a channel that remembers.
	follower *follower
	standing *standing
}

// standing is what became of the subscribes that a subscription stands by: several, if the
// peer subscribes again while it lasts.
type standing struct {
	pending   atomic.Int32 // that Redis has yet to confirm
	confirmed atomic.Bool  // one is
	ended     atomic.Bool  // the subscription is over; a later one of its name has its own
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

// put adds a subscription, or has it in the place of the one of that name.
func (s *subscriptions) put(one subscription) {
	i := s.find(one.name)
	if i < 0 {
		*s = append(*s, one)
		return
	}
	if was := (*s)[i].follower; was != nil && was != one.follower {
		was.stop()
	}
	(*s)[i] = one
}

func (s subscriptions) follower(name string) *follower {
	if i := s.find(name); i >= 0 {
		return s[i].follower
	}
	return nil
}

func (s subscriptions) standing(name string) *standing {
	if i := s.find(name); i >= 0 {
		return s[i].standing
	}
	return nil
}

// take takes a subscription out, and says whether it was there.
func (s *subscriptions) take(name string) (taken subscription, there bool) {
	i := s.find(name)
	if i < 0 {
		return subscription{}, false
	}
	all := *s
	taken = all[i]
	last := len(all) - 1
	all[i] = all[last]
	all[last] = subscription{}
	*s = all[:last]
	return taken, true
}

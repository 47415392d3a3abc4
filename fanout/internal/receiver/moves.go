package receiver

import "slices"

// Subscriptions move here from shard to shard, as their slots move between the masters of a
// cluster. All functions but pushedOut and refusedForSlot are called with Receiver.mu held.

// goneAstray has a subscription wait for the topology: the master says that it has not
// got the slot. It may be that the master had it a moment ago and delivered.
func (sh *shard) goneAstray(s *subscription) {
	s.subscribed = false
	sh.wait(s)
}

// wait has a subscription wait until the topology was read, and be sent again then.
func (sh *shard) wait(s *subscription) {
	if !s.starting {
		s.starting = true
		sh.unconfirmed++
	}
	sh.astray = append(sh.astray, s)
}

// pushedOut takes it that the master ended a subscription by itself, as it does when the
// slot moves to another.
func (sh *shard) pushedOut(topic string) {
	sh.r.mu.Lock()
	if s := sh.wanted[topic]; s != nil && s.subscribed && s.asked == s.confirmed {
		sh.goneAstray(s)
	} // else the answer to the last command says what holds
	sh.r.mu.Unlock()
	sh.r.lookForMasters()
}

// refusedForSlot takes it that a command was answered so.
func (sh *shard) refusedForSlot(topics []string) {
	sh.r.mu.Lock()
	var completed []completion
	for _, topic := range topics {
		s := sh.wanted[topic]
		if s == nil || s.confirmed == s.asked {
			continue
		}
		if s.confirmed++; s.confirmed == s.asked && s.subscribed {
			sh.goneAstray(s)
			continue
		}
		completed = sh.takeCompleted(completed, s)
	}
	sh.r.mu.Unlock()
	completeAll(completed)
}

// retryAstray has subscriptions sent again that the master is still known to have the
// slots of, now that the topology was read once more.
func (sh *shard) retryAstray() {
	if len(sh.astray) == 0 {
		return
	}
	for _, s := range sh.astray {
		sh.markChanged(s)
	}
	sh.astray = nil
	sh.wake.Set()
}

// owns says whether a subscription is still this shard's.
func (sh *shard) owns(s *subscription) bool {
	return !sh.sharded() || sh.wanted[s.topic] == s
}

// release lets go of a subscription that another shard adopts.
func (sh *shard) release(s *subscription) {
	delete(sh.wanted, s.topic)
	delete(sh.refusals, s.topic)
	if s.starting {
		sh.unconfirmed--
	}
}

// left ends a row of releases.
func (sh *shard) left(completed []completion) []completion {
	foreign := func(s *subscription) bool { return !sh.owns(s) }
	sh.changed = slices.DeleteFunc(sh.changed, foreign)
	sh.astray = slices.DeleteFunc(sh.astray, foreign)
	return sh.takeRestored(completed)
}

// adopt takes over a subscription, of which Redis has been sent nothing here. It appends
// the calls that wait for it, if they would wait for a link.
func (sh *shard) adopt(completed []completion, s *subscription) []completion {
	waiting := s.waiting
	*s = subscription{key: s.key, topic: s.topic, subscribers: s.subscribers}
	if sh.proven() && s.subscribers > 0 {
		s.waiting, waiting = waiting, nil
	}
	for _, done := range waiting {
		completed = append(completed, completion{done, ErrDown})
	}
	if s.subscribers == 0 {
		return completed
	}
	sh.wanted[s.topic] = s
	if sh.link != nil {
		sh.start(s)
		sh.wake.Set()
	}
	return completed
}

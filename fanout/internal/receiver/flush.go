package receiver

import "context"

// flush sends all changes that have gathered: the subscriptions first, then the
// subscriber counts while Redis works on those.
func (r *Receiver) flush(ctx context.Context, l *link) error {
	r.mu.Lock()
	if r.link == nil {
		r.mu.Unlock()
		return nil // up will mark everything as changed
	}
	r.followIdentity()
	changed := r.changed
	r.changed = nil
	commands, counted := r.commandsFor(changed)
	r.mu.Unlock()

	for _, c := range commands {
		if err := l.send(ctx, c.verb, c.topics...); err != nil {
			return err
		}
	}
	if err := r.counts.write(ctx, counted); err != nil {
		return err
	}

	var completed []completion
	r.mu.Lock()
	for _, c := range counted {
		c.of.counted = c.subscribers
	}
	for _, s := range changed {
		completed = r.takeCompleted(completed, s)
	}
	r.mu.Unlock()
	completeAll(completed)
	return nil
}

// commandsFor returns the commands and the counts that make Redis follow what has
// changed. It is called with r.mu held.
func (r *Receiver) commandsFor(changed []*subscription) (commands []command, counted []countChange) {
	var shared [4]command
	for v, verb := range []verb{subscribe, psubscribe, unsubscribe, punsubscribe} {
		shared[v].verb = verb
	}
	for _, s := range changed {
		s.changed = false
		s.sent, s.covered = s.subscribers, int32(len(s.waiting))
		if s.key.counted() && s.counted != s.sent && r.counts.identity != "" {
			counted = append(counted, countChange{s, s.sent})
		}
		wanted := s.sent > 0
		if wanted == s.subscribed || wanted && s.refusal != nil {
			continue
		}
		s.subscribed = wanted
		s.asked++
		v := 0
		if !wanted {
			v = 2
		}
		if s.key.pattern {
			v++
		}
		if s.alone && wanted {
			commands = append(commands, command{shared[v].verb, []string{s.topic}})
			continue
		}
		shared[v].topics = append(shared[v].topics, s.topic)
	}
	for _, c := range shared {
		for len(c.topics) > 0 {
			n := min(topicsPerCommand, len(c.topics))
			commands = append(commands, command{c.verb, c.topics[:n:n]})
			c.topics = c.topics[n:]
		}
	}
	return commands, counted
}

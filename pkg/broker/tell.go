package broker

import "context"

// tell sends all changes that have gathered: the subscriptions first, then the
// subscriber counts while Redis works on those.
func (in *interests) tell(ctx context.Context, l *link) error {
	in.mu.Lock()
	if in.link == nil {
		in.mu.Unlock()
		return nil // up will mark everything as changed
	}
	in.followIdentity()
	changed := in.dirty
	in.dirty = nil
	commands, counted := in.toTell(changed)
	in.mu.Unlock()

	for _, c := range commands {
		if err := l.send(ctx, c.verb, c.topics...); err != nil {
			return err
		}
	}
	if err := in.counts.write(ctx, counted); err != nil {
		return err
	}

	var told []settled
	in.mu.Lock()
	for _, c := range counted {
		c.interest.counted = c.subscribers
	}
	for _, i := range changed {
		told = in.takeSettled(told, i)
	}
	in.mu.Unlock()
	tellAll(told)
	return nil
}

// toTell returns the commands and the counts that make Redis follow what has
// changed. It is called with in.mu held.
func (in *interests) toTell(changed []*interest) (commands []command, counted []countChange) {
	var together [4]command
	for v, verb := range []verb{subscribe, psubscribe, unsubscribe, punsubscribe} {
		together[v].verb = verb
	}
	for _, i := range changed {
		i.dirty = false
		i.told, i.heard = i.subscribers, int32(len(i.waiting))
		if i.key.counted() && i.counted != i.told && in.counts.node != "" {
			counted = append(counted, countChange{i, i.told})
		}
		wanted := i.told > 0
		if wanted == i.subscribed || wanted && i.refusal != nil {
			continue
		}
		i.subscribed = wanted
		i.asked++
		v := 0
		if !wanted {
			v = 2
		}
		if i.key.pattern {
			v++
		}
		if i.alone && wanted {
			commands = append(commands, command{together[v].verb, []string{i.topic}})
			continue
		}
		together[v].topics = append(together[v].topics, i.topic)
	}
	for _, c := range together {
		for len(c.topics) > 0 {
			n := min(topicsPerCommand, len(c.topics))
			commands = append(commands, command{c.verb, c.topics[:n:n]})
			c.topics = c.topics[n:]
		}
	}
	return commands, counted
}

package receiver

import (
	"context"
	"iter"
	"slices"

	"fleetwire/pkg/rediskeys"
)

// flush sends all changes that have gathered: the subscriptions first, then the keys of
// wildcards and the subscriber counts while Redis works on those.
func (sh *shard) flush(ctx context.Context, l *link) error {
	r := sh.r
	r.mu.Lock()
	if sh.link == nil {
		r.mu.Unlock()
		return nil // up will mark everything as changed
	}
	r.followIdentity()
	changed := sh.changed
	sh.changed = nil
	commands, counted := sh.commandsFor(changed)
	r.mu.Unlock()

	for _, c := range commands {
		if err := l.send(ctx, c.verb, c.topics...); err != nil {
			return err
		}
	}
	if sh.sharded() {
		sh.setWildcards(ctx, counted)
	}
	if err := r.counts.write(ctx, counted); err != nil {
		return err
	}

	var completed []completion
	r.mu.Lock()
	for _, c := range counted {
		if sh.owns(c.of) {
			sh.counted(c)
		}
	}
	for _, s := range changed {
		if sh.owns(s) {
			completed = sh.takeCompleted(completed, s)
		}
	}
	r.mu.Unlock()
	completeAll(completed)
	return nil
}

// commandsFor returns the commands and the counts that make Redis follow what has
// changed. It is called with r.mu held.
func (sh *shard) commandsFor(changed []*subscription) (commands []command, counted []countChange) {
	topics := map[verb][]string{}
	for _, s := range changed {
		s.changed = false
		s.sent, s.covered = s.subscribers, int32(len(s.waiting))
		if s.key.written() && s.counted != s.sent && s.refusal == nil && (s.key.all || sh.r.counts.identity != "") {
			counted = append(counted, countChange{of: s, subscribers: s.sent})
		}
		wanted := s.sent > 0
		if wanted == s.subscribed || wanted && s.refusal != nil {
			continue
		}
		s.subscribed = wanted
		s.asked++
		v := verbFor(sh.sharded(), wanted, s.key.pattern)
		if s.alone && wanted {
			commands = append(commands, command{v, []string{s.topic}})
			continue
		}
		topics[v] = append(topics[v], s.topic)
	}
	for _, v := range []verb{subscribe, psubscribe, unsubscribe, punsubscribe, ssubscribe, sunsubscribe} {
		for topicsOfSlot := range sh.bySlot(topics[v]) {
			for some := range slices.Chunk(topicsOfSlot, topicsPerCommand) {
				commands = append(commands, command{v, some})
			}
		}
	}
	return commands, counted
}

// bySlot splits topics into those that a command may have at once: a cluster refuses
// one that has topics in several slots.
func (sh *shard) bySlot(topics []string) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		if !sh.sharded() {
			yield(topics)
			return
		}
		bySlot := map[int][]string{}
		for _, topic := range topics {
			slot := rediskeys.Slot(topic)
			bySlot[slot] = append(bySlot[slot], topic)
		}
		for _, some := range bySlot {
			if !yield(some) {
				return
			}
		}
	}
}

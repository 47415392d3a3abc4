package embedded

import (
	"strings"
	"sync"

	"github.com/alicebob/miniredis/v2/server"
)

// maxQueued is how many messages wait for a connection. PUBLISH waits for a
// connection that is further behind.
const maxQueued = 1024

// pubsub holds all subscriptions. Messages go out to every connection in the order in
// which they were published.
type pubsub struct {
	mu          sync.Mutex
	subscribers map[*server.Peer]*subscriber
	topics      topics
	globs       topics
}

// topics are topics or globs, and who subscribes to each.
type topics map[string]map[*subscriber]struct{}

// subscriber is a connection that subscribes.
type subscriber struct {
	peer   *server.Peer
	topics map[string]struct{}
	globs  map[string]struct{}
	queue  chan func(*server.Writer)
	gone   chan struct{} // closed when the connection is
}

func newPubSub() *pubsub {
	return &pubsub{subscribers: map[*server.Peer]*subscriber{}, topics: topics{}, globs: topics{}}
}

// handle answers the commands of pub/sub that are well formed.
func (p *pubsub) handle(c *server.Peer, command string, args []string) (done bool) {
	switch {
	case command == "PUBLISH" && len(args) == 2:
		c.WriteInt(p.publish(args[0], args[1]))
	case (command == "SUBSCRIBE" || command == "PSUBSCRIBE") && len(args) > 0:
		p.subscribe(c, command, args)
	case command == "UNSUBSCRIBE" || command == "PUNSUBSCRIBE":
		p.unsubscribe(c, command, args)
	case command == "PUBSUB" && len(args) > 0:
		return p.tell(c, strings.ToUpper(args[0]), args[1:])
	default:
		return false
	}
	return true
}

// publish returns the number of subscriptions that the message matched.
func (p *pubsub) publish(topic, message string) (receivers int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.topics[topic] {
		s.push("message", topic, message)
		receivers++
	}
	for glob, subscribers := range p.globs {
		if !matchGlob(glob, topic) {
			continue
		}
		for s := range subscribers {
			s.push("pmessage", glob, topic, message)
			receivers++
		}
	}
	return receivers
}

// of returns the topics or globs of all subscribers, and the subscriber's own, for a command.
func (p *pubsub) of(s *subscriber, command string) (all topics, own map[string]struct{}) {
	if command[0] == 'P' {
		return p.globs, s.globs
	}
	return p.topics, s.topics
}

func (p *pubsub) subscribe(c *server.Peer, command string, names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.subscriber(c)
	all, own := p.of(s, command)
	for _, name := range names {
		if all[name] == nil {
			all[name] = map[*subscriber]struct{}{}
		}
		all[name][s] = struct{}{}
		own[name] = struct{}{}
		s.confirm(command, name)
	}
}

// unsubscribe takes back the named subscriptions; without names, all of the kind.
func (p *pubsub) unsubscribe(c *server.Peer, command string, names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.subscriber(c)
	all, own := p.of(s, command)
	if len(names) == 0 {
		for name := range own {
			names = append(names, name)
		}
	}
	for _, name := range names {
		all.remove(name, s)
		delete(own, name)
		s.confirm(command, name)
	}
}

func (all topics) remove(name string, s *subscriber) {
	delete(all[name], s)
	if len(all[name]) == 0 {
		delete(all, name)
	}
}

// subscriber returns the connection's, new if there is none. It is called with mu
// held.
func (p *pubsub) subscriber(c *server.Peer) *subscriber {
	if s := p.subscribers[c]; s != nil {
		return s
	}
	s := &subscriber{
		peer: c, topics: map[string]struct{}{}, globs: map[string]struct{}{},
		queue: make(chan func(*server.Writer), maxQueued), gone: make(chan struct{}),
	}
	p.subscribers[c] = s
	c.OnDisconnect(func() {
		close(s.gone) // first: a PUBLISH that holds mu may wait for the queue
		p.forget(s)
	})
	go s.write()
	return s
}

func (p *pubsub) forget(s *subscriber) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.subscribers, s.peer)
	for name := range s.topics {
		p.topics.remove(name, s)
	}
	for glob := range s.globs {
		p.globs.remove(glob, s)
	}
}

// confirm answers one name of a SUBSCRIBE or UNSUBSCRIBE of either kind.
func (s *subscriber) confirm(command, name string) {
	count := len(s.topics) + len(s.globs)
	s.send(func(w *server.Writer) {
		w.WritePushLen(3)
		w.WriteBulk(strings.ToLower(command))
		w.WriteBulk(name)
		w.WriteInt(count)
	})
}

func (s *subscriber) push(parts ...string) {
	s.send(func(w *server.Writer) {
		w.WritePushLen(len(parts))
		for _, part := range parts {
			w.WriteBulk(part)
		}
	})
}

func (s *subscriber) send(write func(*server.Writer)) {
	select {
	case s.queue <- write:
	case <-s.gone:
	}
}

// write writes the queue to the connection until that is gone.
func (s *subscriber) write() {
	for {
		select {
		case <-s.gone:
			return
		case write := <-s.queue:
			s.peer.Block(write)
			if len(s.queue) == 0 {
				s.peer.Flush()
			}
		}
	}
}

// tell answers PUBSUB.
func (p *pubsub) tell(c *server.Peer, subcommand string, args []string) (done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case subcommand == "NUMPAT" && len(args) == 0:
		c.WriteInt(len(p.globs))
	case subcommand == "NUMSUB":
		c.WriteLen(2 * len(args))
		for _, topic := range args {
			c.WriteBulk(topic)
			c.WriteInt(len(p.topics[topic]))
		}
	case subcommand == "CHANNELS" && len(args) < 2:
		var found []string
		for topic := range p.topics {
			if len(args) == 0 || matchGlob(args[0], topic) {
				found = append(found, topic)
			}
		}
		c.WriteStrings(found)
	default:
		return false
	}
	return true
}

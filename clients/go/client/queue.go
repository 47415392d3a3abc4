package client

import (
	"slices"
	"sync"
)

const (
	// messageOverhead is what a waiting message counts beside its bytes.
	messageOverhead = 256
	// memberOverhead is what a peer in a presence counts.
	memberOverhead = 64
	// maxNotices bounds the changes and errors that wait; beyond it the oldest goes.
	// Only a handler that never returns gets there.
	maxNotices = 256
)

// An item waits to be told to the program: a message, a presence, a change, a gap or an
// error.
type item struct {
	message  *Message
	presence *Presence
	change   *Change
	gap      *Gap
	err      error
}

// size is 0 for notices.
func (i item) size() int {
	switch {
	case i.message != nil:
		return messageOverhead + len(i.message.Channel) + len(i.message.Data) + len(i.message.SenderMetadata)
	case i.presence != nil:
		size := messageOverhead + len(i.presence.Channel)
		for _, members := range [][]Member{i.presence.Joined, i.presence.Left} {
			for _, m := range members {
				size += memberOverhead + len(m.Peer) + len(m.Metadata)
			}
		}
		return size
	default:
		return 0
	}
}

func (i item) setMissed(n int) {
	if i.message != nil {
		i.message.Missed = n
	} else {
		i.presence.Missed = n
	}
}

// queue holds items in order, messages and presences up to a bound. Putting never waits.
type queue struct {
	bound int
	ready chan struct{} // has one in it when there may be something to take

	mu       sync.Mutex
	items    []item
	bytes    int
	notices  int
	missed   int
	finished bool
}

func newQueue(bound int) *queue { return &queue{bound: bound, ready: make(chan struct{}, 1)} }

// put adds an item. It returns how many messages have been missed in a row: 0 if
// this one was taken.
func (q *queue) put(i item) (missed int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := i.size()
	if size == 0 {
		if q.notices == maxNotices {
			oldest := slices.IndexFunc(q.items, func(i item) bool { return i.size() == 0 })
			q.items = slices.Delete(q.items, oldest, oldest+1)
			q.notices--
		}
		q.notices++
	} else {
		// One message always fits, however large.
		if q.bytes > 0 && q.bytes+size > q.bound {
			q.missed++
			return q.missed
		}
		i.setMissed(q.missed)
		q.missed = 0
		q.bytes += size
	}
	q.items = append(q.items, i)
	q.wake()
	return 0
}

// finish lets take end once everything has been taken.
func (q *queue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished = true
	q.wake()
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take waits for the next item; false when there will be none, or stop is closed.
func (q *queue) take(stop <-chan struct{}) (item, bool) {
	for {
		select {
		case <-stop: // first: after it nothing more is told
			return item{}, false
		default:
		}
		q.mu.Lock()
		if len(q.items) > 0 {
			i := q.items[0]
			q.items[0] = item{}
			q.items = q.items[1:]
			size := i.size()
			q.bytes -= size
			if size == 0 {
				q.notices--
			}
			q.mu.Unlock()
			return i, true
		}
		finished := q.finished
		q.mu.Unlock()
		if finished {
			return item{}, false
		}
		select {
		case <-q.ready:
		case <-stop:
			return item{}, false
		}
	}
}

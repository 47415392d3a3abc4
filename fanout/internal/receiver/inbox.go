package receiver

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"

	"fleetwire/pkg/batch"
	"fleetwire/pkg/envelope"
)

// maxInboxBytes bounds what a node that does not keep up sets aside, for all apps
// together. Past it the link to Redis is given up and made anew, as Redis itself
// would do with a subscriber that falls behind.
const maxInboxBytes = 256 << 20

// maxSpare bounds the room for messages that an app's backlog keeps for the next.
const maxSpare = 4096

var errInboxFull = errors.New("this node does not keep up with what comes from redis; messages are lost")

// Deliver is given messages of one app, in the order in which they came. It does a
// part of the work that they make, short enough for the other apps to wait for, and
// returns how many messages at the head of the batch are finished. It is called
// again with the rest of the batch, after every other app that has messages waiting
// had its turn. Only one goroutine calls it at a time.
type Deliver func(batch []envelope.Delivery) (finished int)

// inbox is where the receiving goroutines put what comes from Redis, and from where
// one goroutine delivers it. The apps take turns (Deliver), so that none waits for
// all that another has. A turn begins with everything that has come for the app
// meanwhile: the longer the turns take, the larger the next batch.
type inbox struct {
	mu    sync.Mutex
	apps  map[string]*backlog // those that have messages which are not finished
	first *backlog            // of those whose turn comes, in that order
	last  *backlog
	spare *backlog // an empty one, for the next app
	bytes int      // of all messages that are not finished
	wake  batch.Signal
}

// backlog is what has yet to be delivered for one app.
type backlog struct {
	app     string
	next    *backlog            // whose turn comes behind it
	arrived []envelope.Delivery // since the batch was taken

	// Owned by the delivering goroutine.
	batch []envelope.Delivery
	done  int // finished messages at the head of the batch
}

func newInbox() *inbox {
	return &inbox{apps: map[string]*backlog{}, wake: batch.NewSignal()}
}

func (in *inbox) add(d envelope.Delivery) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.bytes+len(d.Frame) > maxInboxBytes {
		return errInboxFull
	}
	in.bytes += len(d.Frame)
	b := in.apps[d.App]
	if b == nil {
		b = in.begin(d.App)
	}
	b.arrived = append(b.arrived, d)
	return nil
}

// begin has the app take turns.
func (in *inbox) begin(app string) *backlog {
	b := in.spare
	if b == nil {
		b = &backlog{}
	}
	in.spare = nil
	b.app = app
	in.apps[app] = b
	in.queue(b)
	if len(in.apps) == 1 { // else the delivering goroutine is at work
		in.wake.Set()
	}
	return b
}

// queue puts a backlog behind all others whose turn comes.
func (in *inbox) queue(b *backlog) {
	if in.first == nil {
		in.first = b
	} else {
		in.last.next = b
	}
	in.last = b
}

// announcementSeed makes announcementID's values differ from process to process.
var announcementSeed = maphash.MakeSeed()

// announcementID stands in for the number that announcements, which scripts
// publish, do not have: copies of one have the same.
func announcementID(app, channel, payload string) uint64 {
	return maphash.Comparable(announcementSeed, [3]string{app, channel, payload})
}

func (in *inbox) run(ctx context.Context, deliver Deliver) {
	for ctx.Err() == nil {
		b := in.take()
		if b == nil {
			select {
			case <-ctx.Done():
			case <-in.wake:
			}
			continue
		}
		in.finish(b, b.deliver(deliver))
	}
}

// take returns the backlog whose turn it is, nil if there is none.
func (in *inbox) take() *backlog {
	in.mu.Lock()
	defer in.mu.Unlock()
	b := in.first
	if b == nil {
		return nil
	}
	in.first, b.next = b.next, nil
	if len(b.batch) == 0 {
		b.batch, b.arrived = b.arrived, b.batch
	}
	return b
}

// deliver is one turn. It returns how many bytes the finished messages had.
func (b *backlog) deliver(deliver Deliver) (bytes int) {
	finished := b.batch[b.done:]
	finished = finished[:deliver(finished)]
	for i := range finished {
		bytes += len(finished[i].Frame)
	}
	clear(finished) // let go of the frames
	if b.done += len(finished); b.done == len(b.batch) {
		b.batch, b.done = b.batch[:0], 0
		if cap(b.batch) > maxSpare {
			b.batch = nil
		}
	}
	return bytes
}

// finish ends a turn: an app that has more messages waits for its next one.
func (in *inbox) finish(b *backlog, bytes int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.bytes -= bytes
	if len(b.batch)+len(b.arrived) > 0 {
		in.queue(b)
		return
	}
	delete(in.apps, b.app)
	in.spare = b
}

package broker

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"

	"github.com/redis/go-redis/v9"
)

// maxInboxBytes bounds what a node that does not keep up sets aside. Past it the
// link to Redis is given up and made anew, as Redis itself would do with a
// subscriber that falls behind.
const maxInboxBytes = 256 << 20

var errInboxFull = errors.New("this node does not keep up with what comes from redis; messages are lost")

// inbox is where the receiving goroutine puts what comes from Redis. The
// goroutine that fans out takes the whole content at a time: the longer a fan-out
// takes, the larger the next batch.
type inbox struct {
	mu      sync.Mutex
	content []Delivery
	bytes   int // of content
	wake    chan struct{}

	// Owned by the receiving goroutine: the message received last. Redis writes
	// the copies of one message, for a subscription and for each pattern that
	// matches, one right after the other.
	lastProcess, lastSequence uint64
}

func (in *inbox) add(d Delivery) error {
	if d.process == in.lastProcess && d.sequence == in.lastSequence {
		return nil
	}
	in.lastProcess, in.lastSequence = d.process, d.sequence
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.bytes+len(d.Frame) > maxInboxBytes {
		return errInboxFull
	}
	in.bytes += len(d.Frame)
	in.content = append(in.content, d)
	if len(in.content) == 1 {
		select {
		case in.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// announcementSeed makes announcementID's values differ from process to process.
var announcementSeed = maphash.MakeSeed()

// announcementID stands in for the number that announcements, which scripts
// publish, do not have: copies of one have the same.
func announcementID(m *redis.Message) uint64 {
	return maphash.Comparable(announcementSeed, [2]string{m.Channel, m.Payload})
}

func (in *inbox) run(ctx context.Context, deliver func([]Delivery)) {
	var spare []Delivery
	for {
		select {
		case <-ctx.Done():
			return
		case <-in.wake:
		}
		in.mu.Lock()
		batch := in.content
		in.content, in.bytes = spare[:0], 0
		in.mu.Unlock()
		if len(batch) > 0 {
			deliver(batch)
		}
		clear(batch) // let go of the frames
		spare = batch
		if cap(spare) > 4096 {
			spare = nil
		}
	}
}

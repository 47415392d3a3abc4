// Package broker publishes messages through Redis pub/sub.
//
// It promises:
//
//   - At most once. A message that Redis took reaches every node that is
//     subscribed at that moment.
//   - In order. Messages given to Publish in order go out in that order, per app.
//     Callers make one call at a time (pkg/publish does).
//
// fanout/internal/receiver is the other end.
package broker

import (
	"crypto/rand"
	"encoding/binary"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// Message is what is published.
type Message = envelope.Message

// Options set a Broker up.
type Options struct {
	Redis redis.UniversalClient
	Keys  rediskeys.Namespace
	// Health is told what Redis says to this process.
	Health *redisconn.Health
}

// Broker publishes for this process.
type Broker struct {
	opt      Options
	process  uint64
	name     string // process, in keys
	sequence atomic.Uint64

	publishing sync.Mutex // guards:
	clock      clock
	batches    int64          // the number of the last batch
	ran        map[string]ran // app id → its last batch that Redis answered
}

// New returns a Broker.
func New(opt Options) *Broker {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	b := &Broker{opt: opt, process: binary.BigEndian.Uint64(id[:]), ran: map[string]ran{}}
	b.name = strconv.FormatUint(b.process, 36)
	if opt.Redis != nil { // else it only prepares
		opt.Redis.AddHook(&b.clock)
	}
	return b
}

// Process is what this Broker's messages name as their publisher.
func (b *Broker) Process() uint64 { return b.process }

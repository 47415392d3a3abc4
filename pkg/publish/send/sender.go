// Package send publishes batches of messages through Redis pub/sub: the last step of
// pkg/publish.
//
// It promises:
//
//   - At most once. A message that Redis took reaches every node that is
//     subscribed at that moment.
//   - In order. Messages given to Send in order go out in that order, per app; on a
//     Redis Cluster, per channel. Callers make one call at a time (pkg/publish does).
//
// fanout/internal/receiver is the other end.
package send

import (
	"crypto/rand"
	"encoding/binary"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/group"
	"fleetwire/pkg/history"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// Sender publishes for this process.
type Sender struct {
	redis    redis.UniversalClient
	keys     rediskeys.Namespace
	health   *redisconn.Health // or nil
	process  uint64
	name     string // process, in keys
	sequence atomic.Uint64

	// Evicted is told how many messages made room for others. It is set before the first
	// Send. nil: nothing is told.
	Evicted func(why history.Eviction, messages int)
	// Dropped is likewise told of messages that no ingester has acknowledged.
	Dropped func(why group.Drop, messages int)

	cluster *redis.ClusterClient // or nil
	askTime time.Duration        // askTimeout; tests wait for longer

	mu      sync.Mutex               // guards:
	clock   clock                    // of the one server
	clocks  map[*redis.Client]*clock // of the masters of a cluster
	epochs  history.Generation
	batches int64                // the number of the last batch
	doubted map[string]time.Time // app id and group → when a node was told to look at it
	ran     map[string]ran       // app id → its last batch that Redis answered
}

// New returns a Sender. health learns what Redis says; nil: nothing does.
func New(rdb redis.UniversalClient, keys rediskeys.Namespace, health *redisconn.Health) *Sender {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	s := &Sender{redis: rdb, keys: keys, health: health, process: binary.BigEndian.Uint64(id[:]), askTime: askTimeout, ran: map[string]ran{}}
	s.name = strconv.FormatUint(s.process, 36)
	if s.cluster, _ = rdb.(*redis.ClusterClient); s.cluster == nil && rdb != nil { // else it only prepares
		rdb.AddHook(&s.clock)
	}
	return s
}

// Process is what the messages name as their publisher (envelope.ID).
func (sender *Sender) Process() uint64 { return sender.process }

func (sender *Sender) observe(err error) {
	if sender.health != nil {
		sender.health.Observe(err)
	}
}

// observeAt is observe of a call that is about the key. On one server observe sees it, too.
func (sender *Sender) observeAt(key string, err error) {
	if sender.health != nil && sender.cluster != nil {
		sender.health.ObserveAt(key, err)
	}
}

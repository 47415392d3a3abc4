// Package broker carries messages between nodes through Redis pub/sub.
//
// It promises:
//
//   - At most once. A message that Redis took reaches every node that is
//     subscribed at that moment; what is published while a node's link to Redis
//     is down is not delivered to that node later.
//   - In order. Messages given to Publish in order arrive in that order on every
//     node, per app. Callers make one call at a time (pkg/publish does).
//   - Once. A node gets a message once, however many of its subscriptions and
//     patterns match.
//   - No call blocks: one goroutine delivers what has come meanwhile, a part for
//     each app in turn, so that no app waits for all that another has. While it
//     works, what arrives is set aside, so Redis never waits for a node. Interest
//     changes never wait for Redis.
package broker

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/channel"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// ErrDown: the link to Redis is down; nothing was subscribed.
var ErrDown = errors.New("redis is not reachable")

// Message is what is published: one message to one channel, or to one peer, of
// one app.
type Message struct {
	App          string
	Channel      string
	To           string // the peer that a direct message is for; Channel is empty then
	From         string // peer id of the sender
	FromMetadata []byte // JSON object, or nil
	Data         []byte // any JSON value, carried byte for byte
	Connection   uint64 // the publishing connection's id in this process; 0: none
}

// Kind is what a topic carries.
type Kind = rediskeys.Kind

// The kinds of topics.
const (
	KindMessages = rediskeys.Messages // the messages of a channel
	KindPresence = rediskeys.Presence // who joins and leaves a channel
	KindPeer     = rediskeys.Peer     // direct messages to a peer
)

// Delivery is a message as a node gets it. It is shared by all receivers and
// must not be changed.
type Delivery struct {
	Kind         Kind
	App          string
	Channel      string // with KindPeer: the peer
	Frame        []byte // a whole WebSocket text frame; with KindPresence the announcement as it was published
	FromMetadata []byte // JSON object, or empty

	// Publisher is the connection of this process that published it, or 0.
	Publisher uint64

	process, sequence uint64
	dataLen           int
}

// Options set a Broker up.
type Options struct {
	Redis redis.UniversalClient
	Keys  rediskeys.Namespace
	// Health is told what Redis says to this process. While Run runs it is right.
	Health *redisconn.Health
	Log    *slog.Logger
	// Node is this process's name in Redis, unique among all that run.
	Node string
	// AwaitIdentity has subscriber counts kept under what SetIdentity gives alone,
	// not under Node before.
	AwaitIdentity bool
}

// Broker publishes for this process and, once Run runs, receives for it.
type Broker struct {
	opt       Options
	process   uint64
	name      string // process, in keys
	sequence  atomic.Uint64
	interests *interests
	inbox     *inbox

	publishing sync.Mutex // guards:
	clock      clock
	batches    int64          // the number of the last batch
	ran        map[string]ran // app id → its last batch that Redis answered

}

// New returns a Broker. A process that only publishes need not call Run.
func New(opt Options) *Broker {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	b := &Broker{opt: opt, process: binary.BigEndian.Uint64(id[:])}
	b.name = strconv.FormatUint(b.process, 36)
	b.ran = map[string]ran{}
	if opt.Redis != nil { // else it only prepares
		opt.Redis.AddHook(&b.clock)
	}
	b.interests = newInterests(opt)
	b.interests.process = b.process
	b.inbox = newInbox()
	return b
}

// SetSubscribers says how many connections of this node are subscribed to the
// channel by name. While there is at least one, the channel's messages come in.
//
// With a done, the change is made only while the link to Redis is up (else the
// error is ErrDown, and nothing has changed); done is called once, from another
// goroutine and after SetSubscribers returned: with nil when Redis has confirmed
// everything, with ErrDown when the link was lost before, or with a RefusedError;
// in both cases the caller states the number anew. done must not block.
// A RefusedError is also returned, when Redis has just refused the same.
//
// With done nil it always works: Redis is told when it can be.
func (b *Broker) SetSubscribers(app, channelName string, n int, done func(error)) error {
	return b.interests.set(interestKey{app: app, name: channelName}, n, done)
}

// SetConnections says how many connections of this node the peer has. While
// there is at least one, direct messages to it come in.
// done is as in SetSubscribers.
func (b *Broker) SetConnections(app, peer string, n int, done func(error)) error {
	return b.interests.set(interestKey{kind: KindPeer, app: app, name: peer}, n, done)
}

// SetWatchers says how many connections of this node want to hear who joins and
// leaves the channel: fanout/internal/members publishes that. An announcement twice in a row
// counts once. done is as in SetSubscribers.
func (b *Broker) SetWatchers(app, channelName string, n int, done func(error)) error {
	return b.interests.set(interestKey{kind: KindPresence, app: app, name: channelName}, n, done)
}

// AddPattern asks for the messages of all channels of the app that the pattern
// matches, until RemovePattern has been called as often. More may come in than
// the pattern matches: the caller filters. done is as in SetSubscribers, and
// must not be nil.
func (b *Broker) AddPattern(app string, p *channel.Pattern, done func(error)) error {
	return b.interests.setPattern(KindMessages, app, p.RedisGlob(), true, done)
}

// RemovePattern takes back one AddPattern.
func (b *Broker) RemovePattern(app string, p *channel.Pattern) {
	_ = b.interests.setPattern(KindMessages, app, p.RedisGlob(), false, nil)
}

// AddWatchPattern asks for who joins and leaves the channels that the pattern
// matches, until RemoveWatchPattern has been called as often. The rest is as in
// AddPattern.
func (b *Broker) AddWatchPattern(app string, p *channel.Pattern, done func(error)) error {
	return b.interests.setPattern(KindPresence, app, p.RedisGlob(), true, done)
}

// RemoveWatchPattern takes back one AddWatchPattern.
func (b *Broker) RemoveWatchPattern(app string, p *channel.Pattern) {
	_ = b.interests.setPattern(KindPresence, app, p.RedisGlob(), false, nil)
}

// Live says whether the link to Redis is up and a probe was heard on it, and
// everything wanted when it came up is subscribed, but for what Redis refuses.
// Later requests hear of it by their done.
func (b *Broker) Live() bool { return b.interests.live() }

// Trouble is why the link to Redis was lost, until it is proven to work again;
// then nil.
func (b *Broker) Trouble() error {
	b.interests.mu.Lock()
	defer b.interests.mu.Unlock()
	return b.interests.trouble
}

// OnRestored has f called each time that the link to Redis has come up and
// everything wanted is subscribed again, unless nothing is wanted. Messages
// published before that may be lost. f must not block. Set it before Run.
func (b *Broker) OnRestored(f func()) { b.interests.restored = f }

// Run receives until ctx ends, and calls deliver with what came, each app's messages
// in order. It keeps Options.Health true.
func (b *Broker) Run(ctx context.Context, deliver Deliver) {
	var parts sync.WaitGroup
	parts.Go(func() { b.inbox.run(ctx, deliver) })
	parts.Go(func() { b.opt.Health.Run(ctx, b.probe) })
	b.interests.run(ctx, b.inbox)
	parts.Wait()
}

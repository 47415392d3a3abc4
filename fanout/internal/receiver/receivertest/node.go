package receivertest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/channel"
	"fleetwire/fanout/internal/receiver"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// patience is how long a test waits for what must come. It is only ever waited
// out by a test that fails.
const patience = time.Minute

// keys name what the suite and its nodes have in Redis.
var keys rediskeys.Namespace

type system struct {
	t *testing.T
	Setup
	nodes int
}

// node publishes and receives as a node does. Like a node it takes more than it
// asked for, and keeps what it wants.
type node struct {
	*receiver.Receiver
	*send.Sender
	t       *testing.T
	name    string
	settled int // calls of settle
	redis   redis.UniversalClient
	cancel  context.CancelFunc
	ended   chan struct{}

	mu       sync.Mutex
	names    map[name]bool
	patterns map[name][]*channel.Pattern // by kind and app
	got      []envelope.Delivery
	came     chan struct{} // closed and replaced when got grows
}

// name is what a node can want: a channel's messages or presence, or a peer.
type name struct {
	kind      envelope.Kind
	app, name string
}

// publisher does not receive.
func (s *system) publisher() *send.Sender {
	return send.New(s.Client(), keys, redisconn.NewHealth(discard))
}

var discard = slog.New(slog.DiscardHandler)

// receiver makes one that does not run, and a publisher in the same process.
func (s *system) receiver(rdb redis.UniversalClient) (*receiver.Receiver, *send.Sender) {
	s.nodes++
	name := fmt.Sprintf("node-%d", s.nodes)
	health := redisconn.NewHealth(discard)
	health.Of(rdb)
	b := send.New(rdb, keys, health)
	r := receiver.New(receiver.Options{Redis: rdb, Health: health, Log: discard, Node: name, Process: b.Process(), Patience: patience})
	r.SetIdentity(name)
	return r, b
}

// node starts a node and waits until its link is up.
func (s *system) node() *node {
	s.t.Helper()
	rdb := s.Client()
	r, b := s.receiver(rdb)
	n := &node{
		Receiver: r, Sender: b, t: s.t, redis: rdb,
		name:     fmt.Sprint(s.nodes),
		ended:    make(chan struct{}),
		names:    map[name]bool{},
		patterns: map[name][]*channel.Pattern{},
		came:     make(chan struct{}),
	}
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	go func() {
		defer close(n.ended)
		n.Run(ctx, n.deliver)
	}()
	s.t.Cleanup(n.stop)
	redistest.Eventually(s.t, patience, "the link of a new node is up", n.Live)
	return n
}

// stop ends the node in order.
func (n *node) stop() {
	n.cancel()
	select {
	case <-n.ended:
	case <-time.After(patience):
		n.t.Error("Run does not return when its context ends")
	}
}

// die ends the node as a crash does: Redis hears no more of it.
func (n *node) die() {
	_ = n.redis.Close()
	n.stop()
}

func (n *node) deliver(batch []envelope.Delivery) (finished int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := len(n.got)
	for _, d := range batch {
		if n.wants(d.Kind, d.App, d.Channel) {
			n.got = append(n.got, d)
		}
	}
	if len(n.got) > before {
		close(n.came)
		n.came = make(chan struct{})
	}
	return len(batch)
}

func (n *node) wants(kind envelope.Kind, app, of string) bool {
	return n.names[name{kind, app, of}] ||
		slices.ContainsFunc(n.patterns[name{kind: kind, app: app}], func(p *channel.Pattern) bool { return p.Match(of) })
}

func (n *node) want(kind envelope.Kind, app, of string, wanted bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[name{kind, app, of}] = wanted
}

// subscribe states that so many connections are subscribed to the channel, and
// waits until Redis has confirmed it.
func (n *node) subscribe(app, name string, connections int) {
	n.t.Helper()
	n.want(envelope.KindMessages, app, name, connections > 0)
	n.confirm(func(done func(error)) error { return n.SetSubscribers(app, name, connections, done) })
}

// listen adds a pattern.
func (n *node) listen(app, pattern string) {
	n.t.Helper()
	p := n.wantPattern(envelope.KindMessages, app, pattern)
	n.confirm(func(done func(error)) error { return n.AddPattern(app, p, done) })
}

func (n *node) wantPattern(kind envelope.Kind, app, pattern string) *channel.Pattern {
	n.t.Helper()
	p, err := channel.Compile(pattern)
	if err != nil {
		n.t.Fatalf("pattern %q: %v", pattern, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	of := name{kind: kind, app: app}
	n.patterns[of] = append(n.patterns[of], p)
	return p
}

// connect states that the peer has so many connections, and waits until Redis has
// confirmed it.
func (n *node) connect(app, peer string, connections int) {
	n.t.Helper()
	n.want(envelope.KindPeer, app, peer, connections > 0)
	n.confirm(func(done func(error)) error { return n.SetConnections(app, peer, connections, done) })
}

func (n *node) confirm(ask func(done func(error)) error) {
	n.t.Helper()
	done := make(chan error, 2)
	if err := ask(func(err error) { done <- err }); err != nil {
		n.t.Fatalf("refused: %v", err)
	}
	if err := receive(n.t, done, "the confirmation of a subscription"); err != nil {
		n.t.Fatalf("not confirmed: %v", err)
	}
}

// wait waits for count messages in all.
func (n *node) wait(count int) []envelope.Delivery {
	n.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		n.mu.Lock()
		got, came := slices.Clone(n.got), n.came
		n.mu.Unlock()
		if len(got) >= count {
			return got
		}
		select {
		case <-came:
		case <-deadline.C:
			n.t.Fatalf("got %d messages, want %d", len(got), count)
		}
	}
}

// settle returns all messages that have come, and is sure that none is under
// way: from sends some more, in an app of its own, to channels that every master of a
// cluster has some of. Messages that went through the same Redis before have arrived before.
func (n *node) settle(from *send.Sender) []envelope.Delivery {
	n.t.Helper()
	n.settled++
	app := "settle-" + n.name
	lasts := 1
	if redisconn.IsCluster(n.redis) {
		lasts = 32
	}
	for i := range lasts {
		last := fmt.Sprint("last ", n.settled, " ", i)
		n.subscribe(app, last, 1)
		publish(n.t, from, app, last, `"end"`)
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		n.mu.Lock()
		came := n.came
		before := len(n.got)
		for i, d := range n.got {
			if d.App != app {
				continue
			}
			if lasts--; lasts == 0 {
				before = i
			}
		}
		isLast := func(d envelope.Delivery) bool { return d.App == app }
		got := slices.DeleteFunc(slices.Clone(n.got[:before]), isLast)
		n.got = slices.DeleteFunc(n.got, isLast)
		n.mu.Unlock()
		if lasts == 0 {
			return got
		}
		select {
		case <-came:
		case <-deadline.C:
			n.t.Fatal("the last message does not arrive")
		}
	}
}

// ordered puts messages of a cluster, which come in order for each channel alone, into the
// order in which one message was published to each of the channels. On one server they are
// in that order.
func (n *node) ordered(got []envelope.Delivery, channels []string) []envelope.Delivery {
	if redisconn.IsCluster(n.redis) {
		slices.SortStableFunc(got, func(a, b envelope.Delivery) int {
			return cmp.Compare(slices.Index(channels, a.Channel), slices.Index(channels, b.Channel))
		})
	}
	return got
}

// count publishes to the channel and returns how many subscribers it had.
func count(t *testing.T, b *send.Sender, app, name string) int64 {
	t.Helper()
	o := b.Prepare(&envelope.Message{App: app, Channel: name, From: "counter", Data: []byte("0")})
	o.CountSubscribers = true
	sendTo(t, b, unlimited(app), o)
	return o.Subscribers
}

func publish(t *testing.T, b *send.Sender, app, name, data string) {
	t.Helper()
	o := b.Prepare(&envelope.Message{App: app, Channel: name, From: "sender", Data: []byte(data)})
	sendTo(t, b, unlimited(app), o)
	if !o.Accepted {
		t.Fatal("a message without cap was not accepted")
	}
}

func sendTo(t *testing.T, b *send.Sender, counter quota.Counter, messages ...*send.Outgoing) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.Send(ctx, []send.Batch{{Counter: counter, Messages: messages}}); err != nil {
		t.Fatalf("publish: %v", err)
	}
}

func unlimited(app string) quota.Counter { return counter(app, quota.Unlimited) }

func counter(app string, limit int64) quota.Counter {
	return quota.Counter{Key: keys.MessageCount(app, "2026-01"), Limit: limit, ExpiresAt: time.Now().Add(time.Hour)}
}

// body takes the one WebSocket text frame that b must be apart (RFC 6455 §5.2),
// by a library that did not make it.
func body(t *testing.T, b []byte) string {
	t.Helper()
	r := bytes.NewReader(b)
	h, err := ws.ReadHeader(r)
	if err != nil {
		t.Fatalf("not a WebSocket frame: %v", err)
	}
	if h.OpCode != ws.OpText || !h.Fin || h.Masked || h.Rsv != 0 {
		t.Fatalf("not one whole unmasked text frame: %+v", h)
	}
	if h.Length != int64(r.Len()) {
		t.Fatalf("a frame of %d bytes with %d behind its header", h.Length, r.Len())
	}
	return string(b[len(b)-r.Len():])
}

// data returns the data of a delivery, and checks the rest of its frame.
func data(t *testing.T, d envelope.Delivery) string {
	t.Helper()
	var frame struct {
		Type    string          `json:"type"`
		Channel string          `json:"channel"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal([]byte(body(t, d.Frame)), &frame); err != nil {
		t.Fatalf("the frame is not JSON: %v", err)
	}
	if frame.Type != "message" || frame.Channel != d.Channel {
		t.Fatalf("a frame of type %q for %q, delivered as one for %q", frame.Type, frame.Channel, d.Channel)
	}
	return string(frame.Data)
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("%s does not come", what)
		panic("unreachable")
	}
}

var errTwice = errors.New("done was called twice")

// Package node is a fan-out node as a type: the address that devices connect
// to, the upgrade, the sessions, the link to Redis, the operations address and
// the drain. cmd-line programs (fanout, localdev) and end-to-end tests start it.
package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/fanout/internal/commands"
	"fleetwire/fanout/internal/conn"
	"fleetwire/fanout/internal/door"
	"fleetwire/fanout/internal/eventstream"
	"fleetwire/fanout/internal/hub"
	"fleetwire/fanout/internal/ingest"
	"fleetwire/fanout/internal/members"
	"fleetwire/fanout/internal/receiver"
	"fleetwire/fanout/internal/replay"
	"fleetwire/fanout/internal/session"
	"fleetwire/fanout/internal/survey"
	"fleetwire/fanout/internal/tally"
	"fleetwire/fanout/internal/watchers"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/batch"
	"fleetwire/pkg/command"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/group"
	"fleetwire/pkg/history"
	"fleetwire/pkg/orders"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
	peers "fleetwire/pkg/registry"
	"fleetwire/pkg/sink"
	"fleetwire/pkg/sink/targets"
	"fleetwire/pkg/telemetry"
	"fleetwire/pkg/tracing"
	"fleetwire/pkg/usage"
)

// DefaultDrain is how long a node takes to close its connections when it stops.
const DefaultDrain = 10 * time.Second

// startPatience is how long connections wait for a node that starts to be
// subscribed in Redis, before it turns them back.
const startPatience = 3 * time.Second

// requestDrain is how long requests under way may still take.
const requestDrain = 5 * time.Second

// Options set a Node up.
type Options struct {
	// Listen and Ops are the addresses (host:port) for connections and for
	// /healthz, /readyz and /metrics. Ops "" serves none of these.
	Listen, Ops string
	Apps        *apps.Store
	Redis       redis.UniversalClient
	// Keys name what the node has in Redis.
	Keys rediskeys.Namespace
	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// Drain is over how long the connections are closed when Run's context ends.
	Drain time.Duration
	// Hurry, when it is closed, cuts the drain short: what is left is closed at once. nil: never.
	Hurry <-chan struct{}
	// Serving is called once, when the node accepts connections. nil: nothing is.
	Serving func()
	// SinkNetworks are the private networks that webhooks of sinks may reach.
	SinkNetworks []netip.Prefix
	// Sinks makes the targets of groups' sinks. nil: all types that there are.
	Sinks sink.Maker
	// Tracing makes spans of messages and requests. nil: nothing does.
	Tracing *tracing.Tracer
	// Console says that the mounted control plane serves the console too.
	Console bool
	Log     *slog.Logger
	// LogDropped is how many log lines were dropped, for the metrics. nil: none are.
	LogDropped func() uint64
	Now        func() time.Time
}

// Node is one fan-out node.
type Node struct {
	opt         Options
	id          string
	started     time.Time
	metrics     *telemetry.Metrics
	tally       *tally.Tally
	teller      *eventstream.Teller
	health      *redisconn.Health
	receiver    *receiver.Receiver
	hub         *hub.Hub
	members     *members.Tracker
	watchers    *watchers.Watchers
	store       *command.Store
	commands    *commands.Dispatcher
	history     *history.Store
	replays     *replay.Reader
	groups      *group.Service
	ingesters   *ingest.Ingesters
	sinks       *sink.Runner
	surveyor    *survey.Surveyor
	publisher   *publish.Service
	inbox       *orders.Inbox
	recorder    *peers.Recorder
	resync      batch.Signal // wakes resyncAll
	deadlines   *deadline.Worker
	sweeper     *history.Sweeper
	limiter     *quota.RateLimiter
	connections *quota.Connections
	usage       *usage.Recorder

	listener, opsListener net.Listener
	door                  *door.Door
	sessionOptions        *session.Options
	sessions              *registry
	draining              atomic.Bool
	drains, ends          []func()
}

// ListenError is that an address could not be taken. Option is the flag's name,
// "listen" or "ops".
type ListenError struct {
	Option string
	Err    error
}

func (e *ListenError) Error() string { return "-" + e.Option + ": " + e.Err.Error() }
func (e *ListenError) Unwrap() error { return e.Err }

// New takes the addresses and wires everything up. It does not call Redis.
func New(opt Options) (*Node, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Sinks == nil {
		opt.Sinks = &targets.Factory{Networks: opt.SinkNetworks}
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	n := &Node{opt: opt, id: hex.EncodeToString(id[:]), started: opt.Now(), metrics: telemetry.NewMetrics(), tally: new(tally.Tally), sessions: newRegistry(), resync: batch.NewSignal()}

	loops, err := conn.NewLoops()
	if err != nil {
		return nil, err
	}
	if n.listener, err = listen("listen", opt.Listen, spareFiles, opt.Log); err != nil {
		return nil, err
	}
	if opt.Ops != "" {
		if n.opsListener, err = listen("ops", opt.Ops, spareForOps, opt.Log); err != nil {
			_ = n.listener.Close()
			return nil, err
		}
	}

	passed := ticks()
	opt.Redis.AddHook(n.metrics.RedisHook())
	n.health = redisconn.NewHealth(opt.Log)
	n.health.Of(opt.Redis)
	n.usage = usage.NewRecorder(usage.RecorderOptions{Redis: opt.Redis, Keys: opt.Keys, Now: opt.Now, Log: opt.Log})
	published := publish.Options{Redis: opt.Redis, Keys: opt.Keys, Health: n.health, Usage: n.usage, Log: opt.Log, Now: opt.Now, Observe: n.published, Remembered: n.metrics.Remembered, Evicted: n.evicted, Dropped: n.dropped}
	if opt.Tracing != nil {
		published.Trace = opt.Tracing.Published
	}
	n.publisher = publish.New(published)
	n.newEvents()
	n.receiver = receiver.New(receiver.Options{Redis: opt.Redis, Keys: opt.Keys, Health: n.health, Log: opt.Log, Node: n.id, Process: n.publisher.Process()})
	n.hub = hub.New(n.receiver)
	n.hub.Count(n.tally)
	n.inbox = orders.NewInbox(orders.InboxOptions{Redis: opt.Redis, Keys: opt.Keys, Node: n.id, Close: n.hub.Disconnect, Show: n.show, Report: n.report, Watch: n.teller.Watch, Log: opt.Log})
	n.newCommands(passed)
	n.newIngesters()
	n.newSinks()
	n.history = history.NewStore(opt.Redis, opt.Keys)
	n.replays = replay.NewReader(replay.Options{Store: n.history, Process: n.publisher.Process(), Log: opt.Log})
	n.newRecorder(n.publisher.Process())
	n.limiter = quota.NewRateLimiter(opt.Redis, opt.Keys)
	n.limiter.Watch(n.health)
	n.connections = quota.NewConnections(opt.Redis, opt.Keys, n.id)
	n.members = members.NewTracker(members.Options{Redis: opt.Redis, Keys: opt.Keys, Health: n.health, Log: opt.Log, Reap: n.reap, Identified: n.identified})
	n.connections.Lost = n.members.Restate
	n.watchers = watchers.New(watchers.Options{Interest: n.receiver, Log: opt.Log, Load: func(ctx context.Context, channels []presence.ChannelID) ([]presence.State, error) {
		return presence.Load(ctx, opt.Redis, opt.Keys, channels)
	}})
	n.receiver.OnRestored(n.restored)
	n.hub.Precede(n.watchers.Precede)
	n.sessionOptions = &session.Options{
		Hub: n.hub, Publisher: n.publisher, Members: n.members, Watchers: n.watchers, Commands: n.commands, History: n.replays, Groups: n.ingesters,
		Directory: opt.Apps.Current, Now: opt.Now,
		Conn: conn.Options{Loops: loops, Ticks: passed, Log: opt.Log, Tapped: n.teller.Frames()}, Events: n.teller,
		Left: n.left, Ended: n.ended, Changed: n.changed, State: n.state, SetWill: n.recorder.SetWill,
	}
	n.measure()
	n.door = door.New(door.Options{
		Apps: opt.Apps, TrustedProxies: opt.TrustedProxies, Log: opt.Log, Now: opt.Now,
		Limiter: n.limiter, Connections: n.connections, Sessions: n.sessions, SessionOptions: n.sessionOptions,
		Health: n.health, Metrics: n.metrics, Tally: n.tally, Refused: n.tellRefusal, Live: n.live, Draining: n.draining.Load, Console: opt.Console,
	})
	n.sessionOptions.Verify, n.sessionOptions.Revoked = n.door.Verify, n.door.Revoked
	return n, nil
}

// published counts a message by its outcome.
func (n *Node) published(app, result string) {
	n.metrics.Published(result)
	n.tally.Of(app).Published(result)
}

// ticks is a clock that no setting of the time of day moves.
func ticks() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// Addr is the address that devices connect to.
func (n *Node) Addr() string { return n.listener.Addr().String() }

// OpsAddr is the operations address, "" if there is none.
func (n *Node) OpsAddr() string {
	if n.opsListener == nil {
		return ""
	}
	return n.opsListener.Addr().String()
}

// Publisher and Limiter are for a control plane in the same process.
func (n *Node) Publisher() *publish.Service { return n.publisher }

// Usage counts what channels and senders cost. Up says whether Redis is there.
func (n *Node) Usage() *usage.Recorder { return n.usage }
func (n *Node) Up() bool               { return n.health.Up() }

// Limiter bounds REST requests and connects.
func (n *Node) Limiter() *quota.RateLimiter { return n.limiter }

// MountControlPlane serves h on every path but /v1. It must come before Run.
func (n *Node) MountControlPlane(h http.Handler) {
	n.door.Mount(n.leavingWhileDraining(h))
}

// OnEnd has drain called when the node begins to drain, and end when nothing is served
// any more. Neither may block for long. It must come before Run.
func (n *Node) OnEnd(drain, end func()) {
	n.drains, n.ends = append(n.drains, drain), append(n.ends, end)
}

// Ready says whether the node serves new connections: Redis answers, all subscriptions are
// live (on a cluster, at one master at least), and it is not going away.
func (n *Node) Ready() bool { return n.notReady() == "" }

func (n *Node) notReady() string {
	switch {
	case n.draining.Load():
		return "draining"
	}
	if n.live() {
		return ""
	}
	return cmp.Or(n.trouble(), "subscriptions in redis are not live yet")
}

// trouble is why Redis, or a master of a cluster, does not work for the node. While other
// masters do, the node serves on.
func (n *Node) trouble() string {
	if why := n.health.Trouble(); why != "" {
		return why
	}
	if err := n.receiver.Trouble(); err != nil {
		return "the link to redis that subscribes is down: " + err.Error()
	}
	return ""
}

// live says whether a subscribe would succeed, on a cluster at least at one master.
func (n *Node) live() bool { return n.health.Up() && n.receiver.Serves() && n.members.Live() }

// whole says whether every subscribe would succeed.
func (n *Node) whole() bool { return n.health.AllUp() && n.receiver.Live() && n.members.Live() }

// Run serves until ctx ends, then drains: it stops accepting, tells all peers,
// and closes their connections over Options.Drain. So it does, and returns an error, if it
// cannot serve on, or Redis has become a cluster. A node with a control plane
// accepts until the last of them is closed: it goes on answering REST, and turns
// sockets back with 1001.
func (n *Node) Run(ctx context.Context) error {
	// Parts that connections need live on until the last connection is gone.
	inner, stop := context.WithCancel(context.Background())
	defer stop()
	var parts sync.WaitGroup
	run := func(part func(context.Context)) {
		parts.Add(1)
		go func() {
			defer parts.Done()
			part(inner)
		}()
	}
	run(n.connections.Run)
	run(n.inbox.Run)
	run(n.deadlines.Run)
	run(n.sweeper.Run)
	run(n.resyncAll)
	run(n.usage.Run)
	recorded := make(chan struct{})
	recording, stopRecording := context.WithCancel(inner)
	go func() {
		defer close(recorded)
		n.recorder.Run(recording)
	}()
	run(n.members.Run)
	run(n.watchers.Run)
	run(n.commands.Run)
	run(n.replays.Run)
	run(func(ctx context.Context) { n.receiver.Run(ctx, n.deliver) })
	run(n.sinks.Run)
	run(n.teller.Run)
	run(n.surveyor.Run)
	run(n.keepAlive)
	run(n.reauthorize)
	run(n.sessionOptions.Conn.Loops.Run)

	n.awaitReady(ctx)
	failed := make(chan error, 2)
	go func() { failed <- n.door.Serve(n.listener) }()
	ops := n.opsServer()
	if n.opsListener != nil {
		go func() { failed <- ops.Serve(n.opsListener) }()
	}
	if n.opt.Serving != nil {
		n.opt.Serving()
	}

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serving stopped: %w", err)
	case err = <-n.health.Useless():
		err = fmt.Errorf("-redis: %w", err)
	}
	n.draining.Store(true)
	awaitSinks := n.drainSinks()
	for _, drain := range n.drains {
		drain()
	}
	accepting := make(chan struct{})
	stopAccepting := func() {
		defer close(accepting)
		requests, cancel := n.unlessHurried(requestDrain)
		defer cancel()
		_ = n.door.Shutdown(requests)
		_ = n.listener.Close() // if fiber had not come to serving it
	}
	if !n.door.HasREST() {
		go stopAccepting()
		n.drain()
	} else { // backends are served for as long as devices are
		n.drain()
		go stopAccepting()
	}
	n.sessions.wait()
	n.closeIngesters()
	awaitSinks()
	n.door.Close()
	<-accepting
	// Before the node gives its identity back, and what it holds with that.
	stopRecording()
	<-recorded
	stop()
	parts.Wait()
	n.store.Finish()
	for _, end := range n.ends {
		end()
	}
	_ = ops.Close()
	if n.opsListener != nil {
		_ = n.opsListener.Close() // likewise
	}
	return err
}

// maxAnnounced bounds the bytes of announcements that one turn of an app shows.
const maxAnnounced = 64 << 10

// deliver hands on what comes from Redis for an app (receiver.Deliver): announcements
// to the watchers, everything else to the hub.
func (n *Node) deliver(batch []envelope.Delivery) (finished int) {
	if batch[0].Kind != envelope.KindPresence {
		return n.hub.Broadcast(batch)
	}
	for bytes := 0; finished < len(batch) && batch[finished].Kind == envelope.KindPresence && bytes < maxAnnounced; finished++ {
		bytes += len(batch[finished].Frame)
	}
	n.watchers.Announced(batch[:finished])
	return finished
}

// awaitReady returns when the node and all of Redis are ready, or after startPatience: until then
// connections wait in the listener's queue rather than being turned back.
func (n *Node) awaitReady(ctx context.Context) {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for begin := time.Now(); !n.whole() && time.Since(begin) < startPatience; {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

package watchers

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/fanout/internal/members"
	"fleetwire/fanout/internal/receiver"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// patience is far more than anything takes; only a test that fails waits for it.
const patience = 40 * time.Second

// lease is longer than the machine stands still: a node that lives is not taken for dead.
const lease = 5 * time.Second

// fleetNode is what a node has of presence: receiver, tracker and watchers.
type fleetNode struct {
	redis    *redis.Client
	identity atomic.Pointer[string] // of its lease
	receiver *receiver.Receiver
	members  *members.Tracker
	watchers *Watchers
	stop     func()
}

var fleetNodes int

// traced is what nodes were told, for a test that fails.
var traced struct {
	sync.Mutex
	lines []string
}

func trace(format string, args ...any) {
	traced.Lock()
	defer traced.Unlock()
	traced.lines = append(traced.lines, time.Now().Format("05.000000 ")+fmt.Sprintf(format, args...))
}

// traceWriter traces what a node logs.
type traceWriter struct{ node string }

func (w traceWriter) Write(line []byte) (int, error) {
	trace("%s logs %s", w.node, line)
	return len(line), nil
}

// showTrace has a test that fails say what its nodes were told at last.
func showTrace(t testing.TB) {
	traced.lines = nil
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(strings.Join(traced.lines[max(0, len(traced.lines)-1000):], "\n"))
		}
	})
}

func startFleetNode(t testing.TB, rdb *redis.Client) *fleetNode {
	t.Helper()
	fleetNodes++
	name := fmt.Sprint("node-", fleetNodes)
	log := slog.New(slog.NewTextHandler(traceWriter{name}, nil))
	health := redisconn.NewHealth(log)
	n := &fleetNode{redis: rdb}
	n.receiver = receiver.New(receiver.Options{Redis: rdb, Health: health, Log: log, Node: name})
	n.members = members.NewTracker(members.Options{Redis: rdb, Health: health, Log: log, Lease: lease, Identified: func(id string) { n.identity.Store(&id) }})
	n.watchers = New(Options{Interest: n.receiver, Log: log, Load: func(ctx context.Context, ids []presence.ChannelID) ([]presence.State, error) {
		states, err := presence.Load(ctx, rdb, rediskeys.Namespace{}, ids)
		trace("%s loaded %v: %v %v", name, ids, states, err)
		return states, err
	}})
	n.watchers.settling = 2 * lease
	n.receiver.OnRestored(func() {
		trace("%s: the link is back", name)
		n.watchers.Restored()
	})
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { n.members.Run(ctx) })
	parts.Go(func() { n.watchers.Run(ctx) })
	parts.Go(func() {
		n.receiver.Run(ctx, func(batch []envelope.Delivery) (finished int) {
			for i := range batch {
				if batch[i].Kind == envelope.KindPresence {
					trace("%s heard of %s: %q", name, batch[i].Channel, batch[i].Frame)
					n.watchers.Announced(batch[i : i+1])
				}
			}
			return len(batch)
		})
	})
	n.stop = sync.OnceFunc(func() { cancel(); parts.Wait() })
	t.Cleanup(n.stop)
	redistest.Eventually(t, patience, "a node is live", func() bool { return n.receiver.Live() && n.members.Live() })
	return n
}

// model is who is where: by channel and peer, the node of each connection.
type model map[string]map[string]map[uint64]int

func (m model) peers(channel string) string {
	return strings.Join(slices.Sorted(maps.Keys(m[channel])), " ")
}

// simulation is three nodes, on which peers come and go at random.
type simulation struct {
	t        testing.TB
	rnd      *rand.Rand
	nodes    []*fleetNode
	watchers [][]*watcher // by node
	model    model
	last     uint64 // connection
}

var simulated = []string{"a", "b", "c"}

func (s *simulation) connection() uint64 { s.last++; return s.last }

// join waits until Redis has it.
func (s *simulation) join(node int, channel, peer string) {
	id := s.connection()
	done := make(chan error, 1)
	var version presence.Version
	err := s.nodes[node].members.Join(app, channel, peer, id, nil, func(v presence.Version, err error) { version = v; done <- err })
	if err == nil {
		err = <-done
	}
	trace("%s joins %s on %d: %v, %v", peer, channel, node, version, err)
	if err != nil {
		s.nodes[node].members.Leave(app, channel, peer, id)
		return // Redis is away just now
	}
	if s.model[channel][peer] == nil {
		s.model[channel][peer] = map[uint64]int{}
	}
	s.model[channel][peer][id] = node
}

func (s *simulation) leave(channel, peer string, id uint64) {
	trace("%s leaves %s on %d", peer, channel, s.model[channel][peer][id])
	s.nodes[s.model[channel][peer][id]].members.Leave(app, channel, peer, id)
	delete(s.model[channel][peer], id)
	if len(s.model[channel][peer]) == 0 {
		delete(s.model[channel], peer)
	}
}

// step lets somebody come, go or move. Peers called "stable" are never nowhere.
func (s *simulation) step() {
	channel := simulated[s.rnd.IntN(len(simulated))]
	if s.rnd.IntN(4) == 0 {
		s.move(channel, fmt.Sprint("stable-", s.rnd.IntN(3)), s.rnd.IntN(len(s.nodes)))
		return
	}
	peer := fmt.Sprint("peer-", s.rnd.IntN(6))
	if ids := slices.Sorted(maps.Keys(s.model[channel][peer])); len(ids) > 0 && s.rnd.IntN(2) == 0 {
		s.leave(channel, peer, ids[s.rnd.IntN(len(ids))])
	} else {
		s.join(s.rnd.IntN(len(s.nodes)), channel, peer)
	}
}

// move reconnects a peer to a node, and then ends its other connections.
func (s *simulation) move(channel, peer string, to int) {
	before := slices.Collect(maps.Keys(s.model[channel][peer]))
	s.join(to, channel, peer)
	if len(s.model[channel][peer]) > len(before) {
		for _, id := range before {
			s.leave(channel, peer, id)
		}
	}
}

// watch has two connections of a node watch every channel.
func (s *simulation) watch(node int) {
	s.watchers[node] = nil
	for range 2 {
		o := &watcher{t: s.t, id: s.connection(), shown: map[string]map[string]string{}, stable: "stable-"}
		for _, channel := range simulated {
			s.nodes[node].watchers.Watch(o, app, channel)
			s.nodes[node].watchers.Ready(o, app, channel, presence.Version{})
		}
		s.watchers[node] = append(s.watchers[node], o)
	}
}

// kill ends a node as a crash does, and puts another in its place.
func (s *simulation) kill(node int, client func() *redis.Client) {
	for _, channel := range simulated { // those whom nothing must happen to are elsewhere
		for i := range 3 {
			s.move(channel, fmt.Sprint("stable-", i), (node+1)%len(s.nodes))
		}
	}
	_ = s.nodes[node].redis.Close()
	s.nodes[node].stop()
	for _, channel := range simulated {
		for peer, ids := range s.model[channel] {
			for id, at := range ids {
				if at == node {
					delete(ids, id)
				}
			}
			if len(ids) == 0 {
				delete(s.model[channel], peer)
			}
		}
	}
	dead := *s.nodes[node].identity.Load()
	s.nodes[node] = startFleetNode(s.t, client())
	// Its lease runs out.
	if err := s.nodes[node].redis.ZAdd(context.Background(), rediskeys.Namespace{}.Leases(), redis.Z{Score: 1, Member: dead}).Err(); err != nil {
		s.t.Fatal(err)
	}
	s.watch(node)
}

// settle wants every watcher to know, in the end, what is, and Redis too.
func (s *simulation) settle(after string) {
	s.t.Helper()
	for _, channel := range simulated {
		want := s.model.peers(channel)
		redistest.Eventually(s.t, patience, fmt.Sprintf("after %s Redis has %q in %s", after, want, channel), func() bool {
			page, err := presence.List(context.Background(), s.nodes[0].redis, rediskeys.Namespace{}, app, channel, "", presence.MaxPage)
			names := make([]string, len(page.Members))
			for i, m := range page.Members {
				names[i] = m.Peer
			}
			return err == nil && strings.Join(names, " ") == want
		})
		for node := range s.watchers {
			for _, o := range s.watchers[node] {
				redistest.Eventually(s.t, patience, fmt.Sprintf("after %s connection %d on node %d sees %q in %s", after, o.id, node, want, channel), func() bool {
					o.mu.Lock()
					defer o.mu.Unlock()
					return strings.Join(slices.Sorted(maps.Keys(o.shown[channel])), " ") == want
				})
			}
		}
	}
}

// end lets everybody leave: the nodes are about to be stopped, one after the other.
func (s *simulation) end() {
	for _, o := range slices.Concat(s.watchers...) {
		o.mu.Lock()
		o.stable = ""
		o.mu.Unlock()
	}
}

// Whatever happens, everybody who watches ends up knowing what is, nothing is
// shown twice, and nobody is shown to leave who never left.
func TestNodesAgainstAModel(t *testing.T) {
	for _, embedded := range []bool{false, true} {
		t.Run(map[bool]string{false: "redis", true: "embedded"}[embedded], func(t *testing.T) {
			var client func() *redis.Client
			if embedded {
				m, _ := redistest.Embedded(t)
				client = func() *redis.Client { return redistest.Client(t, "redis://"+m.Addr()) }
			} else {
				client = redistest.Start(t).Client
			}
			showTrace(t) // after the nodes have ended
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			s := &simulation{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), model: model{}, watchers: make([][]*watcher, 3)}
			for range 3 {
				s.nodes = append(s.nodes, startFleetNode(t, client()))
			}
			for _, channel := range simulated {
				s.model[channel] = map[string]map[uint64]int{}
				for i := range 3 {
					s.join(i, channel, fmt.Sprint("stable-", i))
				}
			}
			for node := range s.nodes {
				s.watch(node)
			}
			s.settle("the beginning")
			run := func(what string, trouble func()) {
				trace("next: %s", what)
				for i := range 120 {
					if i == 60 {
						trouble()
					}
					s.step()
				}
				s.settle(what)
			}
			ctx := context.Background()
			run("nothing special", func() {})
			run("a kill", func() { s.kill(s.rnd.IntN(3), client) })
			run("another kill", func() { s.kill(s.rnd.IntN(3), client) })
			run("Redis was emptied", func() {
				if err := s.nodes[0].redis.FlushAll(ctx).Err(); err != nil {
					t.Fatal(err)
				}
			})
			if !embedded {
				run("links were cut", func() {
					for _, kind := range []string{"pubsub", "normal"} {
						_ = s.nodes[0].redis.Do(ctx, "CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes").Err()
					}
				})
			}
			s.end()
		})
	}
}

package registry

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn/redistest"
)

// modelPeer is what protocol §4.6 and §4.7 say of a peer, as plainly as it goes.
type modelPeer struct {
	connections []*modelConnection // in the order in which they began
	online      bool
	waits       []string // the will that waits, or those of which one does; none: nil
}

type modelConnection struct {
	node  *node
	begun Connected
	will  string // its data; "": none
	end   func(code int, reason Reason)
}

// ends has connections end at once, the last of which leaves its will.
func (p *modelPeer) ends(clean bool, which func(*modelConnection) bool) {
	var wills []string
	for _, c := range p.connections {
		if which(c) && c.will != "" && !clean {
			wills = append(wills, c.will)
		}
	}
	p.connections = slices.DeleteFunc(p.connections, which)
	if len(p.connections) == 0 {
		p.waits = wills
	}
}

// willModel does the same at random to the model and to Redis, and compares.
type willModel struct {
	t     *testing.T
	rdb   redis.UniversalClient
	rand  *rand.Rand
	nodes []*node
	peers map[string]*modelPeer
	made  int
	log   []string
	kill  func() // kills Redis and starts it again with its data; nil: it lives
}

func (m *willModel) node() *node { return m.nodes[m.rand.IntN(len(m.nodes))] }

func (m *willModel) name() string {
	m.made++
	return fmt.Sprint(m.made)
}

// step does one thing to a peer.
func (m *willModel) step() {
	peer := fmt.Sprint("p", m.rand.IntN(len(m.peers)))
	p := m.peers[peer]
	some := func() *modelConnection { return p.connections[m.rand.IntN(len(p.connections))] }
	what := m.rand.IntN(10)
	switch {
	case what < 3 || len(p.connections) == 0 && what < 7:
		n := m.node()
		c := &modelConnection{node: n}
		c.begun, c.end = n.begin(peer, "")
		p.connections, p.online, p.waits = append(p.connections, c), true, nil
		if m.rand.IntN(3) > 0 {
			m.set(p, c, m.name())
		}
	case what < 4:
		m.set(p, some(), []string{"", m.name()}[m.rand.IntN(2)])
	case what < 7:
		c, clean := some(), m.rand.IntN(3) == 0
		if clean {
			c.end(1000, Closed)
		} else {
			c.end(1006, Lost)
		}
		p.ends(clean, func(other *modelConnection) bool { return other == c })
	case what < 8:
		m.node().pass(peer)
		p.online = p.online && len(p.connections) > 0
	case what < 9:
		m.due(peer)
	case m.rand.IntN(3) == 0:
		m.dies(m.rand.IntN(len(m.nodes)))
	default:
		m.renames(m.node())
	}
	m.log = append(m.log, fmt.Sprintf("%s %d", peer, what))
}

// set sets the will of a connection, "": takes it back.
func (m *willModel) set(p *modelPeer, c *modelConnection, data string) {
	c.will = data
	var w *Will
	if data != "" {
		w = will(data, time.Duration(m.rand.IntN(2))*time.Hour)
	}
	c.node.setOn(c.begun, w)
}

// due has the peer's grace and its will be over, and wants the will if the peer is gone.
func (m *willModel) due(peer string) {
	p, n := m.peers[peer], m.node()
	m.settle()
	n.passWills(peer)
	p.online = p.online && len(p.connections) > 0
	var want []string
	if len(p.connections) == 0 {
		want, p.waits = p.waits, nil
	}
	got := n.published()
	for i := range got {
		got[i] = strings.TrimPrefix(got[i], peer+" to devices/a: ")
	}
	switch {
	case len(want) == 0 && len(got) == 0:
	case len(got) == 1 && slices.Contains(want, got[0]):
	default:
		m.t.Fatalf("%s is due: published are %q, want one of %q; after %q", peer, got, want, m.log)
	}
}

// dies has a node die, another reap it, and a new one come.
func (m *willModel) dies(which int) {
	dead := m.nodes[which]
	m.settle()
	dead.stop()
	m.nodes[which] = start(m.t, m.rdb, "i"+m.name(), directory(m.t, ""))
	m.reap(m.node(), dead.Recorder.identity)
	for _, p := range m.peers {
		if slices.ContainsFunc(p.connections, func(c *modelConnection) bool { return c.node == dead }) {
			p.ends(false, func(c *modelConnection) bool { return c.node == dead })
		}
	}
}

// renames has a node take another identity, or two in a row, before or after its former one is reaped by
// others: then its peers were in their grace, and are back.
func (m *willModel) renames(n *node) {
	m.settle()
	former, reaped := n.Recorder.identity, m.rand.IntN(2) == 0
	if other := m.node(); reaped && other != n {
		m.reap(other, former)
	}
	formers := []string{former}
	n.Identified("i" + m.name())
	if m.rand.IntN(2) == 0 {
		formers = append(formers, n.Recorder.identity)
		n.Identified("i" + m.name())
	}
	m.settle()
	for _, former := range formers {
		m.reap(m.node(), former)
	}
	for _, p := range m.peers { // all that it has are back, if they were gone at all
		if len(p.connections) > 0 {
			p.waits = nil
		}
	}
}

func (m *willModel) reap(by *node, identity string) {
	for _, text := range m.rdb.SMembers(m.t.Context(), keys.LeaseBuckets(identity)).Val() {
		b, _, err := keys.ParseBucket(text)
		check(m.t, err)
		check(m.t, by.Reap(m.t.Context(), identity, b))
	}
}

func (m *willModel) settle() {
	for _, n := range m.nodes {
		n.settled()
	}
}

// agree compares what the registry has of each peer.
func (m *willModel) agree() {
	m.settle()
	for name, p := range m.peers {
		if seen, ok := see(m.t, m.rdb, m.nodes[0].app, name); seen.Online != p.online || len(seen.holders) != len(p.connections) {
			m.t.Fatalf("%s: %v %+v, want online %v with %d connections; after %q", name, ok, seen, p.online, len(p.connections), m.log)
		}
	}
}

// setOn sets the will of one connection. It waits for nothing.
func (n *node) setOn(c Connected, w *Will) {
	n.t.Helper()
	if err := n.SetWill(SetWill{App: n.app, Peer: c.Peer, Connection: c.Connection, Will: w, Current: c.Will}); err != nil {
		n.t.Error(err)
	}
}

// Connects, wills, ends, deadlines, deaths of nodes and new identities, in any order, do
// what the model does.
func TestWillsAgainstAModel(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		for seed := range uint64(4) {
			redistest.Empty(t, rdb)
			walkWills(t, rdb, seed, 150, nil)
		}
	})
}

// The same while Redis is killed now and then, with changes under way, and comes back with its
// data.
func TestWillsAgainstAModelWhileRedisIsKilled(t *testing.T) {
	server := redistest.StartAppending(t)
	rdb := server.Client()
	for seed := range uint64(2) {
		redistest.Empty(t, rdb)
		walkWills(t, rdb, seed, 120, func() {
			server.Stop()
			server.Resume()
		})
	}
}

// walkWills does so many things at random to Redis and to the model.
func walkWills(t *testing.T, rdb redis.UniversalClient, seed uint64, steps int, kill func()) {
	d := directory(t, "")
	m := &willModel{t: t, rdb: rdb, rand: rand.New(rand.NewPCG(13, seed)), peers: map[string]*modelPeer{}, kill: kill}
	m.nodes = []*node{start(t, rdb, "i"+m.name(), d), start(t, rdb, "i"+m.name(), d)}
	for i := range 4 {
		m.peers[fmt.Sprint("p", i)] = &modelPeer{}
	}
	for range steps {
		m.step()
		if m.kill != nil && m.rand.IntN(8) == 0 { // the change is under way
			m.kill()
			m.log = append(m.log, "redis is killed")
		}
		m.agree()
	}
	for name, p := range m.peers {
		for _, c := range slices.Clone(p.connections) {
			c.end(1006, Lost)
			m.settle()
			p.ends(false, func(other *modelConnection) bool { return other == c })
		}
		m.due(name)
		m.nodes[0].wantNoWills(name)
	}
	for _, n := range m.nodes {
		n.stop()
	}
}

// Quick reconnects over two nodes, with deadlines that end all the time: no will is
// published twice, and none that was taken back or whose connection closed in order.
func TestWillsInARace(t *testing.T) {
	const peers, reconnects = 20, 60
	rdb := redistest.Start(t).Client()
	d := directory(t, `"graceMs":1,`)
	nodes := []*node{start(t, rdb, "aa", d), start(t, redistest.Client(t, "redis://"+rdb.Options().Addr), "bb", d)}
	ctx, cancel := context.WithCancel(t.Context())
	var deadlines, fleet sync.WaitGroup
	for _, n := range nodes {
		deadlines.Go(func() {
			for ctx.Err() == nil {
				peer := fmt.Sprint("p", rand.N(peers))
				due := []deadline.Due{{App: "app", Bucket: keys.Bucket("app", peer), IDs: []string{peer}}}
				_, _ = n.graces(ctx, due), n.wills(ctx, due)
			}
		})
	}
	var mu sync.Mutex
	never := map[string]bool{}
	for i := range peers {
		fleet.Go(func() {
			for j := range reconnects {
				n := nodes[rand.N(2)]
				peer, data := fmt.Sprint("p", i), fmt.Sprintf("%d", i*reconnects+j)
				c, end := n.begin(peer, "")
				n.setOn(c, will(data, 0))
				code, reason := 1006, Lost
				switch rand.N(4) {
				case 0:
					code, reason = 1000, Closed
				case 1:
					n.setOn(c, nil)
				}
				if code == 1000 || c.Will.Load() == nil {
					mu.Lock()
					never[fmt.Sprintf("p%d to devices/a: %s", i, data)] = true
					mu.Unlock()
				}
				end(code, reason)
				time.Sleep(rand.N(4 * time.Millisecond)) // so that graces end before, at and after the next connect
			}
		})
	}
	fleet.Wait()
	for _, n := range nodes {
		n.settled()
	}
	cancel()
	deadlines.Wait()
	for i := range peers {
		nodes[0].passWills(fmt.Sprint("p", i))
	}
	all := append(nodes[0].published(), nodes[1].published()...)
	seen := map[string]bool{}
	for _, one := range all {
		if seen[one] || never[one] {
			t.Errorf("published is %q (twice: %v, never to be: %v)", one, seen[one], never[one])
		}
		seen[one] = true
	}
	if len(all) < peers/2 {
		t.Errorf("only %d wills: this tests nothing", len(all))
	}
}

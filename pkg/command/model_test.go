package command

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// The contract (protocol §8) in Go, as plainly as it goes: no scripts, no indexes. The
// test below does the same to it and to Redis, at random, and compares.
type model struct {
	now      int64
	commands []*modelCommand // in the order of creation
}

type modelCommand struct {
	id, collapse    string
	status          Status
	ttl, open       int64 // open: until when it may be handed over
	timeout         int64
	expect, missing int
	rollout         Rollout
	peers           map[string]*modelPeer
	created         int64
	closed          bool // the hand-over was stopped
	unqueued        bool // peers that come get it no more, though the clock be set back
}

type modelPeer struct {
	PeerAnswer
	deadline int64
	confirms bool   // it asked for that, and has not confirmed
	node     string // that handed it over
	taken    bool
}

func (c *modelCommand) count(statuses ...Status) (n int) {
	for _, p := range c.peers {
		if slices.Contains(statuses, p.Status) {
			n++
		}
	}
	return n
}

func (c *modelCommand) final() bool { return c.status != Waiting && c.status != Active }

func (c *modelCommand) ended() int { return c.count(Succeeded, Failed, Rejected, TimedOut) }

func (c *modelCommand) mayHandOver(now int64) bool { return !c.final() && !c.closed && now < c.open }

func (c *modelCommand) finish(status Status) {
	c.status, c.missing = status, max(0, c.expect-len(c.peers))
}

// look has all that is true until an instant be so, one deadline after the other.
func (c *modelCommand) look(now int64) {
	for {
		at := now
		for _, p := range c.peers {
			if !isFinal(p.Status) {
				at = min(at, p.deadline)
			}
		}
		for _, p := range c.peers {
			if !isFinal(p.Status) && at >= p.deadline {
				p.Status, p.confirms, p.taken = TimedOut, false, false
			}
		}
		c.conclude(at)
		if at == now {
			return
		}
	}
}

func (c *modelCommand) conclude(now int64) {
	over := c.closed || now >= c.open
	c.unqueued = c.unqueued || over
	switch ended := c.ended(); {
	case c.final():
	case ended >= c.expect:
		for _, s := range []Status{Succeeded, Failed, Rejected, TimedOut} {
			if c.count(s) == ended {
				c.finish(s)
				return
			}
		}
		c.finish(Mixed)
	case c.rollout.FailedPct > 0 && ended >= c.rollout.MinAnswered && 100*c.count(Failed, Rejected, TimedOut) >= c.rollout.FailedPct*ended:
		c.stop(now)
		c.finish(Aborted)
		c.look(now)
	case over && len(c.peers) == 0:
		c.finish(Expired)
	case over && ended == len(c.peers):
		c.finish(Mixed)
	}
}

func isFinal(s Status) bool {
	return slices.Contains([]Status{Succeeded, Failed, Rejected, TimedOut}, s)
}

// stop has nobody further be handed the command.
func (c *modelCommand) stop(now int64) {
	c.open, c.closed = min(c.open, now), true
	for _, p := range c.peers {
		if p.taken {
			p.deadline = c.open
		}
	}
}

func (m *model) pass(ms int64) {
	m.now += ms
	for _, c := range m.commands {
		c.look(m.now)
	}
}

func (m *model) find(id string) *modelCommand {
	i := slices.IndexFunc(m.commands, func(c *modelCommand) bool { return c.id == id })
	if i < 0 {
		return nil
	}
	return m.commands[i]
}

func (m *model) queued() (queued []*modelCommand) {
	for _, c := range m.commands {
		if c.ttl > 0 && !c.unqueued && c.mayHandOver(m.now) {
			queued = append(queued, c)
		}
	}
	return queued
}

func (m *model) newest() *modelCommand {
	if len(m.commands) == 0 {
		return nil
	}
	return m.commands[len(m.commands)-1]
}

// goesBefore is a command that some of the peers have to get before a new one; nil: there is
// none. Nodes hand commands over in order, so nothing before one that all have goes first. The
// clock may have been set back since a command with a TTL expired: then it waits for nobody.
func (m *model) goesBefore(peers []string) *modelCommand {
	for _, c := range slices.Backward(m.commands) {
		switch lacks := func(p string) bool { return c.peers[p] == nil }; {
		case !slices.ContainsFunc(peers, lacks):
			return nil
		case c.mayHandOver(m.now) && (c.ttl == 0 || !c.unqueued):
			return c
		}
	}
	return nil
}

// create is told the id that Redis gave, and what stood in Redis's queue before.
func (m *model) create(n New, id string, there int, queue []string) error {
	if n.TTL == 0 && there == 0 {
		return ErrNobody
	}
	var superseded []*modelCommand
	for _, c := range m.queued() {
		if n.CollapseKey != "" && c.collapse == n.CollapseKey {
			superseded = append(superseded, c)
		}
	}
	if n.TTL > 0 && len(m.queued())-len(superseded) >= MaxQueued {
		return ErrFull
	}
	for _, c := range m.commands {
		// One that is over, and no script has seen that, is superseded as well: it stays closed
		// though the clock be set back.
		if n.CollapseKey != "" && c.collapse == n.CollapseKey && !c.mayHandOver(m.now) && slices.Contains(queue, c.id) {
			c.closed = true
		}
	}
	for _, c := range superseded {
		if c.stop(m.now); len(c.peers) == 0 {
			c.finish(Superseded)
		}
		c.look(m.now)
	}
	c := &modelCommand{id: id, collapse: n.CollapseKey, status: Waiting, ttl: n.TTL.Milliseconds(), timeout: n.Timeout.Milliseconds(),
		expect: n.Expect, rollout: n.Rollout, peers: map[string]*modelPeer{}, created: m.now}
	if c.expect == 0 {
		c.expect = max(1, there)
	}
	if c.open = m.now + c.ttl; c.ttl == 0 {
		c.open = m.now + 2000
	}
	m.commands = append(m.commands, c)
	return nil
}

// offer returns the number of the attempt, 0 if the peer is not handed the command.
func (m *model) offer(c *modelCommand, node, peer string, confirms bool) (attempt int) {
	p := c.peers[peer]
	switch {
	case !c.mayHandOver(m.now):
		return 0
	case p == nil && c.rollout.PerMinute > 0 && (m.now < c.created || int64(len(c.peers)) >= 1+(m.now-c.created)*int64(c.rollout.PerMinute)/60000):
		return 0
	case p == nil:
		p = &modelPeer{PeerAnswer: PeerAnswer{Peer: peer}}
		c.peers[peer] = p
	case !p.taken || !confirms:
		return 0
	}
	p.Status, p.SentAt, p.deadline, p.confirms, p.taken = Sent, m.now, m.now+c.timeout, confirms, false
	p.node = node
	p.Attempt++
	c.status = Active
	return p.Attempt
}

func (m *model) answer(id, peer string, status Status, data string) AnswerOutcome {
	c := m.find(id)
	if c == nil || c.peers[peer] == nil {
		return AnswerNotFound
	}
	p := c.peers[peer]
	order := []Status{Sent, Received, Running, Succeeded}
	rank := func(s Status) int { return slices.Index(order, map[bool]Status{true: Succeeded, false: s}[isFinal(s)]) }
	switch {
	case isFinal(p.Status) && !isFinal(status):
		return Taken
	case p.Status == TimedOut && p.Late == nil:
		p.Late = &LateAnswer{Status: status, Data: present(data), AnsweredAt: m.now}
		return TakenLate
	case p.Status == TimedOut && p.Late.Status == status && string(p.Late.Data) == data:
		return TakenLate
	case isFinal(p.Status) && p.Status == status && string(p.Data) == data:
		return Taken
	case isFinal(p.Status):
		return AnswerFinal
	case rank(status) < rank(p.Status) || status == Received && p.Status == Received:
		return Taken
	}
	if status == Running || p.taken {
		p.deadline = min(m.now+c.timeout, p.SentAt+7*24*3600*1000)
	}
	p.Status, p.Data, p.AnsweredAt, p.confirms, p.taken = status, present(data), m.now, false, false
	c.look(m.now)
	return Taken
}

func (m *model) takeBack(id, peer, node string) {
	c := m.find(id)
	if p := c.peers[peer]; p != nil && p.confirms && p.node == node {
		p.confirms = false
		if !c.mayHandOver(m.now) || c.ttl == 0 || p.Attempt == MaxAttempts {
			p.Status = TimedOut
			c.look(m.now)
			return
		}
		p.taken, p.deadline = true, c.open
	}
}

// held are the hand-overs that have yet to be confirmed: id, peer and node.
func (m *model) held() (held [][3]string) {
	for _, c := range m.commands {
		for _, peer := range slices.Sorted(maps.Keys(c.peers)) {
			if c.peers[peer].confirms {
				held = append(held, [3]string{c.id, peer, c.peers[peer].node})
			}
		}
	}
	return held
}

func (m *model) cancel(id string) error {
	c := m.find(id)
	if c.final() {
		return ErrFinal
	}
	c.finish(Cancelled)
	c.stop(m.now)
	c.look(m.now)
	return nil
}

// sees compares what Redis has of a command.
func (c *modelCommand) sees(got *Command) error {
	want := &Command{ID: c.id, Channel: channel, Data: []byte(`{"cmd":"reboot"}`), From: "server", Status: c.status, CreatedAt: c.created, Expect: c.expect,
		Counts:  Counts{c.count(Sent), c.count(Received), c.count(Running), c.count(Succeeded), c.count(Failed), c.count(Rejected), c.count(TimedOut), c.missing},
		Answers: []PeerAnswer{}, seq: got.seq}
	if c.ttl > 0 {
		want.ExpiresAt = c.created + c.ttl
	}
	for _, peer := range slices.Sorted(maps.Keys(c.peers)) {
		want.Answers = append(want.Answers, c.peers[peer].PeerAnswer)
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("redis has %+v\nwant %+v", got, want)
	}
	return nil
}

func TestModel(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for range 8 {
			seed := rand.Uint64()
			if !t.Run(fmt.Sprint(seed), func(t *testing.T) { w.t = t; walk(w, seed, 150, calm{}) }) {
				return
			}
		}
	})
}

// The same while nodes die, Redis is killed and comes back with its data, and its clock is set
// back.
func TestModelInATempest(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for range 8 {
			seed := rand.Uint64()
			if !t.Run(fmt.Sprint(seed), func(t *testing.T) { w.t = t; walk(w, seed, 150, &tempest{rand.New(rand.NewPCG(seed, 1))}) }) {
				return
			}
		}
	})
}

// weather is what happens beside the steps of a walk.
type weather interface {
	node() string // that claims next
	strikes(w *world, m *model) (what string)
}

type calm struct{}

func (calm) node() string                         { return "n1" }
func (calm) strikes(*world, *model) (what string) { return "" }

type tempest struct{ r *rand.Rand }

func (s *tempest) node() string { return []string{"n1", "n2"}[s.r.IntN(2)] }

func (s *tempest) strikes(w *world, m *model) (what string) {
	switch op := s.r.IntN(40); {
	case op < 3:
		node := s.node()
		for more := true; more; {
			var err error
			if more, err = w.store.Reap(context.Background(), w.keys.Bucket("app", channel), node); err != nil {
				w.t.Fatal(err)
			}
		}
		for _, h := range m.held() {
			if h[2] == node {
				m.takeBack(h[0], h[1], node)
			}
		}
		return node + " dies"
	case op < 4 && w.server != nil:
		w.server.RestartWithData()
		return "redis is killed"
	case op < 6:
		for _, c := range m.commands { // the model has looked at all of them
			w.read(c.id)
		}
		ms := s.r.Int64N(2500)
		w.pass(-ms)
		m.now -= ms
		return fmt.Sprintf("the clock is set back by %d ms", ms)
	default:
		return ""
	}
}

// queued are the commands in Redis's queue, whether or not they can still be handed over.
func (w *world) queued() (ids []string) {
	w.t.Helper()
	in := w.keys.Bucket("app", channel)
	all, err := w.rdb.ZRange(context.Background(), in.CommandQueue(channel), 0, -1).Result()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, local := range all {
		ids = append(ids, place{in, local}.id())
	}
	return ids
}

var modelPeers = []string{"a", "b", "c d", "e"}

// walk does so many things at random to Redis and to the model.
func walk(w *world, seed uint64, steps int, sky weather) {
	r := rand.New(rand.NewPCG(seed, 0))
	ctx := context.Background()
	w.t.Helper()
	if err := w.rdb.FlushAll(ctx).Err(); err != nil {
		w.t.Fatal(err)
	}
	w.pass(0)
	_ = w.endedSoFar()
	m := &model{now: w.now}
	there := 0
	pick := func() string {
		if len(m.commands) == 0 {
			return newPlace(w.keys, "app", channel).id()
		}
		recent := m.commands[max(0, len(m.commands)-8):]
		return recent[r.IntN(len(recent))].id
	}
	for step := range steps {
		what := sky.strikes(w, m)
		switch op := r.IntN(24); {
		case op < 4 || len(m.commands) == 0:
			what += " create"
			n := w.with(func(n *New) {
				n.TTL = []time.Duration{0, 0, 3 * time.Second, 40 * time.Second}[r.IntN(4)]
				n.Timeout = []time.Duration{time.Second, 5 * time.Second}[r.IntN(2)]
				n.Expect = r.IntN(4)
				n.CollapseKey = []string{"", "", "x", "y"}[r.IntN(4)]
				if n.TTL > 0 && r.IntN(3) == 0 {
					n.Rollout = Rollout{PerMinute: []int{30, 100000}[r.IntN(2)], FailedPct: []int{0, 50}[r.IntN(2)], MinAnswered: 1 + r.IntN(2)}
				}
			})
			if n.Rollout.PerMinute == 0 && r.IntN(2) == 0 {
				n.Node, n.Peers = []string{"n1", "n1", "n1", "n"}[r.IntN(4)], modelPeers[:r.IntN(len(modelPeers)+1)]
			}
			before := m.goesBefore(n.Peers)
			queue := w.queued()
			created, err := w.store.Create(ctx, n)
			if want := m.create(n, created.ID, there, queue); !errors.Is(err, want) {
				w.t.Fatalf("step %d: create: %v, want %v", step, err, want)
			}
			if created.Handed {
				if n.Node != "n1" || len(n.Peers) != there || before != nil {
					w.t.Fatalf("step %d: handed at creation to %q of %s; %d are there, before it is %+v", step, n.Peers, n.Node, there, before)
				}
				for _, p := range n.Peers {
					m.offer(m.newest(), n.Node, p, false)
				}
			}
		case op < 5:
			there = r.IntN(len(modelPeers) + 1)
			w.rdb.Del(ctx, w.keys.Bucket("app", channel).Members(channel))
			if there > 0 {
				w.join(modelPeers[:there]...)
			}
		case op < 9:
			what += " pass"
			ms := []int64{0, 1, 500, 1000, 2000, 3000}[r.IntN(6)] + r.Int64N(3) - 1
			ms = max(0, ms)
			w.pass(ms)
			m.pass(ms)
		case op < 11:
			what += " claim"
			c := &Claim{App: "app", Channel: channel, ID: pick(), Node: sky.node()}
			claims(w, m, r, c, []*modelCommand{m.find(c.ID)})
		case op < 14:
			what += " claim what waits"
			c := &Claim{App: "app", Channel: channel, Node: sky.node()}
			claims(w, m, r, c, m.queued())
		case op < 18:
			what += " answer"
			id, peer := pick(), modelPeers[r.IntN(len(modelPeers))]
			status := []Status{Received, Running, Succeeded, Failed, Rejected}[r.IntN(5)]
			data := []string{"", "1", "2"}[r.IntN(3)]
			if got, want := w.answer(id, peer, status, data), m.answer(id, peer, status, data); got != want {
				w.t.Fatalf("step %d: %s of %s to %s: outcome %d, want %d", step, status, peer, id, got, want)
			}
		case op < 23:
			what += " take back"
			id, peer, node := pick(), modelPeers[r.IntN(len(modelPeers))], sky.node()
			if held := m.held(); len(held) > 0 && r.IntN(4) > 0 {
				id, peer = held[r.IntN(len(held))][0], held[r.IntN(len(held))][1]
			}
			if _, err := w.store.TakeBack(ctx, node, []Unconfirmed{{"app", id, peer}}); err != nil {
				w.t.Fatal(err)
			}
			m.takeBack(id, peer, node)
		default:
			what += " cancel"
			id := pick()
			_, err := w.store.Cancel(ctx, "app", id)
			if want := m.cancel(id); !errors.Is(err, want) {
				w.t.Fatalf("step %d: cancel: %v, want %v", step, err, want)
			}
		}
		// One that was touched lately, or not: settling is each script's own business.
		for range r.IntN(3) {
			id := pick()
			if c := m.find(id); c != nil {
				if err := c.sees(w.read(id)); err != nil {
					w.t.Fatalf("step %d, after %s: %v", step, what, err)
				}
			}
		}
	}
	for _, c := range m.commands {
		if err := c.sees(w.read(c.id)); err != nil {
			w.t.Fatalf("at the end: %v", err)
		}
	}
	want := map[Status]int{}
	for _, c := range m.commands {
		if c.final() {
			want[c.status]++
		}
	}
	if got := w.endedSoFar(); !maps.Equal(got, want) {
		w.t.Errorf("the store has told of the ends %v, want %v", got, want)
	}
}

// claims claims the commands for some peers, here and in the model.
func claims(w *world, m *model, r *rand.Rand, c *Claim, of []*modelCommand) {
	w.t.Helper()
	n := 1 + r.IntN(3)
	if c.ID == "" {
		n, c.Most = 1, r.IntN(3)
	}
	for _, i := range r.Perm(len(modelPeers))[:n] {
		c.Peers = append(c.Peers, Claimant{Peer: modelPeers[i], Confirms: r.IntN(2) == 0})
	}
	if err := w.store.Claim(context.Background(), []*Claim{c}); err != nil {
		w.t.Fatal(err)
	}
	var want, got []string
	for _, one := range of {
		for _, p := range c.Peers {
			if c.Most > 0 && len(want) == c.Most {
				continue
			}
			if attempt := m.offer(one, c.Node, p.Peer, p.Confirms); attempt > 0 {
				expires := time.Duration(one.open-m.now) * time.Millisecond
				if one.ttl == 0 {
					expires = -time.Millisecond
				}
				want = append(want, fmt.Sprint(one.id, p.Peer, attempt, expires, one.timeout))
			}
		}
	}
	for _, h := range c.HandedOver {
		got = append(got, fmt.Sprint(h.ID, c.Peers[h.Peer].Peer, h.Attempt, h.ExpiresIn, h.Timeout.Milliseconds()))
	}
	if !slices.Equal(got, want) {
		w.t.Fatalf("handed over %q, want %q", got, want)
	}
}

// A walk found this once: peers that were handed a command again time out at the same moment
// as others, and end a rollout together with them.
func TestModelRegressions(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) { walk(w, 160048328847897096, 150, calm{}) })
}

// And this once: a command that had expired was superseded before a script had seen it, and then
// the clock was set back.
func TestTempestRegressions(t *testing.T) {
	const seed = 4360653887846598994
	onBoth(t, func(t *testing.T, w *world) { walk(w, seed, 150, &tempest{rand.New(rand.NewPCG(seed, 1))}) })
}

package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/group"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ackTimeout = 30 * time.Second

// store is a group without partitions: what is added is leased to whoever pulls first.
type store struct {
	mu      sync.Mutex
	changed chan struct{} // closed when there may be something new
	waiting []group.Message
	leased  map[string]group.Message
	fails   bool
	trip    time.Duration // that an Ack takes
	pulls   []group.Pull
	acked   []string
	nacked  []string
	consume []string // who pulled
}

func newStore() *store {
	return &store{changed: make(chan struct{}), leased: map[string]group.Message{}}
}

// add has messages wait with the data from first to last.
func (s *store) add(first, last int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := first; n <= last; n++ {
		data, metadata := fmt.Sprint(n), []byte(`{"n":1}`)
		if n%3 == 0 {
			metadata = []byte{} // the sender has none
		}
		s.waiting = append(s.waiting, group.Message{
			AckID: "m" + data, Channel: "devices/a", PublishedAt: 7, Attempt: 1,
			Content: envelope.Content{From: "device-1", FromMetadata: metadata, Data: []byte(data)},
		})
	}
	s.change()
}

func (s *store) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *store) set(fails bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = fails
}

var errAway = errors.New("redis does not answer")

func (s *store) Wait(ctx context.Context, p group.Pull, key string, most time.Duration) ([]group.Message, error) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.mu.Lock()
		if s.fails {
			s.mu.Unlock()
			return nil, errAway
		}
		n := min(p.Max, len(s.waiting))
		got := slices.Clone(s.waiting[:n])
		s.waiting = s.waiting[n:]
		for _, m := range got {
			s.leased[m.AckID] = m
		}
		if n > 0 {
			s.pulls, s.consume = append(s.pulls, p), append(s.consume, key)
		}
		changed := s.changed
		s.mu.Unlock()
		if n > 0 {
			return got, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *store) Ack(_ context.Context, _ *apps.App, _ *apps.Group, acks []string, nacks []group.Nack) (held []bool, err error) {
	time.Sleep(s.trip)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails {
		return nil, errAway
	}
	for _, id := range acks {
		_, ok := s.leased[id]
		delete(s.leased, id)
		held = append(held, ok)
		s.acked = append(s.acked, id)
	}
	for _, n := range nacks {
		m, ok := s.leased[n.AckID]
		delete(s.leased, n.AckID)
		held = append(held, ok)
		s.nacked = append(s.nacked, n.AckID)
		if ok {
			m.Attempt++
			m.AckID += "'"
			s.waiting = append(s.waiting, m)
		}
	}
	s.change()
	return held, nil
}

// lose ends the lease of a message, which is delivered again.
func (s *store) lose(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leased, id)
}

func (s *store) state() (acked, nacked []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.acked), slices.Clone(s.nacked)
}

// connection takes what it is sent, unless it is stuck.
type connection struct {
	mu     sync.Mutex
	app    *apps.App
	asked  func() // called when App is, once
	stuck  bool
	ended  bool
	queued []*conn.Portion
	frames []string
}

func (c *connection) ID() uint64   { return 7 }
func (c *connection) Peer() string { return "ingester" }
func (c *connection) Flush()       {}

func (c *connection) App() *apps.App {
	c.mu.Lock()
	app, asked := c.app, c.asked
	c.asked = nil
	c.mu.Unlock()
	if asked != nil {
		asked()
	}
	return app
}

func (c *connection) AppendPortion(p *conn.Portion) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		p.Written(false)
		return false
	}
	c.queued = append(c.queued, p)
	c.write()
	return true
}

// write is called with the connection locked.
func (c *connection) write() {
	for len(c.queued) > 0 && !c.stuck {
		p := c.queued[0]
		c.queued = c.queued[1:]
		for _, f := range p.Frames {
			c.frames = append(c.frames, string(f.Frame[slices.Index(f.Frame, '{'):]))
		}
		p.Written(true)
	}
}

func (c *connection) stick(stuck bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stuck = stuck
	c.write()
}

// end ends the connection, as its session hears it: what is queued is dropped.
func (c *connection) end(i *Ingester) {
	c.mu.Lock()
	c.ended = true
	for _, p := range c.queued {
		p.Written(false)
	}
	c.queued = nil
	c.mu.Unlock()
	i.Leave()
}

// sent are the data of what the connection wrote.
func (c *connection) sent() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		var m struct{ Data json.RawMessage }
		if err := json.Unmarshal([]byte(f), &m); err != nil {
			panic(err)
		}
		all = append(all, string(m.Data))
	}
	return all
}

// world is an ingester of a group "ingest", in a bubble whose clock jumps when all wait.
type world struct {
	*testing.T
	*store
	*connection
	all *Ingesters
	i   *Ingester
}

func anApp() *apps.App {
	return &apps.App{ID: "app", Groups: []*apps.Group{{Name: "ingest", AckTimeout: ackTimeout}}}
}

func inWorld(t *testing.T, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, store: newStore(), connection: &connection{app: anApp()}}
		w.all = NewIngesters(w.store, "node")
		w.i = w.all.New(w.connection)
		test(w)
		w.connection.end(w.i)
		w.all.Close()
	})
}

// wantSent waits until nothing moves, and says what the connection was sent.
func (w *world) wantSent(want ...string) {
	w.Helper()
	synctest.Wait()
	if got := w.sent(); !slices.Equal(got, want) {
		w.Fatalf("the peer was sent %q, want %q", got, want)
	}
}

// ack acknowledges, and returns what became of it.
func (w *world) ack(acks []string, nacks ...protocol.GroupNack) (lost []string, err error) {
	w.Helper()
	done := make(chan struct{})
	w.i.Acknowledge(acks, nacks, func(l []string, e error) { lost, err = l, e; close(done) })
	<-done
	return lost, err
}

package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/rediskeys"
)

// pausable is a connection: who sends for it waits while it is paused.
type pausable struct {
	mu     sync.Mutex
	on     sync.Cond
	paused int // 0 or 1, or the service has made a mistake
	times  int // that it was paused
}

func newPausable() *pausable {
	p := &pausable{}
	p.on.L = &p.mu
	return p
}

func (p *pausable) Pause() {
	p.mu.Lock()
	p.paused++
	p.times++
	p.mu.Unlock()
}

func (p *pausable) Resume() {
	p.mu.Lock()
	p.paused--
	p.mu.Unlock()
	p.on.Broadcast()
}

// await waits until the connection is not paused.
func (p *pausable) await() {
	p.mu.Lock()
	for p.paused != 0 {
		p.on.Wait()
	}
	p.mu.Unlock()
}

func (p *pausable) state() (paused, times int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.paused, p.times
}

// fill has so many messages of the connection wait, of each of which it is told.
func (s *service) fill(t *testing.T, sender Sender, connection uint64, a *apps.App, n int, c *completions) {
	t.Helper()
	for range n {
		s.submit(t, from(sender, connection, a, "1"), c.of(""))
	}
}

// unpaced is how many small messages weigh so much.
func unpaced(limit int) int {
	size := send.New(nil, rediskeys.Namespace{}, nil).Prepare(&envelope.Message{App: "app", Channel: "c", From: "p", Data: []byte("1")}).Size()
	return limit / weight(1, size)
}

// TestPausesThoseThatSendTooMuch: nothing is refused. A connection pauses when it has more
// than its share of what waits, others that send a message go on; and it is read from
// again when Redis has taken that.
func TestPausesThoseThatSendTooMuch(t *testing.T) {
	s := newStanding()
	gate := s.hold()
	a := app("app", 1e6)
	c := expect(-1)
	s.submit(t, message(a, "0"), c.of(""))
	<-s.sender.began
	flood, quiet := newPausable(), newPausable()
	s.fill(t, flood, 1, a, mostOfOne-1, c)
	if paused, _ := flood.state(); paused != 0 {
		t.Fatal("paused already")
	}
	s.fill(t, flood, 1, a, 1, c)
	s.fill(t, quiet, 2, a, 1, c)
	if paused, _ := flood.state(); paused != 1 {
		t.Fatal("goes on though it has sent too much")
	}
	if _, times := quiet.state(); times != 0 {
		t.Error("paused for a single message")
	}
	gate <- struct{}{}
	<-s.sender.began
	flood.await() // its messages are under way
	close(gate)
}

// TestManyConnections: what waits is bounded if many connections send two messages, and
// also if each sends but one. All go on when Redis has taken it.
func TestManyConnections(t *testing.T) {
	for each, limit := range map[int]int{1: 2 * leastLimit, 2: leastLimit} {
		t.Run(fmt.Sprint(each, " messages each"), func(t *testing.T) {
			s := newStanding()
			gate := s.hold()
			a := app("app", 1e6)
			c := expect(-1)
			s.submit(t, message(a, "0"), c.of(""))
			<-s.sender.began
			fit := unpaced(limit) / each
			all := make([]*pausable, fit+10)
			for i := range all {
				all[i] = newPausable()
				s.fill(t, all[i], 1+uint64(i), a, each, c)
				paused, _ := all[i].state()
				if i < fit-1 && paused != 0 || i > fit && paused == 0 {
					t.Fatalf("connection %d of %d that fit: paused %d", i, fit, paused)
				}
			}
			close(gate)
			for _, p := range all {
				p.await()
			}
		})
	}
}

// TestAllGoOn: whatever comes together, each connection goes on, in order, and nothing is
// refused: no wake-up is lost, none comes twice, and none waits for ever.
func TestAllGoOn(t *testing.T) {
	s := newStanding()
	a := app("app", 1e9)
	const connections, each = 20, 300
	c := expect(connections * each)
	var all sync.WaitGroup
	for i := range uint64(connections) {
		all.Go(func() {
			p := newPausable()
			for n := range each {
				p.await()
				big := strings.Repeat(" ", rand.IntN(20<<10))
				s.submit(t, from(p, 1+i, a, fmt.Sprintf("[%d,%d]%s", i, n, big)), c.of(""))
			}
			p.await()
			if paused, _ := p.state(); paused != 0 {
				t.Errorf("connection %d: paused %d", i, paused)
			}
		})
	}
	all.Wait()
	c.wait(t)
	var next [connections]int
	for i := range s.sender.callCount() {
		for _, got := range s.sender.data(i) {
			var from, n int
			if _, err := fmt.Sscanf(got, "[%d,%d]", &from, &n); err != nil {
				t.Fatal(err)
			}
			if n != next[from] {
				t.Fatalf("connection %d: message %d comes in place of %d", from, n, next[from])
			}
			next[from]++
		}
	}
	s.Service.mu.Lock()
	defer s.Service.mu.Unlock()
	if len(s.pressure.paused) != 0 {
		t.Errorf("%d connections are kept as paused", len(s.pressure.paused))
	}
}

// TestGoOnWhenRedisGoesAway: paused connections hear that their messages were refused,
// and are read from again.
func TestGoOnWhenRedisGoesAway(t *testing.T) {
	s := newStanding()
	gate := s.hold()
	s.sender.answer = func([]send.Batch) error { s.down.Store(true); return errors.New("gone") }
	a := app("app", 1e6)
	c := expect(1 + mostOfOne)
	s.submit(t, message(a, "0"), c.of(""))
	<-s.sender.began
	p := newPausable()
	s.fill(t, p, 1, a, mostOfOne, c)
	close(gate)
	c.wait(t)
	p.await()
	if _, times := p.state(); times != 1 {
		t.Errorf("paused %d times, want once", times)
	}
}

// TestWaitIsBoundedByTime: connections that send as fast as they are read from make
// nobody wait longer than planned for, however fast Redis is; REST and a connection that
// sends little wait for some round trips.
func TestWaitIsBoundedByTime(t *testing.T) {
	for _, perMessage := range []time.Duration{20 * time.Microsecond, 40 * time.Microsecond} {
		t.Run(perMessage.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { boundedByTime(t, perMessage) })
		})
	}
}

func boundedByTime(t *testing.T, perMessage time.Duration) {
	const connections, each = 60, 250
	s := newStanding()
	s.sender.answer = func(batches []send.Batch) error {
		for _, b := range batches {
			time.Sleep(time.Duration(len(b.Messages)) * perMessage)
		}
		return acceptAll(batches)
	}
	a := app("app", 1e9)
	trip := maxBatchMessages * perMessage
	planned := 3 * max(waitTarget, 4*trip) // before the pace is known, and in a line that was long
	var all, others sync.WaitGroup
	waits := make(chan time.Duration, connections*each)
	for i := range uint64(connections) {
		all.Go(func() {
			p := newPausable()
			for range each {
				p.await()
				began := time.Now()
				s.submit(t, from(p, 1+i, a, "1"), then(func() { waits <- time.Since(began) }))
			}
		})
	}
	for _, m := range []Message{message(a, "2"), from(newPausable(), connections+1, a, "3")} {
		others.Go(func() {
			for range 20 {
				time.Sleep(10 * time.Millisecond)
				began := time.Now()
				s.Publish(context.Background(), m)
				if took := time.Since(began); took > 5*trip {
					t.Errorf("one of the others waited %v, want %v at most", took, 5*trip)
				}
			}
		})
	}
	all.Wait()
	others.Wait()
	var longest time.Duration
	for range connections * each {
		longest = max(longest, <-waits)
	}
	if longest > planned {
		t.Errorf("a message waited %v, want %v at most", longest, planned)
	}
	synctest.Wait()
}

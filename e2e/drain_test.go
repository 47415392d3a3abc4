package e2e

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

var goingAway = regexp.MustCompile(`^\{"type":"going_away","retryAfterMs":([0-9]+)\}$`)

// One of two nodes is told to stop: its peers are told when to come back, each
// another time, and closed with 1001 over the drain; new connections are not
// accepted; the peers of the other node notice nothing, and whoever was closed
// finds a place there.
func TestDrainOfOneOfTwoNodes(t *testing.T) {
	const fleet, drain = 30, 1500 * time.Millisecond
	key := newKey("drain", "**")
	app := newApp("app_drain", key)
	app.Plan.Connections = 2*fleet + 1
	s := startOneNode(t, app)
	stays := s.first()
	goes := s.start(s.redis.URL(), options{drain: drain})

	undisturbed := make([]*socket, fleet)
	leaving := make([]*socket, fleet)
	each(t, fleet, func(i int) (err error) {
		if undisturbed[i], err = stays.tryEnter(t, "token="+key.token("stays", nil)); err != nil {
			return err
		}
		leaving[i], err = goes.tryEnter(t, "token="+key.token("goes", nil))
		return err
	})
	for i := range fleet {
		undisturbed[i].subscribe("a")
		leaving[i].subscribe("a")
	}
	source := stays.connect(t, key.token("source", nil))
	if n := stays.publish(t, key, "a", `"all"`); n != 2*fleet {
		t.Errorf("subscribers: %d, want %d", n, 2*fleet)
	}

	for _, d := range append(undisturbed[:fleet:fleet], leaving...) {
		d.expectMessage("a", "server", `"all"`)
	}

	begin, watch := time.Now(), redistest.NewStopwatch(t) // which counts less while the machine is busy
	stopped := make(chan time.Duration, 1)
	go func() {
		goes.stop()
		stopped <- watch.Elapsed()
	}()
	retries := map[string]bool{}
	type closing struct{ at, counted time.Duration }
	closings := make(chan closing, fleet)
	for i, d := range leaving {
		m := goingAway.FindStringSubmatch(d.next())
		if m == nil {
			t.Fatal("no going_away")
		}
		if ms, _ := strconv.Atoi(m[1]); ms < 100 || ms > 60_000 {
			t.Errorf("retryAfterMs is %s", m[1])
		}
		retries[m[1]] = true
		go func() {
			// Until then it is served as ever.
			for k := 0; ; k++ {
				frame, err := d.read()
				var closed closedError
				if errors.As(err, &closed) && closed.code == 1001 && closed.reason != "" {
					break
				}
				if want := message("a", "source", strconv.Itoa(k)); err != nil || frame != want {
					t.Errorf("connection %d: got %s, %v; want %s or a close with 1001", i, frame, err, want)
					break
				}
			}
			closings <- closing{time.Since(begin), watch.Elapsed()}
		}()
	}
	if len(retries) < fleet*2/3 {
		t.Errorf("only %d different retryAfterMs for %d peers", len(retries), fleet)
	}

	// Messages cross the staying node all the while, one after the other.
	published, first, last := 0, time.Duration(0), time.Duration(0)
	for gone := 0; gone < fleet; published++ {
		source.publish("a", strconv.Itoa(published))
		undisturbed[0].expectMessage("a", "source", strconv.Itoa(published))
		for more := true; more; {
			select {
			case c := <-closings:
				if last = c.at; gone == 0 {
					first = c.counted
				}
				gone++
			default:
				more = false
			}
		}
	}
	if last < drain*8/10 || first > drain/2 {
		t.Errorf("closed between %v and %v; they should be spread over %v", first, last, drain)
	}
	select {
	case took := <-stopped:
		if took > drain+5*time.Second {
			t.Errorf("stopped after %v, drain is %v", took, drain)
		}
	case <-time.After(patience):
		t.Fatal("the node has not stopped")
	}
	if conn, err := net.Dial("tcp", goes.addr); err == nil {
		conn.Close()
		t.Error("the stopped node accepts connections")
	}

	// It has given back its connections, and is counted no more.
	if n := stays.publish(t, key, "a", `"half"`); n != fleet {
		t.Errorf("subscribers: %d, want %d: those of the stopped node are gone", n, fleet)
	}
	each(t, fleet, func(i int) error {
		d, err := stays.tryEnter(t, "token="+key.token("goes", nil))
		leaving[i] = d
		return err
	})
	for i, d := range leaving {
		d.subscribe(fmt.Sprint("b", i))
	}
	for _, d := range undisturbed[1:] {
		for i := range published {
			d.expectMessage("a", "source", strconv.Itoa(i))
		}
	}
	for _, d := range undisturbed {
		d.expectMessage("a", "server", `"half"`)
		d.alive()
	}
}

// A node that drains is not ready, still serves who is connected, and turns
// away who comes.
func TestWhileDraining(t *testing.T) {
	key := newKey("draining", "**")
	s := newSystem(t, newApp("app_draining", key))
	hurry := make(chan struct{})
	endDrain := sync.OnceFunc(func() { close(hurry) })
	defer endDrain()
	n := s.start("", options{drain: time.Hour, hurry: hurry}) // it lasts until the test ends it
	a := n.connect(t, key.token("a", nil)).subscribe("x")
	b := n.connect(t, key.token("b", nil))
	done := make(chan struct{})
	go func() {
		n.stop()
		close(done)
	}()
	for _, d := range []*socket{a, b} {
		if frame := d.next(); !goingAway.MatchString(frame) {
			t.Fatalf("got %s, want going_away", frame)
		}
	}
	if status, why := n.ready(); status != 503 || why != "not ready: draining\n" {
		t.Errorf("/readyz: %d %q", status, why)
	}
	// The node serves REST too, so it listens on, but lets nobody in.
	late, err := n.dial(t, "token="+key.token("late", nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	late.expectClose(1001)
	b.send(`{"type":"publish","channel":"x","data":1}`)
	a.expectMessage("x", "b", "1")
	endDrain()
	a.expectClose(1001)
	b.expectClose(1001)
	<-done
}

// A node that has stopped in order leaves nothing behind in Redis that counts:
// neither subscribers nor connections.
func TestStoppedNodeLeavesNothing(t *testing.T) {
	const fleet = 5
	key := newKey("stopped", "**")
	app := newApp("app_stopped", key)
	app.Plan.Connections = fleet + 1
	s := startOneNode(t, app)
	stays := s.first()
	one := stays.connect(t, key.token("one", nil)).subscribe("a")
	for range 8 {
		goes := s.start(s.redis.URL(), options{})
		fleet := make([]*socket, fleet)
		for i := range fleet {
			fleet[i] = goes.connect(t, key.token("goes", nil)).subscribe("a")
		}
		if n := stays.publish(t, key, "a", "1"); n != len(fleet)+1 {
			t.Errorf("subscribers: %d, want %d", n, len(fleet)+1)
		}
		one.expectMessage("a", "server", "1")
		each(t, len(fleet)+1, func(i int) error {
			if i == len(fleet) {
				goes.stop()
				return nil
			}
			for {
				_, err := fleet[i].read()
				if errors.As(err, new(closedError)) {
					return nil
				}
				if err != nil {
					return err
				}
			}
		})
		if n := stays.publish(t, key, "a", "2"); n != 1 {
			t.Errorf("subscribers: %d after the other node has stopped, want 1", n)
		}
		one.expectMessage("a", "server", "2")
	}
}

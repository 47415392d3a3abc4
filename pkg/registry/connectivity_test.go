package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn/redistest"
)

// event is what is published of a peer.
type event struct {
	Online bool
	Epoch  uint64
	At     int64
	Reason Reason
	Code   int

	only uint64
	id   envelope.ID
}

// watch hears what is published on the connectivity of all peers of the app.
func watch(t *testing.T, rdb redis.UniversalClient) <-chan *redis.Message {
	t.Helper()
	sub := rdb.PSubscribe(t.Context(), keys.Glob(envelope.KindMessages, "app", channel.ConnectivityPrefix+"*"))
	t.Cleanup(func() { _ = sub.Close() })
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return sub.Channel(redis.WithChannelSize(100_000))
}

// read reads an event as a node does.
func read(t *testing.T, m *redis.Message) (peer string, e event) {
	t.Helper()
	kind, app, name, ok := keys.ParseTopic(m.Channel)
	peer, named := channel.ConnectivityPeer(name)
	if !ok || !named || kind != envelope.KindMessages || app != "app" {
		t.Fatalf("published on %s", m.Channel)
	}
	var d envelope.Delivery
	if err := d.Decode([]byte(m.Payload)); err != nil {
		t.Fatalf("%q: %v", m.Payload, err)
	}
	frame := d.Frame[strings.Index(string(d.Frame), `{"type"`):]
	var message struct {
		Type, Channel, From string
		Data                event
	}
	if err := json.Unmarshal(frame, &message); err != nil || message.Type != "message" || message.Channel != name || message.From != "_system" {
		t.Fatalf("%q: %v", frame, err)
	}
	e = message.Data
	e.only, e.id = d.Only, d.ID
	return peer, e
}

func next(t *testing.T, events <-chan *redis.Message) (peer string, e event) {
	t.Helper()
	select {
	case m := <-events:
		return read(t, m)
	case <-time.After(patience):
		t.Fatal("nothing is published")
		return "", event{}
	}
}

// A peer is said to come online and to go offline, and no more than that.
func TestEvents(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb *redis.Client) {
		events := watch(t, rdb)
		n := start(t, rdb, "aa", directory(t, ""))
		for _, peer := range []string{"p", "a/*% ~", "..", strings.Repeat("x", 128)} {
			end := n.connect(peer, "")
			if got, e := next(t, events); got != peer || !e.Online || e.Epoch != 1 || e.At == 0 || e.Reason != "" {
				t.Errorf("%q came: %q %+v", peer, got, e)
			}
			end(1006, Lost)
			end = n.connect(peer, "")
			end(4000, Inactive)
			n.settled()
			n.pass(peer)
			n.pass(peer)
			if got, e := next(t, events); got != peer || e.Online || e.Epoch != 2 || e.Code != 4000 || e.Reason != Inactive || e.At == 0 {
				t.Errorf("%q went: %q %+v", peer, got, e)
			}
			n.connect(peer, "")
			if got, e := next(t, events); got != peer || !e.Online || e.Epoch != 3 {
				t.Errorf("%q is back: %q %+v", peer, got, e)
			}
			n.State(n.app, peer, 9)
			if got, e := next(t, events); got != peer || !e.Online || e.Epoch != 3 || e.only != 9 || e.id.Process != 7 {
				t.Errorf("the state of %q: %q %+v", peer, got, e)
			}
		}
		// No channel can have this name.
		n.connect(strings.Repeat("/", 128), "")
		n.State(n.app, "unknown", 9)
		n.connect("last", "")
		if got, e := next(t, events); got != "last" {
			t.Errorf("%q %+v is published", got, e)
		}
	})
}

// A dead node's peers go offline as any others.
func TestEventsOfADeadNode(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb *redis.Client) {
		d := directory(t, "")
		dead, lives := start(t, rdb, "dead", d), start(t, rdb, "lives", d)
		dead.connect("p", "")
		dead.settled()
		dead.stop()
		events := watch(t, rdb)
		if err := lives.Reap(t.Context(), "dead", keys.Bucket("app", "p")); err != nil {
			t.Fatal(err)
		}
		lives.pass("p")
		if peer, e := next(t, events); peer != "p" || e.Online || e.Reason != NodeLost || e.Code != CodeLost {
			t.Errorf("%q %+v", peer, e)
		}
	})
}

// 10,000 quick reconnects over two nodes, with graces that end all the time: no offline
// follows a newer online, and the last that is said of a peer is true.
func TestNoOfflineAfterANewerOnline(t *testing.T) {
	const peers, reconnects = 50, 200
	rdb := redistest.Start(t).Client()
	events := watch(t, rdb)
	d := directory(t, `"graceMs":2,`)
	nodes := []*node{start(t, rdb, "aa", d), start(t, redistest.Client(t, "redis://"+rdb.Options().Addr), "bb", d)}
	ctx, cancel := context.WithCancel(t.Context())
	var graces, fleet sync.WaitGroup
	for _, n := range nodes {
		graces.Go(func() {
			for ctx.Err() == nil {
				peer := fmt.Sprint("p", rand.N(peers))
				_ = n.graces(ctx, []deadline.Due{{App: "app", Bucket: keys.Bucket("app", peer), IDs: []string{peer}}})
			}
		})
	}
	stays := make([]bool, peers)
	for i := range peers {
		fleet.Go(func() {
			former := func(int, Reason) {}
			for range reconnects {
				end := nodes[rand.N(2)].connect(fmt.Sprint("p", i), "")
				former(1006, Lost)
				// Graces of 2 ms end before, during and after these pauses.
				time.Sleep(rand.N(2 * time.Millisecond))
				if former = end; rand.N(3) > 0 { // else it ends when the next has begun
					end(1006, Lost)
					time.Sleep(rand.N(6 * time.Millisecond))
				}
			}
			former(1006, Lost)
			if stays[i] = i%2 == 0; stays[i] {
				nodes[i%2].connect(fmt.Sprint("p", i), "")
			}
		})
	}
	fleet.Wait()
	for _, n := range nodes {
		n.settled()
	}
	cancel()
	graces.Wait()
	for i := range peers {
		nodes[0].pass(fmt.Sprint("p", i))
	}
	rdb.Publish(t.Context(), keys.Topic(envelope.KindMessages, "app", channel.ConnectivityName("end")), "")
	last, said := map[string]event{}, 0
	for m := range events {
		if m.Payload == "" {
			break
		}
		peer, e := read(t, m)
		if before := last[peer]; e.Epoch < before.Epoch || e.Online && before.Online || !e.Online && !before.Online {
			t.Fatalf("%s: after %+v comes %+v", peer, before, e)
		}
		last[peer] = e
		said++
	}
	for i := range peers {
		if e := last[fmt.Sprint("p", i)]; e.Online != stays[i] {
			t.Errorf("p%d is online %v, and said last is %+v", i, stays[i], e)
		}
	}
	if said < 2*peers {
		t.Errorf("only %d events: this tests nothing", said)
	}
}

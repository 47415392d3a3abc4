package send

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// onCluster is a Sender of a Redis Cluster.
type onCluster struct {
	*Sender
	t   *testing.T
	rdb redis.UniversalClient
	app *apps.App
	cap int64
}

func newOnCluster(t *testing.T, rdb redis.UniversalClient, limit int64) *onCluster {
	return &onCluster{newTestSender(rdb), t, rdb, &apps.App{ID: "app", HistoryBytes: apps.DefaultHistoryBytes}, limit}
}

func (c *onCluster) batch(messages ...*Outgoing) Batch {
	return Batch{
		Counter:  quota.Counter{Key: "fw:{app}:messages:test", Limit: c.cap, ExpiresAt: time.Now().Add(time.Hour)},
		App:      c.app,
		Messages: messages,
	}
}

func (c *onCluster) to(channel, data string) *Outgoing {
	return c.Prepare(&envelope.Message{App: "app", Channel: channel, From: "p", Data: []byte(data)})
}

func (c *onCluster) remembered(channel, data string) *Outgoing {
	m := &envelope.Message{App: "app", Channel: channel, From: "p", Data: []byte(data)}
	return c.PrepareRemembered(m, &apps.HistoryRule{Size: 10_000, TTL: time.Hour})
}

func (c *onCluster) used() int64 {
	n, _ := c.rdb.Get(context.Background(), c.batch().Counter.Key).Int64()
	return n
}

// kept is what a channel that remembers was published.
func (c *onCluster) kept(channel string) (all []string) {
	c.t.Helper()
	kept, err := c.rdb.LRange(context.Background(), c.keys.Bucket("app", channel).History(channel), 0, -1).Result()
	if err != nil {
		c.t.Fatal(err)
	}
	for i, k := range kept {
		r, err := envelope.ParseRemembered([]byte(k))
		if err != nil || r.Position.Offset != uint64(i+1) {
			c.t.Errorf("message %d of %s is at %v (%v)", i, channel, r.Position, err)
		}
		all = append(all, string(r.Data))
	}
	return all
}

// heard are the messages that come to topics, by the data in them, until one has the data
// "end".
func (c *onCluster) heard(topics ...string) func() string {
	c.t.Helper()
	var all []*redis.PubSub
	for _, topic := range topics {
		s := c.rdb.SSubscribe(c.t.Context(), topic)
		c.t.Cleanup(func() { _ = s.Close() })
		if _, err := s.Receive(c.t.Context()); err != nil {
			c.t.Fatal(err)
		}
		all = append(all, s)
	}
	return func() string {
		var got []string
		for i, s := range all {
			var one []string
			for !slices.Contains(one, "end") {
				m, err := s.ReceiveMessage(c.t.Context())
				if err != nil {
					c.t.Fatal(err)
				}
				_, data, ok := strings.Cut(m.Payload, `"data":"`)
				if !ok { // a record, which ends with its data
					data = m.Payload[strings.LastIndex(m.Payload[:len(m.Payload)-1], `"`)+1:]
				}
				data, _, _ = strings.Cut(data, `"`)
				if name, _, all := strings.Cut(m.Payload, "\n"); all && topics[i] == c.keys.AllTopic(c.keys.Bucket("app", name), rediskeys.Messages) {
					data = name + "=" + data
				}
				one = append(one, strings.TrimPrefix(data, `"`))
				if strings.HasSuffix(data, "=end") {
					break
				}
			}
			got = append(got, strings.Join(one, " "))
		}
		return strings.Join(got, "; ")
	}
}

// Messages of all kinds go out in order, to those that subscribe by name and by wildcard.
func TestDelivers(t *testing.T) {
	c := newOnCluster(t, redistest.SharedCluster(t).Client(), 1000)
	all := c.keys.AllTopic(c.keys.Bucket("app", "b"), rediskeys.Messages)
	heard := c.heard(c.keys.Topic(rediskeys.Messages, "app", "a"), c.keys.Topic(rediskeys.Messages, "app", "b"), c.keys.Topic(rediskeys.Peer, "app", "peer"), all)
	c.rdb.Set(t.Context(), c.keys.Bucket("app", "b").Wildcards(rediskeys.Messages), 1, time.Minute)
	in := c.keys.Bucket("app", "a")
	c.rdb.SAdd(t.Context(), in.SubscriberNodes(), "node")
	c.rdb.HSet(t.Context(), in.Subscribers("node"), "a", 7)
	direct := func(to, data string) *Outgoing {
		return c.Prepare(&envelope.Message{App: "app", To: to, From: "p", Data: []byte(data)})
	}
	for _, round := range []string{"1", "2", "end"} {
		messages := []*Outgoing{
			c.to("a", `"`+round+`"`), c.remembered("b", `"`+round+`"`), direct("peer", `"`+round+`"`), direct("nobody", `"x"`),
			c.to("c", `"`+round+`"`),
		}
		messages[0].CountSubscribers = true
		if err := c.Send(t.Context(), []Batch{c.batch(messages...)}); err != nil {
			t.Fatal(err)
		}
		for i, o := range messages {
			if !o.Accepted || o.Unknown || i == 2 != o.Found && i >= 2 && i <= 3 {
				t.Errorf("round %s, message %d: %+v", round, i, o)
			}
		}
		if messages[0].Subscribers != 7 || messages[1].Position.Epoch == "" {
			t.Errorf("%d subscribers, position %v; want 7, and one", messages[0].Subscribers, messages[1].Position)
		}
	}
	if got := heard(); got != "1 2 end; 1 2 end; 1 2 end; b=1 b=2 b=end" {
		t.Errorf("heard %s", got)
	}
	if got := c.used(); got != 15 {
		t.Errorf("used %d, want 15", got)
	}
	if got := fmt.Sprint(c.kept("b")); got != `["1" "2" "end"]` {
		t.Errorf("b remembers %s", got)
	}
}

// A message that is not published does not count, and says why.
func TestGivesBack(t *testing.T) {
	c := newOnCluster(t, redistest.SharedCluster(t).Client(), 1000)
	send := func(o *Outgoing) *Outgoing {
		t.Helper()
		if err := c.Send(t.Context(), []Batch{c.batch(o, c.to("other", "1"))}); err != nil {
			t.Fatal(err)
		}
		return o
	}
	keyed := func(fingerprint string) *Outgoing {
		o := c.remembered("a", "1")
		o.IdempotencyKey, o.Fingerprint = "key", fingerprint
		return o
	}
	first := send(keyed("f"))
	again, conflict := send(keyed("f")), send(keyed("g"))
	offset := uint64(7)
	mismatch := c.remembered("a", "2")
	mismatch.IfOffset = &offset
	send(mismatch)
	if !first.Accepted || !again.Repeated || again.Position != first.Position || !conflict.Conflict || !mismatch.Mismatch || mismatch.Current == nil {
		t.Errorf("%+v\n%+v\n%+v\n%+v", first, again, conflict, mismatch)
	}
	if got := c.used(); got != 5 {
		t.Errorf("used %d, want the first, and four others", got)
	}
}

// However many race, exactly as many are published as the cap allows.
func TestCapOfACluster(t *testing.T) {
	const limit, senders, each = 500, 4, 50
	cluster := redistest.SharedCluster(t)
	var accepted, over atomic.Int64
	var all sync.WaitGroup
	for i := range senders {
		c := newOnCluster(t, cluster.Client(), limit)
		all.Go(func() {
			for n := range each {
				var messages []*Outgoing
				for m := range 5 {
					messages = append(messages, c.remembered(fmt.Sprintf("%d/%d", i, (n+m)%17), "1"))
				}
				if err := c.Send(context.Background(), []Batch{c.batch(messages...)}); err != nil {
					t.Error(err)
				}
				for _, o := range messages {
					switch {
					case o.Accepted:
						accepted.Add(1)
					case o.OverCap:
						over.Add(1)
					}
				}
			}
		})
	}
	all.Wait()
	c := newOnCluster(t, cluster.Client(), limit)
	kept := 0
	for i := range senders {
		for n := range 17 {
			kept += len(c.kept(fmt.Sprintf("%d/%d", i, n)))
		}
	}
	if accepted.Load() != limit || over.Load() != senders*each*5-limit || kept != limit || c.used() != senders*each*5 {
		t.Errorf("%d accepted, %d over, %d remembered, %d used; want the cap, %d, and %d attempts", accepted.Load(), over.Load(), kept, c.used(), limit, senders*each*5)
	}
}

// cutting is a connection that ends in place of the answer to what has the mark.
type cutting struct {
	net.Conn
	mark  *atomic.Pointer[string]
	asked bool
}

func (c *cutting) Write(b []byte) (int, error) {
	if mark := c.mark.Load(); mark != nil && bytes.Contains(b, []byte(*mark)) {
		c.asked = true
		c.mark.Store(nil) // once
	}
	return c.Conn.Write(b)
}

func (c *cutting) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.asked {
		_ = c.Conn.Close()
		return 0, io.EOF
	}
	return n, err
}

// An admission whose answer is lost is asked for again, and counts once. A message whose
// answer is lost is not published again, and it is unknown whether it was; others go on.
func TestAnswersOfAClusterAreLost(t *testing.T) {
	cluster := redistest.SharedCluster(t)
	var mark atomic.Pointer[string]
	rdb := redisconn.NewCluster(&redis.ClusterOptions{
		Addrs: cluster.Client().Options().Addrs, Protocol: 2, DisableIdentity: true,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &cutting{Conn: conn, mark: &mark}, err
		},
	})
	defer rdb.Close()
	c := newOnCluster(t, rdb, 1000)
	here, there := "a", ""
	for i := 0; there == "" || cluster.Master(string(c.keys.Bucket("app", here))) == cluster.Master(string(c.keys.Bucket("app", there))); i++ {
		there = fmt.Sprint("b", i)
	}
	send := func(cut string) []*Outgoing {
		messages := []*Outgoing{c.remembered(here, "1"), c.remembered(here, `"MARK"`), c.remembered(there, "1")}
		mark.Store(&cut)
		err := c.Send(t.Context(), []Batch{c.batch(messages...)})
		if (err != nil) != (cut == "MARK") || mark.Load() != nil {
			t.Errorf("cut at %s: %v", cut, err)
		}
		return messages
	}
	if err := c.Send(t.Context(), []Batch{c.batch(c.to(here, "0"), c.to(there, "0"))}); err != nil {
		t.Fatal(err)
	}
	for i, o := range send("fw:{app}:messages") {
		if !o.Accepted {
			t.Errorf("message %d was not published: %+v", i, o)
		}
	}
	for i, o := range send("MARK") {
		if o.Accepted != (i == 2) || o.Unknown != (i != 2) {
			t.Errorf("message %d: accepted %v, unknown %v", i, o.Accepted, o.Unknown)
		}
	}
	if got := c.used(); got != 8 {
		t.Errorf("used %d, want 8", got)
	}
	if a, b := c.kept(here), c.kept(there); len(a) != 4 || len(b) != 2 {
		t.Errorf("published %v and %v, want each once", a, b)
	}
}

// While slots move under it, messages go out in order, each once, or are refused.
func TestDeliversWhileSlotsMove(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartClusterOf(t, 3, 0)
	// A busy machine has longer: it is unknown what becomes of what is answered too late.
	c := newOnCluster(t, redistest.Patient(cluster.Client()), 1_000_000)
	var want []string
	done := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			messages := []*Outgoing{c.remembered("a", fmt.Sprint(2*n)), c.to("a", "0"), c.remembered("a", fmt.Sprint(2*n+1))}
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			var err error
			took := redistest.Took(func() { err = c.Send(ctx, []Batch{c.batch(messages...)}) })
			cancel()
			if took > 2*time.Second {
				t.Errorf("a batch took %v", took)
			}
			for _, o := range []*Outgoing{messages[0], messages[2]} {
				switch {
				case o.Accepted:
					want = append(want, string(o.payload[bytes.LastIndexByte(o.payload, '\n')+1:]))
				case o.Unknown:
					t.Errorf("it is unknown what became of a message: %v", err)
				}
			}
		}
	}()
	bucket, counter := string(c.keys.Bucket("app", "a")), c.batch().Counter.Key
	for i := range 6 {
		cluster.Migrate(bucket, cluster.Nodes[i%3])
		cluster.Migrate(counter, cluster.Nodes[(i+1)%3])
	}
	close(done)
	<-finished
	cluster.Agreed() // else a client is sent to and fro
	kept := c.kept("a")
	if len(kept) != len(want) || len(want) == 0 {
		t.Errorf("%d accepted, and %d published", len(want), len(kept))
	}
	last := -1
	for _, data := range kept {
		var n int
		if _, err := fmt.Sscan(data, &n); err != nil || n <= last {
			t.Fatalf("%s comes behind %d", data, last)
		}
		last = n
	}
}

// A master is killed while messages are published. What is accepted was published, once, and
// everything ends in time; then the replica goes on.
func TestDeliversWhileAMasterDies(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartClusterOf(t, 3, 1)
	c := newOnCluster(t, cluster.Client(), 1_000_000)
	channels := []string{"a", "b", "c", "d", "e", "f"}
	accepted, unknown := map[string]int{}, map[string]int{}
	sendWithin := func(patience time.Duration) (all bool) {
		var messages []*Outgoing
		for _, name := range channels {
			messages = append(messages, c.remembered(name, "1"))
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if took := redistest.Took(func() { _ = c.Send(ctx, []Batch{c.batch(messages...)}) }); took > 2*time.Second {
			t.Errorf("a batch took %v", took)
		}
		all = true
		for i, o := range messages {
			if o.Accepted {
				accepted[channels[i]]++
			} else if o.Unknown {
				unknown[channels[i]]++
			}
			all = all && o.Accepted
		}
		return all
	}
	send := func() bool { return sendWithin(1500 * time.Millisecond) }
	for range 20 { // while all masters answer, a busy machine has longer to have all accepted
		if !sendWithin(10 * time.Second) {
			t.Fatal("not all are accepted")
		}
	}
	dead := cluster.Master(string(c.keys.Bucket("app", "a")))
	if err := dead.Client().Wait(t.Context(), 1, 5*time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	dead.Stop()
	redistest.Eventually(t, 20*time.Second, "all is accepted again", send)
	for range 20 {
		send()
	}
	for _, name := range channels {
		last, err := c.rdb.LRange(t.Context(), c.keys.Bucket("app", name).History(name), 0, -1).Result()
		if n := len(last); err != nil || n < accepted[name] || n > accepted[name]+unknown[name] {
			t.Errorf("%s: %d published, %d accepted, %d unknown, %v", name, n, accepted[name], unknown[name], err)
		}
	}
	epochs := map[string]bool{}
	for _, k := range c.rdb.LRange(t.Context(), c.keys.Bucket("app", "a").History("a"), 0, -1).Val() {
		r, err := envelope.ParseRemembered([]byte(k))
		if err != nil {
			t.Fatal(err)
		}
		epochs[r.Position.Epoch] = true
	}
	if len(epochs) != 2 {
		t.Errorf("%d epochs, want another one on the new master", len(epochs))
	}
}

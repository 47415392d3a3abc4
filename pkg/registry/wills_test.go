package registry

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

// Submit stands in for publish.Service.
func (n *node) Submit(m publish.Message, done publish.Completion) *protocol.Error {
	m.Data, m.FromMetadata = bytes.Clone(m.Data), bytes.Clone(m.FromMetadata)
	n.mu.Lock()
	var failed *protocol.Error
	if n.answers != nil {
		failed = n.answers(m)
	}
	if failed == nil {
		n.messages = append(n.messages, m)
	}
	n.mu.Unlock()
	go done.Published(publish.Result{Err: failed})
	return nil
}

func (n *node) askRevoked(g *auth.Grant, done func(bool, error)) {
	if n.revoked == nil {
		go done(false, nil)
		return
	}
	revoked, err := n.revoked(g)
	go done(revoked, err)
}

func (n *node) willDue(result string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.due[result]++
}

// published are the wills that were published since the last call, as text.
func (n *node) published() (all []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.messages {
		all = append(all, fmt.Sprintf("%s to %s: %s", m.From, m.Channel, m.Data))
	}
	n.messages = nil
	return all
}

// wantWills wants just these wills to have been published since the last call.
func (n *node) wantWills(what string, want ...string) {
	n.t.Helper()
	if got := n.published(); !reflect.DeepEqual(got, want) {
		n.t.Errorf("%s: published are %q, want %q", what, got, want)
	}
}

// will is the will with this data, on the peer's own channel.
func will(data string, delay time.Duration) *Will {
	return &Will{Channel: "devices/a", Data: []byte(data), Delay: delay, Key: "sk_app"}
}

// set sets the will of the connection that began last, nil: none, and waits until Redis has it.
func (n *node) set(w *Will) {
	n.t.Helper()
	n.mu.Lock()
	c := n.conns[n.last]
	n.mu.Unlock()
	outcomes := make(chan *protocol.Error, 1)
	if err := n.SetWill(SetWill{App: n.app, Peer: c.Peer, Connection: c.Connection, Will: w, Current: c.Will, Done: func(err *protocol.Error) { outcomes <- err }}); err != nil {
		n.t.Fatal(err)
	}
	select {
	case err := <-outcomes:
		if err != nil {
			n.t.Fatal(err)
		}
	case <-time.After(patience):
		n.t.Fatal("the will is not answered")
	}
}

// passWills has the wills of the peers be due, and what that brings done.
func (n *node) passWills(peers ...string) {
	n.t.Helper()
	for _, peer := range peers {
		b := keys.Bucket("app", peer)
		for _, kind := range []deadline.Kind{deadline.Grace, deadline.Will} {
			key := b.Due(string(kind))
			if n.opt.Redis.ZScore(n.t.Context(), key, peer).Err() != redis.Nil {
				n.opt.Redis.ZAdd(n.t.Context(), key, redis.Z{Score: 1, Member: peer})
			}
		}
		if err := n.wills(n.t.Context(), []deadline.Due{{App: "app", Bucket: b, IDs: []string{peer}}}); err != nil {
			n.t.Fatal(err)
		}
	}
}

// wantNoWills wants nothing of a will to be left in Redis.
func (n *node) wantNoWills(peer string) {
	n.t.Helper()
	b := keys.Bucket("app", peer)
	left := n.opt.Redis.HGetAll(n.t.Context(), b.Wills()).Val()
	due := n.opt.Redis.ZRange(n.t.Context(), b.Due(string(deadline.Will)), 0, -1).Val()
	if len(left) != 0 || len(due) != 0 {
		n.t.Errorf("of %s there is left %q, due %q", peer, left, due)
	}
}

// Every end but a clean close leaves the will.
func TestWillByEnd(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, ""))
		type end struct {
			code   int
			reason Reason
		}
		ends := []end{{1001, Closed}, {4321, Closed}, {1006, Lost}, {1006, NodeLost}}
		for code, reason := range byCode {
			ends = append(ends, end{int(code), reason})
		}
		for _, e := range ends {
			finish := n.connect("p", "")
			n.set(will("1", 0))
			finish(e.code, e.reason)
			n.settled()
			n.passWills("p")
			n.wantWills(fmt.Sprint(e), "p to devices/a: 1")
			n.wantNoWills("p")
			n.passWills("p")
			n.wantWills(fmt.Sprint("again ", e))
		}
		finish := n.connect("p", "")
		n.set(will("1", 0))
		finish(1000, Closed)
		n.settled()
		n.wantNoWills("p")
		n.passWills("p")
		n.wantWills("closed in order")
		if n.due["ok"] != len(ends) {
			t.Errorf("counted are %v, want %d ok", n.due, len(ends))
		}
	})
}

// A peer that is back in time was never gone, or is not gone any more.
func TestWillOfAPeerThatIsBack(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, ""))
		lost := func() {
			end := n.connect("p", "")
			n.set(will("1", time.Hour))
			end(1006, Lost)
			n.settled()
		}
		lost()
		second := n.connect("p", "")
		n.settled()
		n.passWills("p")
		n.wantWills("back within the grace")
		n.wantNoWills("p")
		second(1006, Lost)
		n.settled()
		n.passWills("p")
		n.wantWills("the second connection had none")

		lost()
		n.pass("p")
		if p, _ := see(t, rdb, n.app, "p"); p.Online {
			t.Fatal("it is to be offline")
		}
		n.wantWills("offline, and the delay is not over")
		n.connect("p", "")(1000, Closed)
		n.settled()
		n.passWills("p")
		n.wantWills("it was back between the grace and the delay")
		n.wantNoWills("p")

		// The next will waits where the former one did.
		lost()
		n.pass("p")
		end := n.connect("p", "")
		n.set(will("2", 0))
		end(4000, Inactive)
		n.settled()
		n.passWills("p")
		n.wantWills("the last counts", "p to devices/a: 2")
	})
}

// Deadlines: the will is due at the later of grace and delay after the end, and offline is
// said before it in any case.
func TestWhenWillsAreDue(t *testing.T) {
	redistest.Both(t, func(t *testing.T, rdb *redis.Client) {
		n := start(t, rdb, "aa", directory(t, `"graceMs":60000,`))
		for peer, tt := range map[string]struct {
			delay, want time.Duration
			code        int
		}{"grace": {time.Second, time.Minute, 1006}, "drained": {time.Minute + time.Second, 70 * time.Second, 1001}, "delay": {time.Hour, time.Hour, 1006}} {
			end := n.connect(peer, "")
			n.set(will("1", tt.delay))
			end(tt.code, Lost)
			n.settled()
			now := rdb.Time(t.Context()).Val()
			b := keys.Bucket("app", peer)
			due := time.UnixMilli(int64(rdb.ZScore(t.Context(), b.Due(string(deadline.Will)), peer).Val()))
			if left := due.Sub(now); left > tt.want || left < tt.want-10*time.Second {
				t.Errorf("%s is due in %v, want %v", peer, left, tt.want)
			}
			index := fmt.Sprint(deadline.Will, " ", b)
			if at := rdb.ZScore(t.Context(), keys.DueIndex(), index).Val(); at == 0 || time.UnixMilli(int64(at)).After(due) {
				t.Errorf("nobody looks for the will of %s in time", peer)
			}
		}
		// Its own deadline is over, that of the grace is not: it waits.
		b := keys.Bucket("app", "delay")
		rdb.ZAdd(t.Context(), b.Due(string(deadline.Will)), redis.Z{Score: 1, Member: "delay"})
		check(t, n.wills(t.Context(), []deadline.Due{{App: "app", Bucket: b, IDs: []string{"delay"}}}))
		n.wantWills("in its grace")
		events := watch(t, rdb)
		n.passWills("delay")
		if peer, e := next(t, events); peer != "delay" || e.Online {
			t.Errorf("%q %+v", peer, e)
		}
		n.wantWills("then", "delay to devices/a: 1")
	})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The will of the connection that ended last counts, and of those that a dead node had the
// last that has one.
func TestWillOfSeveralConnections(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		d := directory(t, "")
		one, two := start(t, rdb, "aa", d), start(t, rdb, "bb", d)
		a := one.connect("p", "")
		one.set(will(`"a"`, 0))
		b := two.connect("p", "")
		two.set(will(`"b"`, 0))
		b(1006, Lost)
		two.settled()
		one.passWills("p")
		one.wantWills("one is left")
		a(1006, Lost)
		one.settled()
		two.passWills("p")
		two.wantWills("the first ended last", `p to devices/a: "a"`)
		one.wantNoWills("p")

		one.connect("p", "")(1006, Lost)
		a = one.connect("p", "")
		one.set(will(`"a"`, 0))
		one.connect("p", "")
		one.settled()
		one.stop()
		for _, bucket := range rdb.SMembers(t.Context(), keys.LeaseBuckets("aa")).Val() {
			parsed, _, err := keys.ParseBucket(bucket)
			check(t, err)
			check(t, two.Reap(t.Context(), "aa", parsed))
		}
		two.passWills("p")
		two.wantWills("its node died", `p to devices/a: "a"`)
		one.wantNoWills("p")
		_ = a
	})
}

// A will is checked again when it is due.
func TestWillIsCheckedWhenDue(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		d := directory(t, "")
		n := start(t, rdb, "aa", d)
		issued := time.Unix(1_700_000_000, 0)
		n.revoked = func(g *auth.Grant) (bool, error) {
			if g.Peer != "p" || g.App != n.app {
				t.Errorf("asked about %+v", g)
			}
			return g.IssuedAt.Equal(issued), nil
		}
		for _, tt := range []struct {
			what, result string
			will         Will
		}{
			{"all is well", "ok", Will{Channel: "devices/a", Key: "sk_app"}},
			{"a publishable key", "ok", Will{Channel: "devices/a", Key: "pk_live_app", IssuedAt: issued}},
			{"a key that is gone", "unauthorized", Will{Channel: "devices/a", Key: "sk_gone"}},
			{"a token that was revoked", "unauthorized", Will{Channel: "devices/a", Key: "sk_app", IssuedAt: issued}},
		} {
			tt.will.Data = []byte("{\n}")
			tt.will.Metadata = []byte(`{"m":1}`)
			end := n.connect("p", "")
			n.set(&tt.will)
			end(1006, Lost)
			n.settled()
			n.passWills("p")
			if n.due[tt.result] != 1 {
				t.Errorf("%s: %v", tt.what, n.due)
			}
			clear(n.due)
			n.mu.Lock()
			messages := n.messages
			n.messages = nil
			n.mu.Unlock()
			if len(messages) == 0 != (tt.result != "ok") {
				t.Errorf("%s: %+v", tt.what, messages)
			}
			for _, m := range messages {
				if m.Grant.Key.ID != tt.will.Key || m.Channel != "devices/a" || m.From != "p" || string(m.Data) != "{\n}" || string(m.FromMetadata) != `{"m":1}` || m.Connection != 0 || m.TakeToken {
					t.Errorf("%s: %+v", tt.what, m)
				}
			}
			n.wantNoWills("p")
		}
	})
}

// A refusal ends a will; while Redis does not take the message it stays; what Redis may
// have taken is not published again.
func TestWillThatIsNotPublished(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, ""))
		lose := func() {
			end := n.connect("p", "")
			n.set(will("1", 0))
			end(1006, Lost)
			n.settled()
		}
		for _, refusal := range []*protocol.Error{
			protocol.Errorf(protocol.OverMessageQuota, "x"), protocol.Errorf(protocol.ChannelNotAuthorized, "x"), protocol.Unknownf("x"),
		} {
			lose()
			n.answers = func(publish.Message) *protocol.Error { return refusal }
			n.passWills("p")
			n.answers = nil
			n.passWills("p")
			n.wantWills(refusal.Error())
			n.wantNoWills("p")
		}
		lose()
		n.answers = func(publish.Message) *protocol.Error { return protocol.Errorf(protocol.BackendError, "x") }
		n.passWills("p")
		n.passWills("p")
		n.wantWills("redis does not take it")
		n.answers = nil
		n.revoked = func(*auth.Grant) (bool, error) { return false, errors.New("redis is away") }
		n.passWills("p")
		n.wantWills("redis does not say whether the token was revoked")
		n.revoked = nil
		n.passWills("p")
		n.wantWills("it does", "p to devices/a: 1")
		n.wantNoWills("p")

		// It is tried again in vain, and the peer is back.
		lose()
		n.answers = func(publish.Message) *protocol.Error { return protocol.Errorf(protocol.BackendError, "x") }
		n.passWills("p")
		n.connect("p", "")
		n.settled()
		n.answers = nil
		n.passWills("p")
		n.wantWills("it is back")
		n.wantNoWills("p")
	})
}

// A node that dies with a will in hand has published it, or not: no other does.
func TestWillOfANodeThatDiesWithIt(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		d := directory(t, "")
		dies, lives := start(t, rdb, "aa", d), start(t, rdb, "bb", d)
		end := dies.connect("p", "")
		dies.set(will("1", 0))
		end(1006, Lost)
		dies.settled()
		lives.pass("p")
		b := keys.Bucket("app", "p")
		rdb.ZAdd(t.Context(), b.Due(string(deadline.Will)), redis.Z{Score: 1, Member: "p"})
		take := dies.dueCall(deadline.Due{App: "app", Bucket: b}, "take", willTaken, []string{"p"})
		check(t, redisconn.Exec(t.Context(), rdb, []*redisconn.Call{take}))
		if taken, err := take.Reply.StringSlice(); err != nil || len(taken) != 2 || taken[0] != "p" {
			t.Fatalf("%q %v", taken, err)
		}
		check(t, lives.wills(t.Context(), []deadline.Due{{App: "app", Bucket: b, IDs: []string{"p"}}}))
		lives.wantWills("it is in hand")
		lives.passWills("p")
		lives.wantWills("it was in hand for long")
		lives.wantNoWills("p")
	})
}

// A will that is set while Redis is away counts once Redis is back, and its setter hears at
// once that this comes later.
func TestWillWhileRedisIsAway(t *testing.T) {
	server := redistest.Start(t)
	n := start(t, server.Client(), "aa", directory(t, ""))
	end := n.connect("p", "")
	n.settled()
	server.Stop()
	n.mu.Lock()
	c := n.conns[n.last]
	n.mu.Unlock()
	outcomes := make(chan *protocol.Error, 2)
	if err := n.SetWill(SetWill{App: n.app, Peer: "p", Connection: c.Connection, Will: will("1", 0), Current: c.Will, Done: func(err *protocol.Error) { outcomes <- err }}); err != nil {
		t.Fatal(err)
	}
	if err := <-outcomes; err == nil || err.Code != protocol.BackendError || err.Outcome != protocol.OutcomeUnknown {
		t.Errorf("told is %v", err)
	}
	server.Restart()
	n.settled()
	if len(outcomes) != 0 {
		t.Errorf("told again: %v", <-outcomes)
	}
	n.Identified("bb") // as Redis has lost the lease
	n.settled()
	end(1006, Lost)
	n.settled()
	n.passWills("p")
	n.wantWills("lost", "p to devices/a: 1")
}

// Redis comes back with the data of an earlier moment, at which two wills were not due yet. They
// were published after it: that of a peer that is gone is published again, that of a peer that
// is back is not.
func TestWillsInAnOldSnapshot(t *testing.T) {
	server := redistest.Start(t)
	rdb := server.Client()
	n := start(t, rdb, "aa", directory(t, ""))
	for _, peer := range []string{"gone", "back"} {
		end := n.connect(peer, "")
		n.set(will("1", 0))
		end(1006, Lost)
	}
	n.settled()
	check(t, rdb.Save(t.Context()).Err())
	n.passWills("gone", "back")
	n.wantWills("due", "gone to devices/a: 1", "back to devices/a: 1")
	n.connect("back", "")
	n.settled()
	server.Stop()
	server.Resume()
	n.Identified("bb") // as its link to Redis was lost
	n.settled()
	n.passWills("gone", "back")
	n.wantWills("due once more", "gone to devices/a: 1")
	n.wantNoWills("gone")
	n.wantNoWills("back")
}

// HOSTILE: wills that wait for Redis are bounded, and one beyond changes nothing.
func TestWillsThatWaitAreBounded(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	n := start(t, rdb, "", directory(t, "")) // without an identity nothing is sent
	n.connect("p", "")
	c := n.conns[n.last]
	n.maxWills = 50_000
	large := will(`"`+strings.Repeat("x", 4094)+`"`, 0)
	sets, last := 0, (*Will)(nil)
	for {
		w := *large
		err := n.SetWill(SetWill{App: n.app, Peer: "p", Connection: c.Connection, Will: &w, Current: c.Will})
		if err != nil {
			if err.Code != protocol.BackendError || err.Outcome == protocol.OutcomeUnknown {
				t.Errorf("refused with %v", err)
			}
			break
		}
		sets, last = sets+1, &w
	}
	if most := n.maxWills / 4096; sets > most || sets < most/2 {
		t.Errorf("%d wills of 4 KiB wait, want some %d", sets, most)
	}
	if c.Will.Load() != last {
		t.Error("the connection has not the will that was taken last")
	}
	n.Identified("aa")
	n.settled()
	if n.willBytes != 0 {
		t.Errorf("%d bytes count as waiting, want 0", n.willBytes)
	}
	n.set(will("1", 0))
}

// A node takes another identity, or Redis loses everything: wills are stated again with
// their connections.
func TestWillsAreStatedAgain(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, ""))
		end := n.connect("p", "")
		n.set(will("1", 0))
		cleared := n.connect("q", "")
		n.set(will("2", 0))
		n.set(nil)
		n.Identified("bb")
		n.settled()
		for b := range keys.Buckets("app") {
			check(t, n.Reap(t.Context(), "aa", b))
		}
		n.passWills("p", "q")
		n.wantWills("they are there")
		redistest.Empty(t, rdb)
		n.Identified("cc")
		n.settled()
		end(1006, Lost)
		cleared(1006, Lost)
		n.settled()
		n.passWills("p", "q")
		n.wantWills("lost", "p to devices/a: 1")
		n.wantNoWills("p")
		n.wantNoWills("q")
	})
}

// A node that paused for longer than its lease is reaped, and is back within the grace:
// its peers were not gone, and the will of a connection that then ends in order is not
// published.
func TestWillOfANodeThatPaused(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		d := directory(t, "")
		paused, other := start(t, rdb, "aa", d), start(t, rdb, "bb", d)
		stays := paused.connect("p", "")
		ended := paused.connect("p", "")
		paused.set(will("1", 0))
		paused.settled()
		b := keys.Bucket("app", "p")
		check(t, other.Reap(t.Context(), "aa", b))
		ended(1006, Lost)
		paused.Identified("cc")
		paused.settled()
		other.passWills("p")
		other.wantWills("it is back")
		stays(1000, Closed)
		paused.settled()
		other.passWills("p")
		other.wantWills("closed in order")
		other.wantNoWills("p")
	})
}

// A record stays until its will is due, also of a peer that is not to be remembered. A
// peer that is too many takes its will along.
func TestWillsOfForgottenPeers(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, `"rememberPeersSec":0,`))
		for _, peer := range []string{"p", "anon_1"} {
			end := n.connect(peer, "")
			n.set(will("1", time.Hour))
			end(1006, Lost)
			n.settled()
			n.pass(peer)
			b := keys.Bucket("app", peer)
			check(t, n.forget(t.Context(), []deadline.Due{{App: "app", Bucket: b, IDs: []string{"peers"}}}))
			if !rdb.HExists(t.Context(), b.Peers(), peer).Val() {
				t.Errorf("%s is forgotten before its will is due", peer)
			}
			if at := rdb.ZScore(t.Context(), b.Due(string(deadline.Forget)), "peers").Val(); time.Until(time.UnixMilli(int64(at))) < 30*time.Second {
				t.Errorf("nodes look for %s again at %v", peer, time.UnixMilli(int64(at)))
			}
			n.passWills(peer)
			n.wantWills("due", peer+" to devices/a: 1")
			n.wantNoWills(peer)
			if rdb.HExists(t.Context(), b.Peers(), peer).Val() || rdb.ZCard(t.Context(), b.PeerIndex()).Val() != 0 {
				t.Errorf("%s is remembered", peer)
			}
		}
		end := n.connect("many", "")
		n.set(will("1", time.Hour))
		end(1006, Lost)
		n.settled()
		n.pass("many")
		app := *n.app
		app.Peers.MaxRemembered = 0
		check(t, trim(t.Context(), rdb, keys, &app))
		n.wantNoWills("many")
		n.passWills("many")
		n.wantWills("it is forgotten")
	})
}

// Redis keeps a will byte for byte.
func TestWillsAreKeptWhole(t *testing.T) {
	for _, w := range []Will{
		{Channel: "devices/a", Data: []byte("{\n\"a\": \"\\n\"\n}"), Key: "sk_app"},
		{Channel: "devices/ a\u00a0é", Data: []byte(`"x"`), Delay: 24 * time.Hour, Key: "sk:_!~", IssuedAt: time.Unix(1_700_000_000, 0), Metadata: []byte(`{"a":"\n"}`)},
	} {
		got, err := parseWill(w.encode())
		if err != nil || !reflect.DeepEqual(*got, w) {
			t.Errorf("%+v %v, want %+v", got, err, w)
		}
	}
	for _, text := range []string{"", "1", "1 2 k\nc\nm", "x 2 k\nc\nm\n1", "1 x k\nc\nm\n1", "1 2\nc\nm\n1"} {
		if w, err := parseWill(text); err == nil {
			t.Errorf("%q is read as %+v", text, w)
		}
	}
}

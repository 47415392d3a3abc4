package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

type metadata map[string]any

// peerWith is a token of a peer with metadata for others to see.
func peerWith(key *keyDoc, peer string, m metadata) string {
	return key.token(peer, claims{"peerMetadata": m})
}

// Who is there on subscribe, and who comes and goes after that, with their
// metadata, over two nodes; only for those with the presence action. GET says the
// same (protocol §4.3, §5).
func TestPresence(t *testing.T) {
	key := newKey("presence", "**").only(everyAction...)
	foreign := newKey("presence_foreign", "**").only(everyAction...)
	docs := []*appDoc{newApp("app_presence", key), newApp("app_presence_foreign", foreign)}
	onEachRedis(t, docs, func(t *testing.T, s *system) {
		const c = "fleets/f1/commands"
		s.wantPeers(key, c, "")
		a := watch(s.first().connect(t, peerWith(key, "a", metadata{"k": 1})))
		a.acked(`"type":"subscribe","channel":"` + c + `"`)
		a.there[c] = map[string]string{"a": `{"k":1}`}
		a.expect(`{"type":"presence","channel":"fleets/f1/commands","joined":[{"peerId":"a","metadata":{"k":1}}],"left":[]}`)
		b := watch(s.last().connect(t, key.token("b", nil))).enter(c)
		if got := b.list(c); got != `a{"k":1} b` {
			t.Errorf("b sees %q", got)
		}
		a.expect(`{"type":"presence","channel":"fleets/f1/commands","joined":[{"peerId":"b"}],"left":[]}`)
		a.there[c]["b"] = ""

		// Listed, but not shown: without the action, and in another app.
		blind := s.last().connect(t, key.token("deaf", claims{"permissions": []string{"publish", "subscribe", "send"}})).subscribe(c, "fleets/**")
		watch(s.first().connect(t, foreign.token("foreign", nil))).enter(c)
		a.await(c, `a{"k":1} b deaf`)
		b.await(c, `a{"k":1} b deaf`)
		s.wantPeers(key, c, `a{"k":1} b deaf`)
		s.wantPeers(foreign, c, "foreign")

		// The same peer twice: it leaves with its last connection.
		again := watch(s.first().connect(t, key.token("b", nil))).enter(c)
		third := watch(s.last().connect(t, key.token("b", nil))).enter(c)
		b.unsubscribe(c)
		third.leave()
		z := watch(s.last().connect(t, key.token("z", nil))).enter(c)
		a.await(c, `a{"k":1} b deaf z`)
		if a.leaves != 0 {
			t.Errorf("somebody was shown to leave")
		}
		again.conn.Close() // no close frame: a killed process
		a.await(c, `a{"k":1} deaf z`)
		z.await(c, `a{"k":1} deaf z`)
		s.wantPeers(key, c, `a{"k":1} deaf z`)
		z.leave()
		a.await(c, `a{"k":1} deaf`)
		blind.unsubscribe(c)
		a.await(c, `a{"k":1}`)
		blind.alive()
		a.unsubscribe(c)
		b.subscribe("other")
		b.expect(`{"type":"presence","channel":"other","joined":[{"peerId":"b"}],"left":[]}`)
		a.alive()
		eventually(t, "the channel is empty", patience, func() bool { return s.first().peers(t, key, c) == "" })
	})
}

// Wildcard subscribers are not listed, get no snapshot, and changes of all
// channels that match, once (protocol §4.3).
func TestPresenceOfPatterns(t *testing.T) {
	key := newKey("wildpresence", "**").only(everyAction...)
	onEachRedis(t, []*appDoc{newApp("app_wildpresence", key)}, func(t *testing.T, s *system) {
		old := s.last().connect(t, key.token("old", claims{"permissions": []string{"subscribe"}})).subscribe("d/1")
		// What was announced so far is behind the node when this message has come.
		marker := s.first().connect(t, key.token("marker", claims{"permissions": []string{"subscribe"}})).subscribe("marker")
		s.last().publish(t, key, "marker", "1")
		marker.expectMessage("marker", "server", "1")
		wild := watch(s.first().connect(t, key.token("wild", nil)))
		wild.subscribe("d/*", "**")
		both := watch(s.first().connect(t, key.token("both", nil)))
		both.subscribe("d/*")
		both.enter("d/1")
		wild.expect(`{"type":"presence","channel":"d/1","joined":[{"peerId":"both"}],"left":[]}`)
		new := s.last().connect(t, key.token("new", claims{"permissions": []string{"subscribe"}}))
		new.subscribe("d/1")
		frame := `{"type":"presence","channel":"d/1","joined":[{"peerId":"new"}],"left":[]}`
		wild.expect(frame)
		both.expect(frame)
		new.subscribe("d/1/deep")
		wild.expect(`{"type":"presence","channel":"d/1/deep","joined":[{"peerId":"new"}],"left":[]}`)
		old.leave()
		frame = `{"type":"presence","channel":"d/1","joined":[],"left":[{"peerId":"old"}]}`
		wild.expect(frame)
		both.expect(frame)
		wild.unsubscribe("**")
		wild.unsubscribe("d/*")
		new.unsubscribe("d/1")
		both.expect(`{"type":"presence","channel":"d/1","joined":[],"left":[{"peerId":"new"}]}`)
		wild.alive()
		s.wantPeers(key, "d/1", "both")
	})
}

// A reconnect that overtakes the old connection's end shows nobody leaving.
func TestReconnectOvertakes(t *testing.T) {
	key := newKey("overtake", "**").only(everyAction...)
	onEachRedis(t, []*appDoc{newApp("app_overtake", key)}, func(t *testing.T, s *system) {
		see := []*crowd{watch(s.first().connect(t, key.token("first", nil))).enter("c"), watch(s.last().connect(t, key.token("second", nil))).enter("c")}
		camera := s.first().connect(t, key.token("camera", claims{"permissions": []string{"subscribe"}})).subscribe("c")
		for i := range 40 {
			next := []*node{s.last(), s.first()}[i%2].connect(t, key.token("camera", claims{"permissions": []string{"subscribe"}})).subscribe("c")
			camera.conn.Close()
			camera = next
		}
		s.first().connect(t, key.token("end", claims{"permissions": []string{"subscribe"}})).subscribe("c")
		for _, c := range see {
			c.await("c", "camera end first second")
			if c.leaves != 0 {
				t.Errorf("%s was shown %d leaves", c.welcome.PeerID, c.leaves)
			}
		}
	})
}

// A token without the action, by refresh, ends it at once; one with it begins it.
func TestRefreshAndPresence(t *testing.T) {
	key := newKey("refreshpresence", "**").only(everyAction...)
	onEachRedis(t, []*appDoc{newApp("app_refreshpresence", key)}, func(t *testing.T, s *system) {
		a := watch(s.first().connect(t, key.token("a", nil))).enter("c")
		refresh := func(c claims) {
			t.Helper()
			id := a.request(`"type":"refresh","token":` + quoted(key.token("a", c)))
			if got := a.next(); !strings.HasPrefix(got, `{"type":"ack","requestId":"`+id+`",`) {
				t.Fatalf("got %s", got)
			}
		}
		refresh(claims{"permissions": []string{"subscribe"}})
		other := watch(s.last().connect(t, key.token("b", nil))).enter("c")
		other.unsubscribe("c")
		other.enter("c")
		a.alive()
		id := a.request(`"type":"refresh","token":` + quoted(key.token("a", claims{"peerMetadata": metadata{"v": 2}})))
		snapshot := false
		for range 2 { // in any order
			switch got := a.next(); {
			case strings.HasPrefix(got, `{"type":"ack","requestId":"`+id+`",`):
			case strings.HasPrefix(got, `{"type":"presence",`):
				delete(a.there, "c")
				a.take(got)
				snapshot = true
			default:
				t.Fatalf("got %s", got)
			}
		}
		if !snapshot {
			t.Error("no snapshot")
		}
		a.await("c", `a{"v":2} b`)
		other.await("c", `a{"v":2} b`)
	})
}

// A node that stops takes its peers with it, at once.
func TestStopAndPresence(t *testing.T) {
	key := newKey("stoppresence", "**").only(everyAction...)
	s := startTwoNodes(t, newApp("app_stoppresence", key))
	stays := watch(s.first().connect(t, key.token("stays", nil))).enter("c")
	for i := range 20 {
		goes := s.last().connect(t, key.token(fmt.Sprintf("goes-%02d", i), claims{"permissions": []string{"subscribe"}})).subscribe("c")
		go func() {
			for {
				if _, err := goes.read(); err != nil {
					return
				}
			}
		}()
	}
	begin := time.Now()
	s.last().stop()
	stays.await("c", "stays")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A node that is killed leaves nobody behind for more than 10 s, and who is on
// another node too stays.
func TestKilledNode(t *testing.T) {
	key := newKey("killed", "**").only(everyAction...)
	redis := redistest.Start(t)
	doc := documentFile(t, newApp("app_killed", key))
	_, control := localdev(t, t.TempDir(), nil, "-apps", doc, "-redis", redis.URL())
	doomed, node := fanout(t, nil, "-redis", redis.URL(), "-apps", doc)
	stays := watch(control.connect(t, key.token("stays", nil))).enter("c")
	control.connect(t, key.token("both", claims{"permissions": []string{"subscribe"}})).subscribe("c")
	for _, peer := range []string{"both", "ghost-1", "ghost-2"} {
		node.connect(t, key.token(peer, claims{"permissions": []string{"subscribe"}})).subscribe("c", "d")
	}
	stays.await("c", "both ghost-1 ghost-2 stays")
	if got := control.peers(t, key, "d"); got != "both ghost-1 ghost-2" {
		t.Errorf("GET says %q", got)
	}
	killed := time.Now()
	_ = doomed.cmd.Process.Kill()
	for _, peer := range []string{"both", "ghost-1", "ghost-2"} { // back at once, elsewhere
		control.connect(t, key.token(peer, nil))
	}
	for stays.list("c") != "both stays" {
		frame, err := stays.readUntil(killed.Add(10 * time.Second))
		if err != nil {
			t.Fatalf("10 s after the kill %q are there: %v", stays.list("c"), err)
		}
		stays.take(frame)
	}
	eventually(t, "GET agrees", time.Until(killed.Add(10*time.Second)), func() bool {
		return control.peers(t, key, "c") == "both stays" && control.peers(t, key, "d") == ""
	})
	eventually(t, "no subscriber of the dead node is counted", time.Until(killed.Add(10*time.Second)), func() bool {
		return control.publish(t, key, "d", "1") == 0
	})
	var usage struct{ ConcurrentNow, PeakConcurrent int }
	eventually(t, "its places are given back", time.Until(killed.Add(10*time.Second)), func() bool {
		a, err := control.call("GET", "/v1/usage", key.credential(), "")
		return err == nil && json.Unmarshal([]byte(a.body), &usage) == nil && usage.ConcurrentNow == 5
	})
	if usage.PeakConcurrent > 5 {
		t.Errorf("the peak is %d: devices that came back count twice", usage.PeakConcurrent)
	}
	t.Logf("gone %v after the kill", time.Since(killed).Round(100*time.Millisecond))
}

// When Redis comes back empty, or goes on after it hung, nobody is shown to have
// left who is there, and who has left is.
func TestRedisGoesAwayAndPresence(t *testing.T) {
	for _, c := range []struct {
		name       string
		away, back func(*redistest.Server)
	}{
		{"crashed, and restarted empty", (*redistest.Server).Stop, (*redistest.Server).Restart},
		{"hung, and goes on", (*redistest.Server).Freeze, (*redistest.Server).Thaw},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := newKey("lostpresence", "**").only(everyAction...)
			s := startTwoNodes(t, newApp("app_lostpresence", key))
			a := watch(s.first().connect(t, peerWith(key, "a", metadata{"k": 1}))).enter("c")
			b := watch(s.last().connect(t, key.token("b", nil))).enter("c")
			gone := s.last().connect(t, key.token("gone", claims{"permissions": []string{"subscribe"}})).subscribe("c")
			a.await("c", `a{"k":1} b gone`)
			b.await("c", `a{"k":1} b gone`)

			c.away(s.redis)
			for _, n := range s.nodes {
				eventually(t, "/readyz is 503", patience, func() bool { status, _ := n.ready(); return status == 503 })
			}
			gone.leave()
			c.back(s.redis)
			for _, n := range s.nodes {
				n.awaitReady(patience)
			}
			s.first().connect(t, key.token("new", claims{"permissions": []string{"subscribe"}})).subscribe("c")
			for _, o := range []*crowd{a, b} {
				o.await("c", `a{"k":1} b new`)
				if o.leaves != 1 {
					t.Errorf("%s was shown %d leaves, want that of gone", o.welcome.PeerID, o.leaves)
				}
			}
			s.wantPeers(key, "c", `a{"k":1} b new`)
		})
	}
}

// 2,000 peers join one channel on two nodes: those who watch get a frame for each
// window, not for each peer, and know everybody in the end.
func TestPresenceOfAFleet(t *testing.T) {
	const fleet, watchers = 2000, 20
	key := newKey("crowd", "**").only(everyAction...)
	s := startTwoNodes(t, newApp("app_crowd", key))
	var see []*crowd
	for i := range watchers {
		see = append(see, watch(s.nodes[i%2].connect(t, key.token(fmt.Sprintf("watcher-%02d", i), nil))).enter("fleet"))
	}
	begin := time.Now()
	quiet := claims{"permissions": []string{"subscribe"}}
	counted := make(chan *crowd, watchers)
	for _, c := range see {
		go func() {
			defer func() { counted <- c }()
			for len(c.there["fleet"]) < fleet+watchers {
				frame, err := c.read()
				if err != nil {
					t.Errorf("%s knows %d peers; then %v", c.welcome.PeerID, len(c.there["fleet"]), err)
					return
				}
				c.take(frame)
			}
		}()
	}
	each(t, fleet, func(i int) error {
		d, err := s.nodes[i%2].tryEnter(t, "token="+key.token(fmt.Sprintf("camera-%04d", i), quiet))
		if err == nil {
			err = d.write(`{"type":"subscribe","requestId":"s","channel":"fleet"}`)
		}
		if err == nil {
			_, err = d.read()
		}
		return err
	})
	most := 0
	for range watchers {
		c := <-counted
		most = max(most, c.frames)
	}
	windows := int(time.Since(begin)/(100*time.Millisecond)) + 5 + watchers
	if most > windows {
		t.Errorf("%d frames for a watcher, want at most %d: one a window", most, windows)
	}
	t.Logf("%d peers joined within %v: at most %d frames for a watcher", fleet, time.Since(begin).Round(10*time.Millisecond), most)
	if n := strings.Count(s.last().peers(t, key, "fleet"), " ") + 1; n != fleet+watchers {
		t.Errorf("GET knows %d peers", n)
	}
}

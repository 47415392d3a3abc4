package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// willChannel is where a peer's will goes in these tests.
func willChannel(peer string) string { return "wills/" + peer }

// setWill sets a will on the peer's own channel. fields are more members of the frame.
func (s *socket) setWill(fields string) *socket {
	s.t.Helper()
	s.acked(`"type":"will","channel":` + quoted(willChannel(s.welcome.PeerID)) + `,"data":{"gone":` + quoted(s.welcome.PeerID) + `}` + fields)
	return s
}

// expectWill wants the peer's will to be the next frame.
func (s *socket) expectWill(peer string) {
	s.t.Helper()
	s.expect(will(peer))
}

func will(peer string) string {
	return message(willChannel(peer), peer, `{"gone":`+quoted(peer)+`}`)
}

// watchWills is a connection that hears all wills, and who goes offline.
func (n *node) watchWills(t testing.TB, key *keyDoc) *socket {
	t.Helper()
	return n.watchWill(t, key, "d-")
}

// watchWill is one that hears those of peers whose ids begin with d- and this.
func (n *node) watchWill(t testing.TB, key *keyDoc, peer string) *socket {
	t.Helper()
	return n.connect(t, key.token("watcher", claims{"channels": []string{"wills/**", connectivity + "**"}})).
		subscribe("wills/"+peer+"*", connectivity+"d-"+strings.TrimPrefix(peer, "d-")+"*")
}

func willsKey(name string) *keyDoc {
	return newKey(name, "**", connectivity+"**").only("publish", "subscribe", "presence")
}

// wentAs wants the next frame to say that the peer is offline.
func (s *socket) wentAs(peer, reason string, code int) {
	s.t.Helper()
	s.wentIn(s.next(), peer, reason, code)
}

func (s *socket) wentIn(frame, peer, reason string, code int) {
	s.t.Helper()
	if e := s.stateIn(frame, connectivity+peer); e.Online || e.Reason != reason || e.Code != code {
		s.t.Errorf("%s went: %+v, want %s %d", peer, e, reason, code)
	}
}

// leavesWill wants the watcher's next frames to say that the peer is offline, and to be its will.
// A cluster may deliver them in the other order, as they are of two channels (protocol §4.3).
func (s *system) leavesWill(watcher *socket, peer, reason string, code int) {
	s.t.Helper()
	frame := watcher.next()
	if s.onCluster() && frame == will(peer) {
		watcher.wentAs(peer, reason, code)
		return
	}
	watcher.wentIn(frame, peer, reason, code)
	watcher.expectWill(peer)
}

// cameOnline wants the next frame to say that the peer is online.
func (s *socket) cameOnline(peer string) {
	s.t.Helper()
	if e := s.state(connectivity + peer); !e.Online {
		s.t.Errorf("%s is to come online: %+v", peer, e)
	}
}

// marked has one more peer leave a will, which comes behind those that are due before: a
// will that is wrong would be seen.
func (s *system) marked(key *keyDoc, watcher *socket) {
	s.t.Helper()
	d := s.first().connect(s.t, key.token("d-mark", nil)).setWill("")
	watcher.cameOnline("d-mark")
	d.conn.Close()
	s.leavesWill(watcher, "d-mark", "lost", 1006)
}

// publishedWills is how many wills of a peer its channel remembers; -1: that is not known now.
func (n *node) publishedWills(t testing.TB, key *keyDoc, peer string) int {
	t.Helper()
	a, err := n.call("GET", "/v1/channels/"+escaped(willChannel(peer))+"/messages", key.credential(), "")
	var page struct {
		Messages []struct {
			From string
			Data json.RawMessage
		}
	}
	if err != nil || a.status != 200 || json.Unmarshal([]byte(a.body), &page) != nil {
		return -1
	}
	for _, m := range page.Messages {
		if m.From != peer || string(m.Data) != `{"gone":`+quoted(peer)+`}` {
			t.Errorf("the will of %s is %s from %s", peer, m.Data, m.From)
		}
	}
	return len(page.Messages)
}

// For each end what is said of the peer, and whether its will is published. The will comes
// behind that the peer is offline.
func TestWillByEnd(t *testing.T) {
	key := willsKey("ends")
	app := newApp("app_willends", key)
	app.GraceMs = 1
	app.Limits.FramesPerSec, app.Limits.FramesBurst = 1, 8
	closing := func(body []byte) func(*system, *socket) {
		return func(_ *system, d *socket) { _ = d.writeRaw(ws.NewCloseFrame(body)) }
	}
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		w := s.last().watchWills(t, key)
		for _, tt := range []struct {
			name   string
			end    func(s *system, d *socket)
			reason string
			code   int
			will   bool
		}{
			{"clean", closing(ws.NewCloseFrameBody(1000, "")), "closed", 1000, false},
			{"clean-reason", closing(ws.NewCloseFrameBody(1000, "bye")), "closed", 1000, false},
			{"no-code", closing(nil), "closed", 1000, false},
			{"own-code", closing(ws.NewCloseFrameBody(4321, "out of battery")), "closed", 4321, true},
			{"lost", func(_ *system, d *socket) { d.conn.Close() }, "lost", 1006, true},
			{"protocol", func(_ *system, d *socket) { _ = d.writeRaw(ws.Frame{Header: ws.Header{Fin: true, OpCode: 3}}) }, "protocol", 1002, true},
			{"not-utf8", func(_ *system, d *socket) { _ = d.writeRaw(ws.NewTextFrame([]byte("\xff"))) }, "protocol", 1007, true},
			{"too-big", func(_ *system, d *socket) { _ = d.writeRaw(ws.NewTextFrame(make([]byte, 64<<10+1))) }, "protocol", 1009, true},
			{"rate", func(_ *system, d *socket) { d.burst(`{"type":"ping"}`) }, "rate", 4011, true},
			{"slow", func(s *system, d *socket) {
				_ = d.conn.(*net.TCPConn).SetReadBuffer(64 << 10) // so that it is the node that has to hold things
				d.subscribe("large")
				large := quoted(strings.Repeat("x", 30<<10))
				eventually(t, "the device is closed", patience, func() bool { return s.first().publish(t, key, "large", large) == 0 })
			}, "slow", 1008, true},
			{"kicked", func(s *system, d *socket) {
				a, err := s.last().call("DELETE", "/v1/peers/"+d.welcome.PeerID, key.credential(), "")
				if err != nil || a.status != 200 {
					t.Errorf("kicked: %v %+v", err, a)
				}
			}, "kicked", 4020, true},
			{"revoked", func(s *system, d *socket) {
				a, err := s.last().call("DELETE", "/v1/peers/"+d.welcome.PeerID+"?revoke=true", key.credential(), "")
				if err != nil || a.status != 200 {
					t.Errorf("revoked: %v %+v", err, a)
				}
			}, "kicked", 4020, false},
		} {
			peer := "d-" + tt.name
			d := s.first().connect(t, key.token(peer, claims{"iat": time.Now().Unix()})).setWill("")
			w.cameOnline(peer)
			tt.end(s, d)
			if tt.will {
				s.leavesWill(w, peer, tt.reason, tt.code)
			} else {
				w.wentAs(peer, tt.reason, tt.code)
			}
		}
		s.marked(key, w)
		if n := s.first().willsDue(t, "ok") + s.last().willsDue(t, "ok"); n == 0 {
			t.Error("no node counts a will")
		}
	})
}

// willsDue is how many wills the node says that it has dealt with so.
func (n *node) willsDue(t testing.TB, result string) (count int) {
	t.Helper()
	for line := range strings.Lines(n.metrics(t)) {
		if value, ok := strings.CutPrefix(line, fmt.Sprintf(`fleetwire_wills_total{result=%q} `, result)); ok {
			_, _ = fmt.Sscan(value, &count)
		}
	}
	return count
}

// A token's end is no end of its will; a suspension of the app and the end of the key are.
func TestWillOfAnEndedCredential(t *testing.T) {
	key, gone := willsKey("stays"), willsKey("goes")
	narrow := willsKey("narrows")
	suspended := willsKey("suspended")
	app, other := newApp("app_willkeys", key, gone, narrow), newApp("app_willsuspended", suspended)
	app.GraceMs, other.GraceMs = 1, 1
	onEachRedis(t, []*appDoc{app, other}, func(t *testing.T, s *system) {
		defer s.apps.Replace(s.apps.Current())
		w := s.last().watchWills(t, key)
		expiry := s.last().watchWill(t, key, "x-expired")
		n := s.first()
		n.connect(t, key.token("x-expired", claims{"exp": float64(time.Now().Add(4*time.Second).UnixMicro()) / 1e6})).setWill("")

		n.connect(t, gone.token("d-key", nil)).setWill("")
		w.cameOnline("d-key")
		narrowed := n.connect(t, narrow.token("d-narrow", nil)).setWill("")
		w.cameOnline("d-narrow")
		refreshed := n.connect(t, gone.token("d-refreshed", nil)).setWill("")
		w.cameOnline("d-refreshed")
		refreshed.send(`{"type":"refresh","token":` + quoted(key.token("d-refreshed", nil)) + `,"requestId":"t"}`)
		if f := refreshed.next(); !strings.HasPrefix(f, `{"type":"ack","requestId":"t",`) {
			t.Fatal(f)
		}
		n.connect(t, suspended.token("d-suspended", nil)).setWill("")

		after := *app
		after.Keys = []*keyDoc{key, {ID: narrow.ID, Secret: narrow.Secret, Patterns: []string{"devices/**"}, Actions: narrow.Actions}}
		off := *other
		off.Suspended = true
		s.apps.Replace(directory(t, &after, &off))
		w.wentAs("d-key", "expired", 4002)
		// The connection stays, and so does its will, which the key does not cover when it is due.
		narrowed.alive()
		narrowed.conn.Close()
		w.wentAs("d-narrow", "lost", 1006)
		// The will went over to the other key with the refresh.
		refreshed.alive()
		refreshed.conn.Close()
		s.leavesWill(w, "d-refreshed", "lost", 1006)
		expiry.expectWill("x-expired")
		s.marked(key, w)
		for _, result := range []string{"unauthorized", "channel_not_authorized", "account_suspended"} {
			eventually(t, "a will is dropped as "+result, patience, func() bool { return s.first().willsDue(t, result)+s.last().willsDue(t, result) > 0 })
		}
	})
}

// Within its grace a peer was never gone: nothing is said, and no will is published.
func TestWillOfAPeerThatIsBackInItsGrace(t *testing.T) {
	t.Parallel()
	key := willsKey("grace")
	app := newApp("app_willgrace", key)
	app.GraceMs = longGraceMs
	s := startTwoNodes(t, app)
	w := s.last().watchWills(t, key)
	d := s.first().connect(t, key.token("d-back", nil)).setWill("")
	w.cameOnline("d-back")
	d.conn.Close()
	s.last().awaitPeer(t, key, "d-back", "is lost", func(p *knownPeer) bool { return p.LastDisconnect != nil })
	s.endGraces(app) // for its next connection
	d = s.last().connect(t, key.token("d-back", nil))
	s.last().awaitPeer(t, key, "d-back", "is back", func(p *knownPeer) bool { return p.Epoch == 2 })
	d.leave()
	w.wentAs("d-back", "closed", 1000)
	w.alive()
}

// Before its delay is over a peer is back in time. The will of the connection that ended
// last counts.
func TestWillOfAPeerThatIsBack(t *testing.T) {
	key := willsKey("back")
	soon := newApp("app_willback", key)
	soon.GraceMs = 1
	onEachRedis(t, []*appDoc{soon}, func(t *testing.T, s *system) {
		w := s.last().watchWills(t, key)
		n, m := s.first(), s.last()
		// Back between grace and delay, and lost then: the will of its last connection.
		d := n.connect(t, key.token("d-late", nil))
		d.acked(`"type":"will","channel":"wills/d-first","data":1,"delayMs":60000`)
		w.cameOnline("d-late")
		d.conn.Close()
		w.wentAs("d-late", "lost", 1006)
		d = m.connect(t, key.token("d-late", nil)).setWill("")
		w.cameOnline("d-late")
		d.conn.Close()
		s.leavesWill(w, "d-late", "lost", 1006)

		// Two at once: that which ended first leaves none, whatever began first.
		one := n.connect(t, key.token("d-two", nil)).setWill("")
		w.cameOnline("d-two")
		two := m.connect(t, key.token("d-two", nil))
		two.acked(`"type":"will","channel":"wills/d-second","data":2`)
		m.awaitPeer(t, key, "d-two", "has both", func(p *knownPeer) bool { return p.Epoch == 2 && len(p.Connections) == 2 })
		two.conn.Close()
		m.awaitPeer(t, key, "d-two", "has one", func(p *knownPeer) bool { return len(p.Connections) == 1 && p.LastDisconnect != nil })
		one.conn.Close()
		s.leavesWill(w, "d-two", "lost", 1006)

		// Taken back, and set anew.
		d = n.connect(t, key.token("d-none", nil)).setWill("")
		w.cameOnline("d-none")
		d.acked(`"type":"will","channel":null`)
		d.conn.Close()
		w.wentAs("d-none", "lost", 1006)
		d = n.connect(t, key.token("d-set", claims{"peerMetadata": map[string]any{"fw": 3}}))
		w.cameOnline("d-set")
		d.acked(`"type":"will","channel":"wills/d-other","data":1,"delayMs":86400000`)
		d.acked(`"type":"will","channel":null`)
		d.setWill("")
		curious := m.connect(t, key.token("curious", claims{"permissions": []string{"subscribe"}}))
		curious.subscribeWithMetadata("wills/d-*") // a wildcard is not listed as present
		d.conn.Close()
		s.leavesWill(w, "d-set", "lost", 1006)
		curious.expect(`{"type":"message","channel":"wills/d-set","from":"d-set","fromMetadata":{"fw":3},"data":{"gone":"d-set"}}`)
		s.marked(key, w)
	})
}

// A node checks a will when the peer sets it, as it checks a publish.
func TestWillIsRefused(t *testing.T) {
	key := newKey("refused", "devices/**").only("publish", "subscribe")
	mute := newKey("mute", "devices/**").only("subscribe")
	s := startEmbedded(t, newApp("app_willrefused", key, mute))
	d := s.first().connect(t, key.token("d", claims{"channels": []string{"devices/d/*"}}))
	for _, tt := range []struct{ fields, code string }{
		{`"channel":"_system/x","data":1`, "channel_reserved"},
		{`"channel":"_system/connectivity/d","data":1`, "channel_reserved"},
		{`"channel":"devices/*","data":1`, "invalid_channel"},
		{`"channel":"devices/../x","data":1`, "invalid_channel"},
		{`"channel":"","data":1`, "invalid_channel"},
		{`"data":1`, "invalid_channel"},
		{`"channel":"devices/e/x","data":1`, "channel_not_authorized"},
		{`"channel":"devices/d/x"`, "missing_data"},
		{`"channel":"devices/d/x","data":"` + strings.Repeat("x", 4095) + `"`, "malformed_message"},
		{`"channel":"devices/d/x","data":1,"delayMs":86400001`, "malformed_message"},
		{`"channel":"devices/d/x","data":1,"delayMs":"1"`, "malformed_message"},
		{`"channel":7,"data":1`, "malformed_message"},
	} {
		d.expectError(d.request(`"type":"will",`+tt.fields), tt.code)
	}
	d.acked(`"type":"will","channel":"devices/d/x","data":"` + strings.Repeat("x", 4094) + `","delayMs":86400000`)
	d.alive()
	silent := s.first().connect(t, mute.token("m", nil))
	silent.expectError(silent.request(`"type":"will","channel":"devices/m","data":1`), "action_not_permitted")
	silent.acked(`"type":"will","channel":null`)
	// A refresh to a token that does not cover the will takes it back, and says so.
	d.send(`{"type":"refresh","token":` + quoted(key.token("d", claims{"channels": []string{"devices/e/*"}})) + `,"requestId":"t"}`)
	d.expectError("", "channel_not_authorized", "the will on", "devices/d/x")
	if f := d.next(); !strings.HasPrefix(f, `{"type":"ack","requestId":"t",`) {
		t.Fatal(f)
	}
}

// A will counts as a message of its peer when it is due, and is dropped over the cap.
func TestWillCounts(t *testing.T) {
	key := willsKey("counts")
	app := newApp("app_willcounts", key)
	app.GraceMs, app.Plan.Messages = 1, 1
	s := startTwoNodes(t, app)
	w := s.last().watchWills(t, key)
	for _, peer := range []string{"d-first", "d-second"} {
		d := s.first().connect(t, key.token(peer, nil)).setWill("")
		w.cameOnline(peer)
		d.conn.Close()
		w.wentAs(peer, "lost", 1006)
		if peer == "d-first" {
			w.expectWill(peer)
		}
	}
	eventually(t, "the second is over the cap", patience, func() bool {
		return s.first().willsDue(t, "over_message_quota")+s.last().willsDue(t, "over_message_quota") == 1
	})
	w.alive()
	eventually(t, "the message is counted for the peer", patience, func() bool {
		a, err := s.first().call("GET", "/v1/usage/peers", key.credential(), "")
		return err == nil && strings.Contains(a.body, `{"peerId":"d-first","published":1,`)
	})
}

// A node is killed, another stops in order: each of their peers that does not come back
// leaves its will, which a third node publishes.
func TestWillWithoutTheNode(t *testing.T) {
	t.Parallel()
	key := willsKey("nodes")
	app := newApp("app_willnodes", key)
	app.GraceMs = 1
	s := startOneNode(t, app)
	stays := s.first()
	leaves := s.start(s.redis.URL(), options{drain: 1})
	dies, doomed := fanout(t, nil, "-apps", documentFile(t, app), "-redis", s.redis.URL())
	watch := func(peer string) *socket { return stays.watchWill(t, key, peer) }
	d, w, v := watch("d-doomed"), watch("d-drained"), watch("d-moves")
	doomed.connect(t, key.token("d-doomed", nil)).setWill("")
	d.cameOnline("d-doomed")
	leaves.connect(t, key.token("d-drained", nil)).setWill("")
	w.cameOnline("d-drained")
	leaves.connect(t, key.token("d-moves", nil)).setWill("")
	v.cameOnline("d-moves")
	if err := dies.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	leaves.stop()
	moved := stays.connect(t, key.token("d-moves", nil))
	d.wentAs("d-doomed", "node_lost", 1006)
	d.expectWill("d-doomed")
	w.wentAs("d-drained", "going_away", 1001)
	w.expectWill("d-drained")
	moved.alive()
	moved.leave()
	v.wentAs("d-moves", "closed", 1000)
	v.alive()
}

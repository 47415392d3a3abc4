package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// knownPeer is what the registry has of a peer.
type knownPeer struct {
	PeerID         string
	Online         bool
	Epoch          int
	ConnectedAt    int64
	LastSeenAt     int64
	Metadata       json.RawMessage
	LastDisconnect *struct {
		At     int64
		Code   int
		Reason string
	}
	Connections []struct {
		ID, Node, Protocol, Address, UserAgent string
		ConnectedAt                            int64
		Subscriptions                          []string
	}
}

// peer asks for one peer; nil: the registry does not know it.
func (n *node) peer(t testing.TB, key *keyDoc, id string) *knownPeer {
	t.Helper()
	a, err := n.call("GET", "/v1/peers/"+escaped(id), key.credential(), "")
	if err != nil {
		t.Fatal(err)
	}
	if a.status == http.StatusNotFound {
		a.wantError(t, 404, "peer_not_found", id)
		return nil
	}
	p := new(knownPeer)
	if err := json.Unmarshal([]byte(a.body), p); err != nil || a.status != 200 {
		t.Fatalf("the peer %s: %d %s", id, a.status, a.body)
	}
	return p
}

// awaitPeer waits until the registry has what is wanted of a peer.
func (n *node) awaitPeer(t testing.TB, key *keyDoc, id, what string, wanted func(p *knownPeer) bool) (p *knownPeer) {
	t.Helper()
	eventually(t, id+" "+what, patience, func() bool {
		p = n.peer(t, key, id)
		return p != nil && wanted(p)
	})
	return p
}

// listed are the ids of all peers that a query finds, page by page.
func (n *node) listed(t testing.TB, key *keyDoc, query string) (ids []string) {
	t.Helper()
	cursor := ""
	for {
		a, err := n.call("GET", "/v1/peers?"+query+"&cursor="+cursor, key.credential(), "")
		if err != nil {
			t.Fatal(err)
		}
		var page struct {
			Peers  []knownPeer
			Cursor *string
		}
		if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != 200 {
			t.Fatalf("peers?%s: %d %s", query, a.status, a.body)
		}
		for _, p := range page.Peers {
			ids = append(ids, p.PeerID)
		}
		if page.Cursor == nil {
			return ids
		}
		cursor = *page.Cursor
	}
}

func online(p *knownPeer) bool  { return p.Online }
func offline(p *knownPeer) bool { return !p.Online }

// Peers come, go and come back, over all nodes. Each epoch, end and subscription is
// told.
func TestRegistry(t *testing.T) {
	key := newKey("registry", "devices/**", "secret/**")
	narrow := newKey("narrow", "devices/**").only("presence")
	watcher := newKey("watcher", "_system/connectivity/**").only("presence")
	app := newApp("app_registry", key, narrow, watcher)
	app.GraceMs = 50
	other := newKey("other", "**").only("presence")
	onEachRedis(t, []*appDoc{app, newApp("app_other", other)}, func(t *testing.T, s *system) {
		asked := s.last()
		if p := asked.peer(t, narrow, "cam/1*"); p != nil {
			t.Errorf("before it was there: %+v", p)
		}
		d, err := s.first().dial(t, "token="+key.token("cam/1*", claims{"peerMetadata": map[string]any{"firmware": "v3"}}), http.Header{"User-Agent": {"camera/1 é" + strings.Repeat("x", 300)}})
		if err != nil {
			t.Fatal(err)
		}
		d.next()
		d.subscribe("devices/cam", "secret/a", "devices/*")
		connected := func(p *knownPeer) bool { return p.Online && len(p.Connections) == 1 } // a busy node may tell late of its connections
		p := asked.awaitPeer(t, narrow, "cam/1*", "is online with its connection", connected)
		if p.Epoch != 1 || string(p.Metadata) != `{"firmware":"v3"}` || p.LastDisconnect != nil || p.LastSeenAt < p.ConnectedAt {
			t.Fatalf("online: %+v", p)
		}
		if c := p.Connections[0]; c.Node+c.Address+c.UserAgent != "" || c.Protocol != "websocket" || c.ConnectedAt == 0 || !slices.Equal(c.Subscriptions, []string{"devices/*", "devices/cam"}) {
			t.Errorf("to a narrow key: %+v", c)
		}
		if c := asked.awaitPeer(t, watcher, "cam/1*", "has its connection", connected).Connections[0]; c.Node == "" || c.Address != "127.0.0.1" || !strings.HasPrefix(c.UserAgent, "camera/1 ") || len(c.UserAgent) > 256 || len(c.Subscriptions) != 0 {
			t.Errorf("to a key that watches connectivity: %+v", c)
		}
		if p := asked.peer(t, other, "cam/1*"); p != nil {
			t.Errorf("to another app: %+v", p)
		}

		second := s.last().connect(t, key.token("cam/1*", nil))
		p = asked.awaitPeer(t, narrow, "cam/1*", "has two connections", func(p *knownPeer) bool { return len(p.Connections) == 2 && p.Epoch == 2 })
		if p.Metadata != nil {
			t.Errorf("metadata of the newest connection: %+v", p)
		}
		d.leave()
		p = asked.awaitPeer(t, narrow, "cam/1*", "has one connection", func(p *knownPeer) bool { return len(p.Connections) == 1 && p.LastDisconnect != nil })
		if !p.Online || p.LastDisconnect.Code != 1000 || p.LastDisconnect.Reason != "closed" {
			t.Errorf("with one left: %+v", p)
		}
		second.conn.Close()
		p = asked.awaitPeer(t, narrow, "cam/1*", "is offline", offline)
		if p.Epoch != 2 || p.LastDisconnect.Code != 1006 || p.LastDisconnect.Reason != "lost" || p.LastSeenAt != p.LastDisconnect.At || len(p.Connections) != 0 {
			t.Errorf("offline: %+v", p)
		}

		third := s.first().connect(t, key.token("cam/1*", nil))
		asked.awaitPeer(t, narrow, "cam/1*", "is back", func(p *knownPeer) bool { return p.Online && p.Epoch == 3 })
		if a, err := s.last().call("DELETE", "/v1/peers/cam%2F1%2A", key.credential(), ""); err != nil || a.status != 200 {
			t.Fatalf("%v %v", a, err)
		}
		third.expectClose(4020)
		p = asked.awaitPeer(t, narrow, "cam/1*", "was kicked", offline)
		if p.LastDisconnect.Code != 4020 || p.LastDisconnect.Reason != "kicked" {
			t.Errorf("kicked: %+v", p)
		}
	})
}

// A refresh with other metadata shows it, under the same epoch.
func TestRegistryAfterARefresh(t *testing.T) {
	key := newKey("refreshed", "devices/**").only("presence")
	onEachRedis(t, []*appDoc{newApp("app_refreshed", key)}, func(t *testing.T, s *system) {
		d := s.first().connect(t, key.token("p", nil))
		s.last().awaitPeer(t, key, "p", "is online", online)
		d.send(`{"type":"refresh","requestId":"r","token":"` + key.token("p", claims{"peerMetadata": map[string]any{"a": 1}}) + `"}`)
		d.next()
		p := s.last().awaitPeer(t, key, "p", "has metadata", func(p *knownPeer) bool { return string(p.Metadata) == `{"a":1}` })
		if p.Epoch != 1 {
			t.Errorf("%+v", p)
		}
	})
}

// How a connection ended is told as it was.
func TestEndsInTheRegistry(t *testing.T) {
	key := newKey("ends", "devices/**").only("publish", "presence")
	app := newApp("app_ends", key)
	app.GraceMs = 1
	app.Limits.FramesPerSec, app.Limits.FramesBurst = 1, 1
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		ends := map[string]struct {
			code   int
			reason string
			end    func(d *socket)
		}{
			"closed":   {1000, "closed", func(d *socket) { d.leave() }},
			"own-code": {4321, "closed", func(d *socket) { _ = d.writeRaw(ws.NewCloseFrame(ws.NewCloseFrameBody(4321, ""))) }},
			"no-code":  {1000, "closed", func(d *socket) { _ = d.writeRaw(ws.NewCloseFrame(nil)) }},
			"lost":     {1006, "lost", func(d *socket) { d.conn.Close() }},
			"protocol": {1002, "protocol", func(d *socket) { _ = d.writeRaw(ws.Frame{Header: ws.Header{Fin: true, OpCode: 3}}) }},
			"rate":     {4011, "rate", func(d *socket) { d.burst(`{"type":"ping"}`) }},
		}
		for id, tt := range ends {
			d := s.first().connect(t, key.token(id, nil))
			s.last().awaitPeer(t, key, id, "is online", online)
			tt.end(d)
			p := s.last().awaitPeer(t, key, id, "is offline", offline)
			if p.LastDisconnect.Code != tt.code || p.LastDisconnect.Reason != tt.reason {
				t.Errorf("%s: %+v", id, p.LastDisconnect)
			}
		}
		if got := s.last().listed(t, key, "online=false&prefix=o"); !slices.Equal(got, []string{"own-code"}) {
			t.Errorf("offline: %q", got)
		}
	})
}

// A new apps document without a key, or with its app suspended, ends connections. Their peers go
// offline with the reason: revoked, or suspended.
func TestEndsByAppsDocument(t *testing.T) {
	key := newKey("ended", "devices/**").only("presence")
	watcher := newKey("watcher", connectivity+"**").only("subscribe", "presence")
	public := &keyDoc{ID: "pk_live_ended", Patterns: []string{"public/**"}, Actions: []string{"subscribe"}}
	app := newApp("app_ended", key, watcher, public)
	app.GraceMs = 1
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		before := s.apps.Current()
		defer s.apps.Replace(before)
		w := s.last().connect(t, watcher.token("w", nil)).subscribe(connectivity + "anon_*")
		visitor := s.first().enter(t, "key="+public.ID)
		w.cameOnline(visitor.welcome.PeerID)
		p := s.first().connect(t, key.token("p", nil))
		s.last().awaitPeer(t, key, "p", "is online", online)

		without := *app
		without.Keys = []*keyDoc{key, watcher}
		s.apps.Replace(directory(t, &without))
		w.wentAs(visitor.welcome.PeerID, "revoked", 4001)

		suspended := *app
		suspended.Suspended = true
		s.apps.Replace(directory(t, &suspended))
		for _, d := range []*socket{w, p} { // each node has seen the document
			d.expectClose(4012)
		}
		s.apps.Replace(before)
		known := s.last().awaitPeer(t, key, "p", "is offline", offline)
		if known.LastDisconnect.Code != 4012 || known.LastDisconnect.Reason != "suspended" {
			t.Errorf("its end: %+v", known.LastDisconnect)
		}
	})
}

// Pages have all peers, once, and filters those that are wanted. Peers of publishable
// keys are there while they are online.
func TestRegistryPages(t *testing.T) {
	key := newKey("pages", "devices/**").only("presence")
	public := &keyDoc{ID: "pk_live_pages", Patterns: []string{"public/**"}, Actions: []string{"subscribe"}}
	app := newApp("app_pages", key, public)
	app.GraceMs = 1
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		const fleet = 60
		var want []string
		for i := range fleet {
			id := fmt.Sprintf("device-%02d", i)
			want = append(want, id)
			d := s.nodes[i%len(s.nodes)].connect(t, key.token(id, nil))
			if i%2 == 0 {
				d.leave()
			}
		}
		visitor := s.first().enter(t, "key="+public.ID)
		// Each node writes of its own connections when it can: the last ones may be there first.
		eventually(t, "half of them are offline, all others online", patience, func() bool {
			return len(s.last().listed(t, key, "online=false")) == fleet/2 && len(s.last().listed(t, key, "online=true")) == fleet/2+1
		})
		for _, limit := range []int{1, 7, 500} {
			if got := s.last().listed(t, key, fmt.Sprintf("prefix=device-&limit=%d", limit)); !slices.Equal(got, want) {
				t.Errorf("by %d: %q", limit, got)
			}
		}
		if got := s.last().listed(t, key, "online=true&limit=20"); len(got) != fleet/2+1 || got[0] != visitor.welcome.PeerID {
			t.Errorf("online: %q", got)
		}
		if got := s.last().listed(t, key, "seenBefore=1767222000123"); len(got) != 0 {
			t.Errorf("seen before: %q", got)
		}
		visitor.leave()
		eventually(t, "the visitor is forgotten", patience, func() bool { return s.last().peer(t, key, visitor.welcome.PeerID) == nil })
	})
}

// Redis loses everything: those that are online are known again, under the epochs that
// they had.
func TestRegistryAfterRedisLostItsData(t *testing.T) {
	key := newKey("loses", "devices/**").only("presence")
	s := startTwoNodes(t, newApp("app_loses", key))
	s.first().connect(t, key.token("p", nil)).leave()
	s.last().awaitPeer(t, key, "p", "has come", func(p *knownPeer) bool { return p.LastDisconnect != nil })
	s.first().connect(t, key.token("p", nil))
	s.last().connect(t, key.token("q", nil))
	s.last().awaitPeer(t, key, "p", "is back", func(p *knownPeer) bool { return p.Epoch == 2 })
	s.last().awaitPeer(t, key, "q", "is online", online)
	s.redis.Restart()
	for id, epoch := range map[string]int{"p": 2, "q": 1} {
		eventually(t, id+" is known again", patience, func() bool {
			a, err := s.first().call("GET", "/v1/peers/"+id, key.credential(), "")
			return err == nil && a.status == 200 && strings.Contains(a.body, fmt.Sprintf(`"online":true,"epoch":%d,`, epoch))
		})
	}
}

// A node stops in order, and another is killed: their peers go offline, each for its
// reason.
func TestRegistryWithoutTheNode(t *testing.T) {
	key := newKey("nodes", "devices/**").only("presence")
	app := newApp("app_nodes", key)
	app.GraceMs = 1
	s := startOneNode(t, app)
	leaves := s.start(s.redis.URL(), options{drain: 1})
	dies, doomed := fanout(t, nil, "-apps", documentFile(t, app), "-redis", s.redis.URL())
	doomed.connect(t, key.token("lost", nil))
	leaves.connect(t, key.token("drained", nil))
	asked := s.first()
	asked.awaitPeer(t, key, "lost", "is online", online)
	asked.awaitPeer(t, key, "drained", "is online", online)
	if err := dies.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	leaves.stop()
	p := asked.awaitPeer(t, key, "lost", "is offline", offline)
	if p.LastDisconnect.Code != 1006 || p.LastDisconnect.Reason != "node_lost" {
		t.Errorf("its node died: %+v", p.LastDisconnect)
	}
	p = asked.awaitPeer(t, key, "drained", "is gone", func(p *knownPeer) bool { return p.LastDisconnect != nil })
	if p.LastDisconnect.Code != 1001 || p.LastDisconnect.Reason != "going_away" {
		t.Errorf("its node stopped: %+v", p.LastDisconnect)
	}
}

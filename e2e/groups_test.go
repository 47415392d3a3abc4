package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// pulled is a message that an ingester got.
type pulled struct {
	AckID, Channel, From string
	Data                 json.RawMessage
	Attempt              int
}

// pull has the node deliver messages that wait for a group, and waits for some.
func (n *node) pull(t testing.TB, key *keyDoc, group string) []pulled {
	t.Helper()
	a, err := n.call("POST", "/v1/groups/"+group+"/pull", key.credential(), `{"waitMs":20000}`)
	var got struct{ Messages []pulled }
	if err != nil || a.status != 200 || json.Unmarshal([]byte(a.body), &got) != nil {
		t.Fatalf("pull: %d %s (%v)", a.status, a.body, err)
	}
	return got.Messages
}

// ackAll acknowledges messages, and says how many leases were held.
func (n *node) ackAll(t testing.TB, key *keyDoc, group string, messages []pulled) int {
	t.Helper()
	var ids []string
	for _, m := range messages {
		ids = append(ids, m.AckID)
	}
	body, _ := json.Marshal(map[string]any{"ackIds": ids})
	a, err := n.call("POST", "/v1/groups/"+group+"/ack", key.credential(), string(body))
	if err != nil || a.status != 200 {
		t.Fatalf("ack: %d %s (%v)", a.status, a.body, err)
	}
	return strings.Count(a.body, `"result":"ok"`)
}

// Messages from sockets and from REST, on any node, wait until an ingester acknowledges them, and
// a group that is full refuses them visibly on both.
func TestGroups(t *testing.T) {
	key, other := newKey("ingest", "**"), newKey("other", "**")
	app, foreign := newApp("app_groups", key), newApp("app_foreign", other)
	app.Groups = []groupDoc{{Name: "ingest", Patterns: []string{"devices/*/events"}, MaxBytes: 1 << 20}}
	foreign.Groups = app.Groups
	onEachRedis(t, []*appDoc{app, foreign}, func(t *testing.T, s *system) {
		waits := make(chan []pulled, 1)
		go func() { waits <- s.last().pull(t, key, "ingest") }()
		device := s.first().connect(t, key.token("cam", nil))
		watcher := s.last().connect(t, key.token("watcher", nil)).subscribe("devices/1/events")
		device.publish("devices/1/events", `1`)
		watcher.expectMessage("devices/1/events", "cam", `1`)
		got := <-waits
		if len(got) != 1 || got[0].Channel != "devices/1/events" || got[0].From != "cam" || string(got[0].Data) != "1" || got[0].Attempt != 1 {
			t.Fatalf("got %+v", got)
		}
		// Another app's group of the same name has nothing, and its key cannot acknowledge.
		if n := s.first().ackAll(t, other, "ingest", got); n != 0 {
			t.Errorf("another app acknowledged %d", n)
		}
		if n := s.first().ackAll(t, key, "ingest", got); n != 1 {
			t.Errorf("acknowledged %d", n)
		}
		s.first().publish(t, key, "devices/1/events", `2`)
		watcher.expectMessage("devices/1/events", "server", `2`)
		got = s.first().pull(t, key, "ingest")
		if len(got) != 1 || string(got[0].Data) != "2" || s.last().ackAll(t, key, "ingest", got) != 1 {
			t.Errorf("got %+v", got)
		}
		big := `"` + strings.Repeat("x", 30000) + `"`
		for i := range 34 {
			device.publish(fmt.Sprintf("devices/%d/events", i+2), big)
		}
		device.expectError(device.request(`"type":"publish","channel":"devices/1/events","data":`+big), "group_full", "ingest")
		a, err := s.last().call("POST", "/v1/channels/devices%2F1%2Fevents/publish", key.credential(), `{"data":`+big+`}`)
		if err != nil {
			t.Fatal(err)
		}
		a.wantError(t, 429, "group_full", "ingest")
		device.publish("devices/1/state", big) // which waits for nobody
		device.publish("devices/1/events", `3`)
		watcher.expectMessage("devices/1/events", "cam", `3`) // and nothing before it
	})
}

// ingest has a connection take part in a group.
func (s *socket) ingest(group string, maxInFlight int) *socket {
	s.t.Helper()
	s.acked(fmt.Sprintf(`"type":"subscribe","group":%q,"maxInFlight":%d`, group, maxInFlight))
	return s
}

// delivery is the next message that waited for a group: the next frame, unless it came early.
func (s *socket) delivery() (m pulled) {
	s.t.Helper()
	if len(s.early) > 0 {
		m, s.early = s.early[0], s.early[1:]
		return m
	}
	text := s.next()
	if err := json.Unmarshal([]byte(text), &m); err != nil || m.AckID == "" {
		s.t.Fatalf("%s: got %s, want a message with an ackId", s.welcome.PeerID, text)
	}
	return m
}

// acks acknowledges messages over the connection, and says which leases were lost. The messages
// that this makes room for may come before its ack.
func (s *socket) acks(messages ...pulled) (lost []string) {
	s.t.Helper()
	ids := make([]string, len(messages))
	for i, m := range messages {
		ids[i] = m.AckID
	}
	named, _ := json.Marshal(ids)
	id := s.request(`"type":"group_ack","ackIds":` + string(named))
	var ack struct {
		Type, RequestID string
		LeaseLost       []string
	}
	text := s.next()
	for m := (pulled{}); json.Unmarshal([]byte(text), &m) == nil && m.AckID != ""; m = (pulled{}) {
		s.early = append(s.early, m)
		text = s.next()
	}
	if json.Unmarshal([]byte(text), &ack) != nil || ack.Type != "ack" || ack.RequestID != id {
		s.t.Fatalf("%s: the answer to group_ack is %s", s.welcome.PeerID, text)
	}
	return ack.LeaseLost
}

// A connection is sent what waits for a group, on any node, as much as it may hold; what it has
// not acknowledged when it ends comes to others at once.
func TestGroupsOnSockets(t *testing.T) {
	key := newKey("ingest", "**")
	app := newApp("app_groups", key)
	app.Groups = []groupDoc{{Name: "ingest", Patterns: []string{"devices/*/events"}, MaxBytes: 1 << 20}}
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		device := s.first().connect(t, key.token("cam", claims{"peerMetadata": map[string]any{"name": "Hall"}}))
		device.publish("devices/1/events", `1`)
		one := s.last().connect(t, key.token("one", nil)).ingest("ingest", 2)
		first := one.delivery()
		if first.Channel != "devices/1/events" || first.From != "cam" || string(first.Data) != "1" || first.Attempt != 1 {
			t.Errorf("got %+v", first)
		}
		device.publish("devices/1/events", `2`)
		second := one.delivery()
		device.publish("devices/1/events", `3`)
		one.alive() // it holds two, and may hold no more
		if lost := one.acks(first); lost != nil {
			t.Errorf("lost %q", lost)
		}
		third := one.delivery()
		if string(second.Data) != "2" || string(third.Data) != "3" {
			t.Errorf("got %+v and %+v, want them in order", second, third)
		}
		if lost := one.acks(first, second); len(lost) != 1 || lost[0] != first.AckID {
			t.Errorf("lost %q, want that of the one that was acknowledged", lost)
		}
		two := s.first().connect(t, key.token("two", nil)).ingest("ingest", 100)
		two.alive() // the channel's messages are the other's
		one.leave()
		again := two.delivery()
		if string(again.Data) != "3" || again.Attempt != 2 || again.AckID == third.AckID {
			t.Errorf("got %+v, want what the connection had that ended", again)
		}
		if lost := two.acks(third); len(lost) != 1 {
			t.Errorf("lost %q, want the lease of the connection that ended", lost)
		}
		two.acked(`"type":"unsubscribe","group":"ingest"`)
		device.publish("devices/1/events", `4`)
		two.alive()
		if lost := two.acks(again); lost != nil {
			t.Errorf("lost %q after unsubscribing", lost)
		}
		if got := s.first().pull(t, key, "ingest"); len(got) != 1 || string(got[0].Data) != "4" || s.last().ackAll(t, key, "ingest", got) != 1 {
			t.Errorf("got %+v", got)
		}
		two.expectError(two.request(`"type":"subscribe","group":"other"`), "group_not_found", "other")
	})
}

// Ingesters drain a Redis that is out of memory: those that are connected, and those that pull.
func TestGroupsDrainAFullRedis(t *testing.T) {
	key := newKey("ingest", "**")
	app := newApp("app_groups", key)
	app.Groups = []groupDoc{{Name: "ingest", Patterns: []string{"devices/*/events"}, MaxBytes: 1 << 20}}
	redis := redistest.Start(t)
	_, node := fanout(t, nil, "-apps", documentFile(t, app), "-redis", redis.URL(), "-control-plane")
	device := node.connect(t, key.token("cam", nil))
	for i := range 3 {
		device.publish("devices/1/events", fmt.Sprint(i))
	}
	one := node.connect(t, key.token("one", nil)).ingest("ingest", 1)
	m := one.delivery()
	if err := redis.Client().ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if string(m.Data) != fmt.Sprint(i) {
			t.Fatalf("got %+v, want message %d", m, i)
		}
		if lost := one.acks(m); len(lost) > 0 {
			t.Errorf("lost %q", lost)
		}
		if i == 0 {
			m = one.delivery()
		}
	}
	// An ingester that begins now cannot connect, and pulls.
	m = one.delivery()
	one.conn.Close()
	got := node.pull(t, key, "ingest")
	if len(got) != 1 || string(got[0].Data) != "2" || node.ackAll(t, key, "ingest", got) != 1 {
		t.Errorf("got %+v after %+v", got, m)
	}
}

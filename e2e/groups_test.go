package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
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
	app.Groups = []groupDoc{{"ingest", []string{"devices/*/events"}, 1 << 20}}
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

package e2e

import (
	"strings"
	"testing"
)

// The connection that published does not get its own message; the same peer's
// other connections do (protocol §4.3), on any node.
func TestPublisherIsSkipped(t *testing.T) {
	key := newKey("skipped", "**")
	onEachRedis(t, []*appDoc{newApp("app_skipped", key)}, func(t *testing.T, s *system) {
		token := key.token("camera", nil)
		publisher := s.first().connect(t, token).subscribe("a", "*")
		second := s.first().connect(t, token).subscribe("a")
		third := s.last().connect(t, token).subscribe("*")

		publisher.publish("a", "1")
		s.first().publish(t, key, "a", `"marker"`)
		second.expectMessage("a", "camera", "1")
		third.expectMessage("a", "camera", "1")
		for _, d := range []*socket{publisher, second, third} {
			d.expectMessage("a", "server", `"marker"`)
		}
	})
}

// However many of a connection's subscriptions match a message, it comes once,
// and with the sender's metadata if any of them asked for it.
func TestOverlappingSubscriptionsDeliverOnce(t *testing.T) {
	key := newKey("overlap", "**")
	onEachRedis(t, []*appDoc{newApp("app_overlap", key)}, func(t *testing.T, s *system) {
		ear := s.last().connect(t, key.token("ear", nil))
		ear.subscribe("devices/1/events", "devices/*/events", "devices/**", "**", "*/1/*", "devices/1/**")
		other := s.last().connect(t, key.token("other", nil)).subscribe("devices/**", "**")
		source := s.first().connect(t, key.token("camera", claims{"peerMetadata": map[string]any{"model": "x"}}))

		const plain = `{"type":"message","channel":"devices/1/events","from":"camera","data":1}`
		const full = `{"type":"message","channel":"devices/1/events","from":"camera","fromMetadata":{"model":"x"},"data":1}`
		source.publish("devices/1/events", "1")
		ear.expect(plain)
		other.expect(plain)

		ear.subscribeWithMetadata("devices/*/events") // takes the new option
		source.publish("devices/1/events", "1")
		ear.expect(full)
		other.expect(plain)

		ear.subscribe("devices/*/events") // and gives it back
		ear.subscribeWithMetadata("devices/1/events")
		source.publish("devices/1/events", "1")
		ear.expect(full)
		other.expect(plain)

		for _, left := range []string{"devices/1/events", "**", "devices/**", "*/1/*", "devices/1/**"} {
			ear.unsubscribe(left)
		}
		source.publish("devices/1/events", "1") // one subscription is left
		ear.expect(plain)
		ear.unsubscribe("devices/*/events")
		source.publish("devices/1/events", "2")
		other.expect(plain)
		other.expectMessage("devices/1/events", "camera", "2")
		ear.subscribe("marker")
		source.publish("marker", "3")
		ear.expectMessage("marker", "camera", "3")
	})
}

// fromMetadata is there where the subscription asked for it and the sender has
// peerMetadata, whether it came by socket or by REST (protocol §4.3).
func TestSenderMetadata(t *testing.T) {
	key := newKey("metadata", "**")
	onEachRedis(t, []*appDoc{newApp("app_metadata", key)}, func(t *testing.T, s *system) {
		curious := s.last().connect(t, key.token("curious", nil))
		curious.subscribeWithMetadata("a")
		plain := s.last().connect(t, key.token("plain", nil)).subscribe("a")

		object := `{"k":"` + strings.Repeat("m", 4<<10-len(`{"k":""}`)) + `"}`
		rich := s.first().connect(t, key.token("rich", claims{"metadata": map[string]any{"private": true}, "peerMetadata": map[string]any{"site": "north", "n": 1}}))
		none := s.first().connect(t, key.token("none", claims{"metadata": map[string]any{"private": true}}))
		empty := s.first().connect(t, key.token("empty", claims{"peerMetadata": map[string]any{}}))
		rich.publish("a", "1")
		none.publish("a", "2")
		empty.publish("a", "3")
		s.first().publishBody(t, key, "a", `{"data":4,"from":"control-plane","peerMetadata":{ "a" : [ 1, 2.50 ] }}`)
		s.first().publishBody(t, key, "a", `{"peerMetadata":`+object+`,"data":5}`)
		s.first().publishBody(t, key, "a", `{"data":6,"peerMetadata":null}`)

		for _, frame := range []string{
			`{"type":"message","channel":"a","from":"rich","fromMetadata":{"n":1,"site":"north"},"data":1}`,
			`{"type":"message","channel":"a","from":"none","data":2}`,
			`{"type":"message","channel":"a","from":"empty","fromMetadata":{},"data":3}`,
			`{"type":"message","channel":"a","from":"control-plane","fromMetadata":{"a":[1,2.50]},"data":4}`,
			`{"type":"message","channel":"a","from":"server","fromMetadata":` + object + `,"data":5}`,
			`{"type":"message","channel":"a","from":"server","data":6}`,
		} {
			curious.expect(frame)
		}
		for _, m := range [][2]string{{"rich", "1"}, {"none", "2"}, {"empty", "3"}, {"control-plane", "4"}, {"server", "5"}, {"server", "6"}} {
			plain.expectMessage("a", m[0], m[1])
		}
	})
}

// Leaving is acked whether or not there was anything to leave, and ends
// delivery; other subscriptions of the same channel go on.
func TestUnsubscribe(t *testing.T) {
	key := newKey("leaving", "devices/**")
	onEachRedis(t, []*appDoc{newApp("app_leaving", key)}, func(t *testing.T, s *system) {
		device := s.first().connect(t, key.token("camera", nil))
		device.unsubscribe("devices/never")
		device.unsubscribe("devices/*/never")
		device.unsubscribe("elsewhere/entirely") // outside the grant: there is nothing to protect
		device.subscribe("devices/a", "devices/*")
		device.subscribe("devices/a") // a second time is not a second subscription
		stays := s.first().connect(t, key.token("stays", nil)).subscribe("devices/a")

		device.unsubscribe("devices/a")
		s.last().publish(t, key, "devices/a", "1")
		device.expectMessage("devices/a", "server", "1") // by the wildcard
		device.unsubscribe("devices/*")
		if n := s.last().publish(t, key, "devices/a", "2"); n != 1 {
			t.Errorf("%d subscribers by name, want 1", n)
		}
		stays.expectMessage("devices/a", "server", "1")
		stays.expectMessage("devices/a", "server", "2")
		device.subscribe("devices/b")
		s.last().publish(t, key, "devices/b", "3")
		device.expectMessage("devices/b", "server", "3")
	})
}

// An ack of subscribe means that the subscription is live on all nodes: what is
// published elsewhere right after it arrives (protocol §4.2).
func TestAckMeansLive(t *testing.T) {
	key := newKey("live", "**")
	onEachRedis(t, []*appDoc{newApp("app_live", key)}, func(t *testing.T, s *system) {
		device := s.first().connect(t, key.token("camera", nil))
		source := s.last().connect(t, key.token("source", nil))
		for i := range 200 {
			name := "devices/" + string(rune('a'+i%26)) + "/" + strings.Repeat("x", i/26)
			join := name
			if i%3 == 1 {
				join = name + "*"
			}
			device.subscribe(join)
			if i%2 == 0 {
				source.publish(name, "1")
				device.expectMessage(name, "source", "1")
			} else {
				want := 1
				if join != name {
					want = 0 // wildcard subscribers are not counted
				}
				if n := s.last().publish(t, key, name, "1"); n != want {
					t.Fatalf("%s: %d subscribers right after the ack, want %d", join, n, want)
				}
				device.expectMessage(name, "server", "1")
			}
			device.unsubscribe(join)
		}
	})
}

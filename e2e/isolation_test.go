package e2e

import (
	"testing"
)

// Two apps with the same channels, and keys for all of them, never see each
// other: not by name, not by any wildcard, not through names made to look like
// the other's in Redis.
func TestAppsAreIsolated(t *testing.T) {
	a, b := newKey("alpha", "**"), newKey("beta", "**")
	docs := []*appDoc{newApp("app", a), newApp("app-2", b)} // one id begins with the other
	onEachRedis(t, docs, func(t *testing.T, s *system) {
		channels := []string{"devices/1/events", "**", "*", "app", "}:msg:devices/1/events", "fw:{app.0}:msg:x", "a\\*b", "[a-z]?"}
		eavesdropper := s.last().connect(t, b.token("camera", nil))
		eavesdropper.subscribe("devices/1/events", "devices/*/events", "**", "*", "}:msg:**", "fw:{app.**", "**}:msg:**", "[a-z]?")
		listener := s.last().connect(t, a.token("listener", nil)).subscribe("**")
		sender := s.first().connect(t, a.token("camera", nil))

		sent := 0
		for _, c := range channels {
			if c == "**" || c == "*" {
				continue // patterns, not names
			}
			sender.publish(c, `"by socket"`)
			listener.expectMessage(c, "camera", `"by socket"`)
			if n := s.first().publish(t, a, c, `"by REST"`); n != 0 {
				t.Errorf("%s: %d subscribers by name, want 0: the other app's do not count", c, n)
			}
			listener.expectMessage(c, "server", `"by REST"`)
			sent += 2
		}
		// The eavesdropper's next frame is a message of its own app.
		if n := s.first().publish(t, b, "devices/1/events", `"own"`); n != 1 {
			t.Errorf("%d subscribers by name, want 1", n)
		}
		eavesdropper.expectMessage("devices/1/events", "server", `"own"`)
		s.first().publish(t, a, "marker", "1")
		listener.expectMessage("marker", "server", "1")
		if sent == 0 {
			t.Error("nothing was sent")
		}
	})
}

// An app that is out of messages, connections or requests takes none from
// another app.
func TestQuotasAreIsolated(t *testing.T) {
	poor, rich := newKey("poor", "**"), newKey("rich", "**")
	broke := newApp("app_poor", poor)
	broke.Plan.Messages, broke.Plan.Connections = 1, 1
	onEachRedis(t, []*appDoc{broke, newApp("app_rich", rich)}, func(t *testing.T, s *system) {
		beggar := s.first().connect(t, poor.token("p", nil))
		beggar.publish("a", "1")
		beggar.expectError(beggar.request(`"type":"publish","channel":"a","data":1`), "over_message_quota")
		s.last().refused(t, "token="+poor.token("p", nil), 4010)

		king := s.first().connect(t, rich.token("p", nil)).subscribe("a")
		s.last().connect(t, rich.token("p", nil)).publish("a", "1")
		king.expectMessage("a", "p", "1")
		beggar.alive()
	})
}

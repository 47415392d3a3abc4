package e2e

import (
	"encoding/json"
	"testing"
)

// What each channel and each peer cost (protocol §5, GET /v1/usage): counted on
// both roads and both nodes, and only for the app that asks.
func TestUsage(t *testing.T) {
	key, other := newKey("usage", "**"), newKey("usage_other", "**")
	onEachRedis(t, []*appDoc{newApp("app_usage", key), newApp("app_usage_other", other)}, func(t *testing.T, s *system) {
		camera := s.first().connect(t, key.token("camera", nil))
		for range 3 {
			camera.send(`{"channel":"devices/1/events","data":"12345678","type":"publish","requestId":"r"}`)
			camera.expect(`{"type":"ack","requestId":"r"}`)
		}
		s.last().publish(t, key, "devices/1/commands", "1")
		s.last().publish(t, other, "devices/1/events", "1")

		var report struct {
			AppID         string
			ConcurrentNow int
			MessagesUsed  int
		}
		a, err := s.last().call("GET", "/v1/usage", key.credential(), "")
		if err != nil || a.status != 200 {
			t.Fatal(a, err)
		}
		if err := json.Unmarshal([]byte(a.body), &report); err != nil || report.AppID != "app_usage" || report.ConcurrentNow != 1 || report.MessagesUsed != 4 {
			t.Errorf("usage: %s (%v)", a.body, err)
		}
		// The figures by channel and peer are flushed every few seconds.
		for path, want := range map[string]string{
			"/v1/usage/channels?pattern=devices/*/events": `{"channels":[{"channel":"devices/1/events","published":3,"bytes":30}],"cursor":null}`,
			"/v1/usage/peers": `{"peers":[{"peerId":"camera","published":3,"bytes":30},{"peerId":"server","published":1,"bytes":1}],"cursor":null}`,
		} {
			var got string
			eventually(t, path, patience, func() bool {
				a, err := s.first().call("GET", path, key.credential(), "")
				got = a.body
				return err == nil && got == want
			})
		}
	})
}

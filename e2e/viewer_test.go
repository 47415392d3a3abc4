package e2e

import (
	"encoding/json"
	"testing"
)

// A viewer's key sees what a device was handed, on any node, and can change nothing.
func TestViewers(t *testing.T) {
	key := newKey("handing", "devices/**")
	viewer := newKey("viewing", "devices/**").only("publish", "subscribe", "presence", "send")
	viewer.Role = "viewer"
	stranger := newKey("stranger", "fleets/**")
	onEachRedis(t, []*appDoc{newApp("app_viewers", key, viewer, stranger)}, func(t *testing.T, s *system) {
		d := s.first().connect(t, key.token("cam-1", nil)).subscribe("devices/cam-1/commands")
		a, err := s.last().call("POST", "/v1/channels/devices%2Fcam-1%2Fcommands/commands", key.credential(), `{"data":{"cmd":"reboot"},"waitMs":0}`)
		if err != nil || a.status != 202 {
			t.Fatal(a, err)
		}
		var sent struct {
			Command struct{ ID string }
		}
		if err := json.Unmarshal([]byte(d.next()), &sent); err != nil {
			t.Fatal(err)
		}
		d.send(`{"type":"answer","command":"` + sent.Command.ID + `","data":{"uptime":3},"requestId":"a"}`)
		d.expect(`{"type":"ack","requestId":"a"}`)
		for credential, want := range map[string]int{viewer.credential(): 1, key.credential(): 1, stranger.credential(): 0} {
			a, err := s.last().call("GET", "/v1/peers/cam-1/commands", credential, "")
			var page struct {
				Commands []struct {
					ID, Channel, Status string
					Answer              struct {
						Peer, Status string
						Data         json.RawMessage
					}
				}
			}
			if err != nil || json.Unmarshal([]byte(a.body), &page) != nil || a.status != 200 || len(page.Commands) != want {
				t.Fatal(a, err)
			}
			for _, c := range page.Commands {
				if c.ID != sent.Command.ID || c.Status != "succeeded" || c.Answer.Status != "succeeded" || string(c.Answer.Data) != `{"uptime":3}` {
					t.Errorf("%+v", c)
				}
			}
		}
		for target, method := range map[string]string{
			"/v1/channels/devices%2Fcam-1%2Fcommands/commands": "POST", "/v1/channels/devices%2Fx/publish": "POST", "/v1/tokens": "POST", "/v1/peers/cam-1": "DELETE", "/v1/commands/" + sent.Command.ID: "DELETE",
		} {
			a, err := s.last().call(method, target, viewer.credential(), `{"data":1}`)
			if err != nil {
				t.Fatal(err)
			}
			a.wantError(t, 403, "action_not_permitted", "has the role viewer, which only reads")
		}
		refused, err := s.first().dial(t, "token="+viewer.token("x", nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		refused.expectClose(4001)
	})
}

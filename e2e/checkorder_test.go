package e2e

import (
	"strconv"
	"testing"
)

// Checks run in the order shape → name → reserved → action → authorization →
// quota (protocol §4.4): each row has every fault from its own on to the end
// of that list, and is refused for the first. The quota is 0.
func TestCheckOrder(t *testing.T) {
	mute := newKey("mute", "devices/**").only("subscribe")
	full := newKey("full", "devices/**")
	app := newApp("app_order", mute, full)
	app.Plan.Messages = 0
	s := startEmbedded(t, app)

	for _, c := range []struct {
		name          string
		key           *keyDoc
		channel, data string // JSON
		code          string // in the frame
		status        int    // by REST
	}{
		{"shape", mute, `"_system/\u0007"`, ``, "missing_data", 400},
		{"name", mute, `"_system/\u0007"`, `1`, "invalid_channel", 400},
		{"reserved", mute, `"_system/a"`, `1`, "channel_reserved", 400},
		{"action", mute, `"elsewhere"`, `1`, "action_not_permitted", 403},
		{"authorization", full, `"elsewhere"`, `1`, "channel_not_authorized", 403},
		{"quota", full, `"devices/a"`, `1`, "over_message_quota", 429},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := ""
			if c.data != "" {
				data = `"data":` + c.data
			}
			device := s.first().connect(t, c.key.token("camera", nil))
			frame := `{"type":"publish","channel":` + c.channel
			if data != "" {
				frame += "," + data
			}
			device.send(frame + `}`)
			device.expectError("", c.code)
			device.alive()

			name, err := strconv.Unquote(c.channel)
			if err != nil {
				t.Fatal(err)
			}
			a, err := s.first().call("POST", "/v1/channels/"+escaped(name)+"/publish", c.key.credential(), `{`+data+`}`)
			if err != nil {
				t.Fatal(err)
			}
			a.wantError(t, c.status, c.code)
		})
	}

	t.Run("subscribe", func(t *testing.T) {
		speaks := newKey("speaks", "devices/**").only("publish")
		s := startEmbedded(t, newApp("app_order", speaks))
		device := s.first().connect(t, speaks.token("camera", nil))
		for _, c := range []struct{ frame, code string }{
			{`{"type":"subscribe","channel":"_system/\u0007*","includeSenderMetadata":1}`, "malformed_message"},
			{`{"type":"subscribe","channel":"_system/\u0007*"}`, "invalid_channel"},
			{`{"type":"subscribe","channel":"_system/*"}`, "channel_reserved"},
			{`{"type":"subscribe","channel":"elsewhere/*"}`, "action_not_permitted"},
			{`{"type":"subscribe","channel":"elsewhere"}`, "action_not_permitted"},
		} {
			device.send(c.frame)
			device.expectError("", c.code)
		}
		device.alive()
	})
}

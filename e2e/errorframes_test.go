package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// Every row of protocol §4.4 that a frame can bring about (over_message_quota
// is in quota_test.go, backend_error in outage_test.go): the answer has its
// code and shape, the connection goes on, and nobody else notices.
func TestErrorFrames(t *testing.T) {
	wide, narrow := newKey("wide", "**"), newKey("narrow", "devices/**", "fleets/*")
	docs := []*appDoc{newApp("app_errors", wide, narrow,
		newKey("hears", "**").only("subscribe"), newKey("speaks", "**").only("publish"))}
	foreign := newKey("foreign", "**")
	docs = append(docs, newApp("app_foreign", foreign))
	forged := &keyDoc{ID: narrow.ID, Secret: wide.Secret}
	device := narrow.token("camera-1", claims{"channels": []string{"devices/camera-1/*", "fleets/f1"}})
	hears := docs[0].Keys[2].token("ear", nil)
	speaks := docs[0].Keys[3].token("mouth", nil)

	// Where a frame has the requestId "x", so must its answer.
	cases := []struct {
		name, token, frame string
		code               string
		says               string
	}{
		{"not JSON", device, `hello`, "malformed_message", "one JSON object"},
		{"empty", device, ``, "malformed_message", ""},
		{"cut off", device, `{"type":"ping"`, "malformed_message", ""},
		{"two objects", device, `{"type":"ping"}{"type":"ping"}`, "malformed_message", ""},
		{"array", device, `[{"type":"ping"}]`, "malformed_message", ""},
		{"string", device, `"ping"`, "malformed_message", ""},
		{"null", device, `null`, "malformed_message", ""},
		{"trailing comma", device, `{"type":"ping",}`, "malformed_message", ""},
		{"NaN", device, `{"type":"publish","channel":"devices/camera-1/a","data":NaN}`, "malformed_message", ""},
		{"data with a leading zero", device, `{"type":"publish","channel":"devices/camera-1/a","data":01}`, "malformed_message", ""},
		{"data is broken inside", device, `{"type":"publish","channel":"devices/camera-1/a","data":{"a":[1,]}}`, "malformed_message", ""},
		{"raw newline in a string", device, "{\"type\":\"publish\",\"channel\":\"devices/camera-1/a\",\"data\":\"\n\"}", "malformed_message", ""},
		{"nested 20,000 deep", device, `{"type":"publish","channel":"devices/camera-1/a","data":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, "malformed_message", "deep"},
		{"no type", device, `{"requestId":"x","channel":"devices/camera-1/a"}`, "malformed_message", "type"},
		{"type is a number", device, `{"requestId":"x","type":1}`, "malformed_message", "type is a number"},
		{"type is null", device, `{"requestId":"x","type":null}`, "malformed_message", "type is null"},
		{"channel is a number", device, `{"requestId":"x","type":"subscribe","channel":1}`, "malformed_message", "channel is a number"},
		{"channel is null", device, `{"requestId":"x","type":"publish","channel":null,"data":1}`, "malformed_message", "channel is null"},
		{"includeSenderMetadata is a string", device, `{"requestId":"x","type":"subscribe","channel":"devices/camera-1/a","includeSenderMetadata":"yes"}`, "malformed_message", "includeSenderMetadata is a string"},
		{"since is text", device, `{"requestId":"x","type":"subscribe","channel":"devices/camera-1/a","since":"6Hq2:41"}`, "malformed_message", "since is a string"},
		{"since without an epoch", device, `{"requestId":"x","type":"subscribe","channel":"devices/camera-1/a","since":{"offset":41}}`, "malformed_message", "both"},
		{"since in a strange epoch", device, `{"requestId":"x","type":"subscribe","channel":"devices/camera-1/a","since":{"epoch":"a/b","offset":41}}`, "malformed_message", "since.epoch"},
		{"since a fraction", device, `{"requestId":"x","type":"subscribe","channel":"devices/camera-1/a","since":{"epoch":"a","offset":1.5}}`, "malformed_message", "since.offset is 1.5"},
		{"the last -1", device, `{"requestId":"x","type":"subscribe","channel":"devices/camera-1/a","last":-1}`, "malformed_message", "0 to 1000"},
		{"the last 1001", device, `{"requestId":"x","type":"subscribe","channel":"devices/camera-1/a","last":1001}`, "malformed_message", "0 to 1000"},
		{"since and last", device, `{"requestId":"x","type":"subscribe","channel":"devices/camera-1/a","last":1,"since":{"epoch":"a","offset":1}}`, "malformed_message", "both"},
		{"last of a wildcard", wide.token("camera-1", nil), `{"requestId":"x","type":"subscribe","channel":"devices/*/a","last":1}`, "malformed_message", "by name"},
		{"an ifOffset below 0", device, `{"requestId":"x","type":"publish","channel":"devices/camera-1/a","data":1,"ifOffset":-1}`, "malformed_message", "ifOffset is -1"},
		{"ifEpoch alone", device, `{"requestId":"x","type":"publish","channel":"devices/camera-1/a","data":1,"ifEpoch":"a"}`, "malformed_message", "ifOffset"},
		{"ifOffset where nothing is remembered", device, `{"requestId":"x","type":"publish","channel":"devices/camera-1/a","data":1,"ifOffset":0}`, "malformed_message", "remembers"},
		{"an idempotencyKey of 129 bytes", device, `{"requestId":"x","type":"publish","channel":"devices/camera-1/a","data":1,"idempotencyKey":"` + strings.Repeat("k", 129) + `"}`, "malformed_message", "129"},
		{"requestId is a number", device, `{"requestId":7,"type":"subscribe","channel":"devices/camera-1/a"}`, "malformed_message", "requestId is a number"},
		{"requestId is empty", device, `{"requestId":"","type":"subscribe","channel":"devices/camera-1/a"}`, "malformed_message", "requestId"},
		{"requestId is 129 bytes", device, `{"requestId":"` + strings.Repeat("i", 129) + `","type":"subscribe","channel":"devices/camera-1/a"}`, "malformed_message", "129"},

		{"unknown type", device, `{"requestId":"x","type":"destroy"}`, "unknown_type", "destroy"},
		{"type in capitals", device, `{"requestId":"x","type":"Ping"}`, "unknown_type", ""},
		{"type is empty", device, `{"requestId":"x","type":""}`, "unknown_type", ""},
		{"a server's type", device, `{"requestId":"x","type":"welcome"}`, "unknown_type", ""},

		{"send to a number", device, `{"requestId":"x","type":"send","to":7,"data":1}`, "malformed_message", "to is a number"},
		{"send without data", device, `{"requestId":"x","type":"send","to":"ear"}`, "missing_data", "null"},
		{"send without to", device, `{"requestId":"x","type":"send","data":1}`, "invalid_peer_id", "to is missing"},
		{"send to the empty peer", device, `{"requestId":"x","type":"send","to":"","data":1}`, "invalid_peer_id", "1–128"},
		{"send to 129 bytes", device, `{"requestId":"x","type":"send","to":"` + strings.Repeat("p", 129) + `","data":1}`, "invalid_peer_id", "1–128"},
		{"send to a peer with a control character", device, `{"requestId":"x","type":"send","to":"a\u0007","data":1}`, "invalid_peer_id", "printable"},
		{"send to a peer beyond ASCII", device, `{"requestId":"x","type":"send","to":"caméra","data":1}`, "invalid_peer_id", "ASCII"},
		{"send with a key that only speaks", speaks, `{"requestId":"x","type":"send","to":"bystander","data":1}`, "action_not_permitted", "send"},
		{"send to nobody", device, `{"requestId":"x","type":"send","to":"nobody","data":1}`, "peer_not_found", "nobody"},
		{"send to a peer of another app", device, `{"requestId":"x","type":"send","to":"foreign","data":1}`, "peer_not_found", "foreign"},
		{"refresh with a number", device, `{"requestId":"x","type":"refresh","token":7}`, "malformed_message", "token is a number"},
		{"refresh without token", device, `{"requestId":"x","type":"refresh"}`, "invalid_token", "token is missing"},
		{"refresh with no token", device, `{"requestId":"x","type":"refresh","token":"t"}`, "invalid_token", "not a JWT"},
		{"refresh with another peer's token", device, `{"requestId":"x","type":"refresh","token":"` + wide.token("camera-2", nil) + `"}`, "invalid_token", "camera-1"},
		{"refresh with an expired token", device, `{"requestId":"x","type":"refresh","token":"` + wide.token("camera-1", claims{"exp": 1}) + `"}`, "invalid_token", "expired"},
		{"refresh with a token of another app", device, `{"requestId":"x","type":"refresh","token":"` + foreign.token("camera-1", nil) + `"}`, "invalid_token", "another app"},
		{"refresh with a forged token", device, `{"requestId":"x","type":"refresh","token":"` + forged.token("camera-1", nil) + `"}`, "invalid_token", "signature"},

		{"subscribe without channel", device, `{"requestId":"x","type":"subscribe"}`, "invalid_channel", "missing"},
		{"subscribe to the empty name", device, `{"requestId":"x","type":"subscribe","channel":""}`, "invalid_channel", "empty"},
		{"subscribe to 257 bytes", device, `{"requestId":"x","type":"subscribe","channel":"devices/camera-1/` + strings.Repeat("a", 240) + `"}`, "invalid_channel", "257 bytes"},
		{"subscribe to 86 × 3 bytes", device, `{"requestId":"x","type":"subscribe","channel":"` + strings.Repeat("水", 86) + `"}`, "invalid_channel", "258 bytes"},
		{"control character", device, `{"requestId":"x","type":"subscribe","channel":"devices/camera-1/\u0007"}`, "invalid_channel", "U+0007"},
		{"C1 control character", device, `{"requestId":"x","type":"publish","channel":"devices/camera-1/\u0085","data":1}`, "invalid_channel", "U+0085"},
		{"level of two dots", device, `{"requestId":"x","type":"publish","channel":"devices/camera-1/../camera-2/a","data":1}`, "invalid_channel", `".."`},
		{"level of one dot", device, `{"requestId":"x","type":"unsubscribe","channel":"devices/./a"}`, "invalid_channel", `"."`},
		{"pattern with a level of two dots", device, `{"requestId":"x","type":"subscribe","channel":"devices/camera-1/../*"}`, "invalid_channel", `".."`},
		{"publish to a pattern", device, `{"requestId":"x","type":"publish","channel":"devices/camera-1/*","data":1}`, "invalid_channel", "*"},
		{"publish behind an escaped backslash", device, `{"requestId":"x","type":"publish","channel":"devices/camera-1/\\\\*","data":1}`, "invalid_channel", "*"},

		{"subscribe to _metered", device, `{"requestId":"x","type":"subscribe","channel":"_metered/a"}`, "channel_reserved", "_metered/"},
		{"publish to _internal", device, `{"requestId":"x","type":"publish","channel":"_internal/a","data":1}`, "channel_reserved", "_internal/"},
		{"wildcard in _system", device, `{"requestId":"x","type":"subscribe","channel":"_system/**"}`, "channel_reserved", "_system/"},

		{"subscribe outside the claim", device, `{"requestId":"x","type":"subscribe","channel":"devices/camera-2/commands"}`, "channel_not_authorized", "devices/camera-2/commands"},
		{"publish outside the claim", device, `{"requestId":"x","type":"publish","channel":"devices/camera-2/events","data":1}`, "channel_not_authorized", "devices/camera-2/events"},
		{"a level deeper than the claim", device, `{"requestId":"x","type":"publish","channel":"devices/camera-1/a/b","data":1}`, "channel_not_authorized", ""},
		{"another case than the claim", device, `{"requestId":"x","type":"subscribe","channel":"Devices/camera-1/a"}`, "channel_not_authorized", ""},
		{"wildcard wider than the claim", device, `{"requestId":"x","type":"subscribe","channel":"devices/*/events"}`, "channel_not_authorized", "devices/*/events"},
		{"wildcard for everything", device, `{"requestId":"x","type":"subscribe","channel":"**"}`, "channel_not_authorized", ""},
		{"wildcard a level deeper than the claim", device, `{"requestId":"x","type":"subscribe","channel":"devices/camera-1/**"}`, "channel_not_authorized", ""},

		{"publish without data", device, `{"requestId":"x","type":"publish","channel":"devices/camera-1/a"}`, "missing_data", "null"},
		{"publish with Data", device, `{"requestId":"x","type":"publish","channel":"devices/camera-1/a","Data":1}`, "missing_data", ""},

		{"publish with a key that only hears", hears, `{"requestId":"x","type":"publish","channel":"devices/a","data":1}`, "action_not_permitted", "publish"},
		{"subscribe with a key that only speaks", speaks, `{"requestId":"x","type":"subscribe","channel":"devices/a"}`, "action_not_permitted", "subscribe"},
		{"wildcard with a key that only speaks", speaks, `{"requestId":"x","type":"subscribe","channel":"devices/*"}`, "action_not_permitted", "subscribe"},
		{"publish with a token that only hears", wide.token("p", claims{"permissions": []string{"subscribe"}}), `{"requestId":"x","type":"publish","channel":"devices/a","data":1}`, "action_not_permitted", "publish"},
		{"subscribe with a token of no permissions", wide.token("p", claims{"permissions": []string{}}), `{"requestId":"x","type":"subscribe","channel":"devices/a"}`, "action_not_permitted", "subscribe"},
		{"a token of no channels", wide.token("p", claims{"channels": []string{}}), `{"requestId":"x","type":"subscribe","channel":"devices/a"}`, "channel_not_authorized", ""},
	}

	onEachRedis(t, docs, func(t *testing.T, s *system) {
		s.last().connect(t, foreign.token("foreign", nil))
		bystander := s.last().connect(t, wide.token("bystander", nil)).subscribe("**")
		for i, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				sender := s.first().connect(t, c.token)
				requestID := ""
				if strings.Contains(c.frame, `"requestId":"x"`) {
					requestID = "x"
				}
				sender.send(c.frame)
				sender.expectError(requestID, c.code, c.says)
				// The same in a binary frame, and without requestId.
				if err := sender.writeRaw(ws.NewBinaryFrame([]byte(strings.Replace(c.frame, `"requestId":"x",`, "", 1)))); err != nil {
					t.Fatal(err)
				}
				sender.expectError("", c.code, c.says)
				sender.alive()

				marker := fmt.Sprintf(`{"after":%d}`, i)
				s.first().publish(t, wide, "marker", marker)
				bystander.t = t
				bystander.expectMessage("marker", "server", marker)
			})
		}
	})
}

// The 101st subscription is refused; the hundred stay, taking one anew is no
// further one, and leaving one makes room.
func TestSubscriptionLimit(t *testing.T) {
	key := newKey("limit", "**")
	onEachRedis(t, []*appDoc{newApp("app_limit", key)}, func(t *testing.T, s *system) {
		device := s.first().connect(t, key.token("camera", nil))
		device.subscribe("fleets/*") // wildcards count as well
		for i := range 99 {
			device.subscribe(fmt.Sprintf("devices/%d", i))
		}
		for _, one := range []string{"devices/99", "devices/*"} {
			device.expectError(device.request(`"type":"subscribe","channel":"`+one+`"`), "channel_limit_exceeded", "100")
		}
		device.subscribe("devices/98", "fleets/*")
		s.last().publish(t, key, "devices/99", `"not subscribed"`)
		s.last().publish(t, key, "devices/98", `"still subscribed"`)
		device.expectMessage("devices/98", "server", `"still subscribed"`)

		device.unsubscribe("devices/0")
		device.subscribe("devices/99")
		device.expectError(device.request(`"type":"subscribe","channel":"devices/100"`), "channel_limit_exceeded")
		s.last().publish(t, key, "devices/99", `"subscribed now"`)
		device.expectMessage("devices/99", "server", `"subscribed now"`)
	})
}

// A frame that is not UTF-8 is malformed in a binary frame; in a text frame it
// breaks WebSocket itself (closecodes_test.go).
func TestBinaryFrameThatIsNotUTF8(t *testing.T) {
	key := newKey("utf8", "**")
	s := startEmbedded(t, newApp("app_utf8", key))
	device := s.first().connect(t, key.token("camera", nil)).subscribe("devices/a")
	if err := device.writeRaw(ws.NewBinaryFrame([]byte("{\"type\":\"publish\",\"channel\":\"devices/a\",\"data\":\"\xff\"}"))); err != nil {
		t.Fatal(err)
	}
	device.expectError("", "malformed_message", "UTF-8")
	device.alive()
}

// Errors come without being asked for; success is silent without a requestId,
// and fields that a frame does not use are ignored.
func TestRequestIDIsOptional(t *testing.T) {
	key := newKey("silent", "**")
	s := startEmbedded(t, newApp("app_silent", key))
	device := s.first().connect(t, key.token("camera", nil))
	other := s.first().connect(t, key.token("other", nil))
	device.send(`{"type":"subscribe","channel":"devices/a"}`)
	device.send(`{"type":"subscribe","channel":"devices/b","data":{"x":1},"to":7,"colour":"red"}`)
	device.send(`{"type":"unsubscribe","channel":"devices/b"}`)
	device.send(`{"type":"publish","channel":"devices/c","data":1}`)
	device.send(`{"type":"ping","requestId":17,"channel":[]}`) // ping has no requestId, so it is not looked at
	device.expect(`{"type":"pong"}`)
	device.subscribe("devices/d") // acked: what came before it is live, too
	other.publish("devices/a", "1")
	device.expectMessage("devices/a", "other", "1")
	longest := strings.Repeat("é", 64)
	device.send(`{"type":"unsubscribe","channel":"devices/d","requestId":"` + longest + `"}`)
	device.expect(`{"type":"ack","requestId":"` + longest + `"}`)
}

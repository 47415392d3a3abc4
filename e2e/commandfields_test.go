package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// notNumbers, notStrings and notObjects are JSON values that a field of that kind does
// not take.
var (
	notNumbers = []string{`null`, `true`, `"1000"`, `""`, `[]`, `[1000]`, `{}`, `1000.5`, `1e3`, `-1`, `-0`, `9223372036854775808`, `1E400`}
	notStrings = []string{`null`, `true`, `7`, `[]`, `["a"]`, `{}`, `""`, `"\ud800"`}
	notObjects = []string{`null`, `true`, `7`, `"a"`, `""`, `[]`, `[{}]`}
)

// Each field of a command, sent with every kind of wrong value to a real server: the
// answer names the field, and there is no command.
func TestWrongFieldsOfACommand(t *testing.T) {
	key := newKey("fields", "devices/**")
	s := startEmbedded(t, newApp("app_fields", key))
	device := s.first().connect(t, key.token("a", nil)).subscribe("devices/a")
	long := quoted(strings.Repeat("x", 129))
	inRollout := func(field, value string) string { return `"ttlMs":1000,"rollout":{` + field + value + `}` }
	for _, f := range []struct {
		field string // in the message
		body  func(value string) string
		wrong []string
	}{
		{"waitMs", plain, append([]string{`25001`}, notNumbers...)},
		{"ttlMs", plain, append([]string{`604800001`}, notNumbers...)},
		{"timeoutMs", plain, append([]string{`0`, `999`, `86400001`}, notNumbers...)},
		{"expect", plain, append([]string{`0`, `100001`}, notNumbers...)},
		{"from", plain, append([]string{long, `"a\nb"`, `"é"`}, notStrings...)},
		{"idempotencyKey", plain, append([]string{long}, notStrings...)},
		{"collapseKey", plain, append([]string{long}, notStrings...)},
		{"notify", plain, append([]string{quoted(strings.Repeat("x", 257)), `"devices/a"`, `"devices/*"`, `"public"`, `"_system/a"`, `"_system/connectivity/a"`, `"devices/../a"`}, notStrings...)},
		{"rollout", func(v string) string { return `"ttlMs":1000,"rollout":` + v }, notObjects},
		{"rollout", func(v string) string { return `"rollout":` + v }, []string{`{"perMinute":60}`}},
		{"rollout", func(v string) string { return `"ttlMs":1000,"rollout":{"perMinute":1,"perHour":` + v + `}` }, []string{`1`}},
		{"perMinute", func(v string) string { return inRollout(`"perMinute":`, v) }, append([]string{`0`, `100001`}, notNumbers...)},
		{"perMinute", func(v string) string { return inRollout(`"abort":`, v) }, []string{`{"failedPct":1}`}},
		{"abort", func(v string) string { return inRollout(`"perMinute":1,"abort":`, v) }, notObjects},
		{"failedPct", func(v string) string { return inRollout(`"perMinute":1,"abort":`, `{"failedPct":`+v+`}`) }, append([]string{`0`, `101`}, notNumbers...)},
		{"failedPct", func(v string) string { return inRollout(`"perMinute":1,"abort":`, v) }, []string{`{}`, `{"minAnswered":1}`}},
		{"minAnswered", func(v string) string {
			return inRollout(`"perMinute":1,"abort":`, `{"failedPct":1,"minAnswered":`+v+`}`)
		}, append([]string{`0`, `100001`}, notNumbers...)},
		{"ttl", plain, []string{`1000`, `null`}}, // there is none
		{"data", plain, []string{`1`}},           // twice
	} {
		for _, value := range f.wrong {
			fields := f.body(value)
			if strings.HasPrefix(fields, ":") {
				fields = quoted(f.field) + fields
			}
			a, err := s.first().call("POST", "/v1/channels/devices%2Fa/commands", key.credential(), `{"data":1,`+fields+`}`)
			if err != nil {
				t.Fatal(err)
			}
			if a.status != 400 && a.status != 403 || !strings.Contains(a.body, f.field) {
				t.Errorf("%s: %d %s; want a refusal that names %s", fields, a.status, a.body, f.field)
			}
		}
	}
	for body, code := range map[string]string{
		``: "invalid_request", `{}`: "missing_data", `[]`: "invalid_request", `1`: "invalid_request", `{"data":}`: "invalid_request", `{"data":1`: "invalid_request",
		`{"data":1}{}`: "invalid_request", "{\"data\":\"\xff\"}": "invalid_request", `{"Data":1}`: "invalid_request",
		`{"data":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`: "invalid_request",
	} {
		a, err := s.first().call("POST", "/v1/channels/devices%2Fa/commands", key.credential(), body)
		if err != nil {
			t.Fatal(err)
		}
		a.wantError(t, 400, code)
	}
	list, err := s.first().call("GET", "/v1/channels/devices%2Fa/commands", key.credential(), "")
	if err != nil || list.body != `{"channel":"devices/a","commands":[],"cursor":null}` {
		t.Errorf("the list: %s, %v; want no command", list.body, err)
	}
	device.alive()
}

func plain(value string) string { return ":" + value }

// Each parameter of a request about commands or peers, and each kind of id, sent wrong.
func TestWrongParametersOfCommandsAndPeers(t *testing.T) {
	key := newKey("parameters", "devices/**").only(everyAction...)
	s := startEmbedded(t, newApp("app_parameters", key))
	id := s.first().command(t, key, "devices/a", "1", `,"waitMs":0,"ttlMs":60000`).ID
	const list, peers = "/v1/channels/devices%2Fa/commands", "/v1/peers"
	one := "/v1/commands/" + id
	numbers := []string{"", "-1", "%2B5", "05", "1.5", "1e3", "x", "99999999999999999999", "5&{name}=6"}
	words := []string{"", "Failed", "x", "failed&{name}=failed"}
	cursors := []string{"!", "YQ==", "%00", "gA"} // gA is no text
	for _, p := range []struct {
		path, name string
		wrong      []string
	}{
		{one, "waitMs", append([]string{"25001"}, numbers...)},
		{one + "/answers", "limit", append([]string{"0", "501"}, numbers...)},
		{one + "/answers", "status", append([]string{"mixed"}, words...)},
		{one + "/answers", "cursor", cursors},
		{list, "limit", append([]string{"0", "501"}, numbers...)},
		{list, "status", append([]string{"sent"}, words...)},
		{list, "cursor", append([]string{"YQ"}, cursors...)}, // a
		{peers, "limit", append([]string{"0", "501"}, numbers...)},
		{peers, "seenBefore", append([]string{"0"}, numbers...)},
		{peers, "online", []string{"", "1", "True", "x", "true&online=true"}},
		{peers, "prefix", []string{"%0A", "%C3%A9", strings.Repeat("p", 129), "a&prefix=a"}},
		{peers, "cursor", cursors},
		{peers + "/a", "limit", []string{"1"}},
		{one, "wait", []string{"1"}},
	} {
		for _, value := range p.wrong {
			target := p.path + "?" + p.name + "=" + strings.ReplaceAll(value, "{name}", p.name)
			a, err := s.first().call("GET", target, key.credential(), "")
			if err != nil {
				t.Fatal(err)
			}
			if a.status != 400 || !strings.Contains(a.body, p.name) || !strings.HasPrefix(a.body, `{"error":"invalid_request"`) {
				t.Errorf("%s: %d %s; want a refusal that names %s", target, a.status, a.body, p.name)
			}
		}
	}
	for _, wrong := range []string{"x", "cmd_", id[:len(id)-1], id + "a", strings.ToUpper(id), "%00", "cmd_%FF", strings.Repeat("c", 300), id[:7] + strings.Repeat("a", len(id)-7), "%2e%2e%2f" + id} {
		for _, method := range []string{"GET", "DELETE"} {
			a, err := s.first().call(method, "/v1/commands/"+wrong, key.credential(), "")
			if err != nil {
				t.Fatal(err)
			}
			a.wantError(t, 404, "command_not_found")
		}
	}
}

// Each field of the frames that are about commands, sent wrong.
func TestWrongFieldsOfFramesAboutCommands(t *testing.T) {
	key := newKey("frames", "**")
	s := startEmbedded(t, newApp("app_frames", key))
	cam := s.first().connect(t, key.token("hall", nil)).subscribe(hall)
	id := s.first().command(t, key, hall, "1", `,"waitMs":0`).ID
	cam.nextCommand()
	for _, f := range []struct {
		fields string
		wrong  []string
		code   string
		says   string
	}{
		{`"type":"answer","command":%s`, []string{`null`, `true`, `7`, `[]`, `{}`}, "malformed_message", "command"},
		{`"type":"answer","command":%s`, []string{`""`, `"x"`, `"cmd_"`, quoted(id + " "), quoted(" " + id), quoted(strings.Repeat("x", 5000))}, "command_not_found", ""},
		{`"type":"answer","command":` + quoted(id) + `,"status":%s`, []string{`null`, `true`, `7`, `[]`, `{}`, `""`, `"Succeeded"`, `"sent"`, `"timed_out"`, `"cancelled"`, `"\ud800"`}, "malformed_message", "status"},
		{`"type":"answer","command":` + quoted(id) + `,"data":%s`, []string{quoted(strings.Repeat("x", 16<<10-1)), strings.Repeat("9", 16<<10+1)}, "malformed_message", "16385"},
		{`"type":"subscribe","channel":"a","commands":%s`, []string{`null`, `true`, `7`, `[]`, `{}`, `""`, `"Confirm"`, `"received"`, `"\ud800"`}, "malformed_message", "commands"},
	} {
		for _, value := range f.wrong {
			requestID := cam.request(fmt.Sprintf(f.fields, value))
			cam.expectError(requestID, f.code, f.says)
		}
	}
	cam.answers(id, `,"data":`+quoted(strings.Repeat("x", 16<<10-2)))
	s.first().commandEnds(t, key, id, "succeeded")
	cam.alive()
}

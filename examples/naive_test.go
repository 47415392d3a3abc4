package examples

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestNaiveDevice: a device that was written before there were commands gets them as it gets
// messages, answers nothing, and stays connected.
func TestNaiveDevice(t *testing.T) {
	s := startService(t, "localdev", "127.0.0.1:0", "")
	status, body := call(t, "POST", s.url+"/v1/tokens", `{"peerId":"camera-001","channels":["devices/camera-001/commands"],"permissions":["subscribe"]}`)
	var minted struct{ Token string }
	if err := json.Unmarshal([]byte(body), &minted); err != nil || status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	device := start(t, "naive device", nil, pythonPath(t), "examples/testdata/naive.py", "ws"+strings.TrimPrefix(s.url, "http"), minted.Token, "devices/camera-001/commands")
	prints := func(text string, n int) {
		t.Helper()
		device.await(t, fmt.Sprintf("line %d with %q", n, text), n, func(l line) bool { return l.text == text })
	}
	prints("subscribed", 1)
	for i, ttlMs := range []int{0, 600_000} {
		_, body := call(t, "POST", s.url+cameraCommands, fmt.Sprintf(`{"data":{"cmd":"reboot"},"ttlMs":%d,"timeoutMs":1000,"waitMs":20000}`, ttlMs))
		if c := parseCommand(t, body); c.Status != "timed_out" || len(c.Answers) != 1 || c.Answers[0].Status != "timed_out" {
			t.Errorf("the command that nobody answers: %s", body)
		}
		prints("asked to reboot", i+1)
	}
	call(t, "POST", strings.TrimSuffix(s.url+cameraCommands, "commands")+"publish", `{"data":{"cmd":"blink"}}`)
	prints("asked to blink", 1)
	if strings.Contains(device.output(), "closed") {
		t.Errorf("it was closed:\n%s", device.output())
	}
}

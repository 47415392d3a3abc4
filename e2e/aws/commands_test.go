package aws

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

// The commands function waits for an end longer than the others may answer, and says how
// a command ended that no node has heard of.
func TestCommands(t *testing.T) {
	redis := redistest.Start(t)
	f := start(t, environment(t, redis.URL()), bootstrap(t, "commands", hostArch))
	call := func(method, path, body string) (status int, answer string, took time.Duration) {
		t.Helper()
		event := with(t, with(t, with(t, fixture(t, "alb-multi-2F"), "httpMethod", method), "path", path), "body", body)
		begin := time.Now()
		a := f.invoke(event)
		return a.StatusCode, a.Body, time.Since(begin)
	}
	const channel = "/v1/channels/devices%2Fcam-1%2Fcommands/commands"
	if status, body, _ := call("POST", channel, `{"data":1}`); status != 409 || !strings.HasPrefix(body, `{"error":"nobody_subscribed"`) {
		t.Errorf("to nobody: %d %s", status, body)
	}
	// Its TTL ends after the limit of the other functions, and it has to wait for that.
	status, body, took := call("POST", channel, `{"data":{"cmd":"reboot"},"ttlMs":1800,"waitMs":25000,"idempotencyKey":"k"}`)
	var ended struct{ ID, Status string }
	if err := json.Unmarshal([]byte(body), &ended); err != nil || status != 200 || ended.Status != "expired" || took < 1800*time.Millisecond {
		t.Fatalf("%d %s after %v", status, body, took)
	}
	for path, want := range map[string]string{
		"/v1/commands/" + ended.ID:              body,
		"/v1/commands/" + ended.ID + "/answers": `{"answers":[],"cursor":null}`,
		channel:                                 `{"channel":"devices/cam-1/commands","commands":[` + body + `],"cursor":null}`,
		"/v1/channels/devices/cam-2/commands":   `{"channel":"devices/cam-2","commands":[],"cursor":null}`,
	} {
		if status, got, _ := call("GET", path, ""); status != 200 || got != want {
			t.Errorf("%s: %d %s, want %s", path, status, got, want)
		}
	}
	if status, body, _ := call("DELETE", "/v1/commands/"+ended.ID, ""); status != 409 || !strings.HasPrefix(body, `{"error":"command_final"`) {
		t.Errorf("cancel what has ended: %d %s", status, body)
	}
	if status, body, _ := call("POST", channel, `{"data":1,"ttlMs":60000,"waitMs":0}`); status != 202 || !strings.Contains(body, `"status":"waiting"`) {
		t.Errorf("without waiting: %d %s", status, body)
	}
	redis.Freeze()
	defer redis.Thaw()
	if status, body, took := call("GET", "/v1/commands/"+ended.ID, ""); status != 503 || took > 4*time.Second {
		t.Errorf("while Redis hangs: %d %s after %v", status, body, took)
	}
}

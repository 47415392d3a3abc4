package aws

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// The publish function takes messages, alone and several at once. The history function reads them,
// and forgets them.
func TestHistory(t *testing.T) {
	redis := redistest.Start(t)
	publish := start(t, environment(t, redis.URL()), bootstrap(t, "publish", hostArch))
	history := start(t, environment(t, redis.URL()), bootstrap(t, "history", hostArch))
	call := func(f *function, method, path, body string, query map[string][]string) (int, string) {
		t.Helper()
		event := with(t, with(t, with(t, fixture(t, "alb-multi-2F"), "httpMethod", method), "path", path), "body", body)
		a := f.invoke(with(t, event, "multiValueQueryStringParameters", query))
		return a.StatusCode, a.Body
	}
	const state = "/v1/channels/devices%2Fcam-1%2Fstate"
	var first struct {
		Epoch  string
		Offset int
	}
	status, body := call(publish, "POST", state+"/publish", `{"data":1,"ifOffset":0,"idempotencyKey":"k"}`, nil)
	if err := json.Unmarshal([]byte(body), &first); err != nil || status != 200 || first.Offset != 1 {
		t.Fatalf("%d %s", status, body)
	}
	if status, again := call(publish, "POST", state+"/publish", `{"data":1,"ifOffset":0,"idempotencyKey":"k"}`, nil); status != 200 || again != body {
		t.Errorf("the same again: %d %s, want %s", status, again, body)
	}
	if status, body := call(publish, "POST", state+"/publish", `{"data":2,"ifOffset":0}`, nil); status != 412 || !strings.Contains(body, `"newest":{"offset":1,`) {
		t.Errorf("a version that is there: %d %s", status, body)
	}
	status, body = call(publish, "POST", "/v1/publish", `{"messages":[{"channel":"devices/cam-1/state","data":2},{"channel":"elsewhere","data":1},{"channel":"devices/cam-2/state","data":1}]}`, nil)
	if status != 200 || !strings.HasPrefix(body, fmt.Sprintf(`{"results":[{"channel":"devices/cam-1/state","subscribers":0,"epoch":%q,"offset":2},`, first.Epoch)) {
		t.Errorf("many: %d %s", status, body)
	}
	for _, path := range []string{state + "/messages", "/v1/channels/devices/cam-1/state/messages"} {
		since := map[string][]string{"since": {fmt.Sprintf("%s%%3A%d", first.Epoch, first.Offset)}}
		status, body := call(history, "GET", path, "", since)
		if want := fmt.Sprintf(`{"epoch":%q,"offset":2,"recovered":true,"messages":[{"offset":2,"at":`, first.Epoch); status != 200 || !strings.HasPrefix(body, want) {
			t.Errorf("%s: %d %s, want %s", path, status, body, want)
		}
	}
	if status, body := call(history, "DELETE", state+"/messages", "", nil); status != 200 || body != `{"channel":"devices/cam-1/state"}` {
		t.Errorf("forget: %d %s", status, body)
	}
	if status, body := call(history, "GET", state+"/messages", "", map[string][]string{"last": {"2"}}); status != 200 || body != fmt.Sprintf(`{"epoch":%q,"offset":2,"messages":[]}`, first.Epoch) {
		t.Errorf("afterwards: %d %s", status, body)
	}
	redis.Freeze()
	defer redis.Thaw()
	if status, body := call(history, "GET", state+"/messages", "", nil); status != 503 || !strings.HasPrefix(body, `{"error":"backend_error"`) {
		t.Errorf("while Redis hangs: %d %s", status, body)
	}
}

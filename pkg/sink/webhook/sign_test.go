package webhook

import (
	"strings"
	"testing"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/sink"
)

// The values are those that libraries of Standard Webhooks are tested with.
func TestSign(t *testing.T) {
	key, err := apps.WebhookKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	const id, at, body, want = "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", `{"test": 2432232314}`, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := sign([][]byte{key}, id, at, []byte(body)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	other := []byte(strings.Repeat("x", 24))
	if got := sign([][]byte{other, key}, id, at, []byte(body)); !strings.HasSuffix(got, " "+want) || strings.Count(got, "v1,") != 2 {
		t.Errorf("with two keys: %s", got)
	}
}

func TestIDIsThatOfTheMessages(t *testing.T) {
	a, b := sink.Message{ID: "1"}, sink.Message{ID: "2"}
	again := a
	again.Attempt = 7
	id := ID([]sink.Message{a, b})
	if id != ID([]sink.Message{again, b}) {
		t.Error("another try has another id")
	}
	if other := ID([]sink.Message{b, a}); other == id || len(other) != 30 {
		t.Errorf("other messages have the id %s", other)
	}
	if alone := ID([]sink.Message{a}); alone != "1" {
		t.Errorf("a message alone has %s", alone)
	}
}

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// rights is the command of the operations guide that makes a Redis user.
func rights(t *testing.T) []any {
	t.Helper()
	guide, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(guide)) {
		if rest, ok := strings.CutPrefix(line, "ACL SETUSER fleetwire on >PASSWORD "); ok {
			command := []any{"ACL", "SETUSER", "fleetwire", "on", ">secret"}
			for _, word := range strings.Fields(rest) {
				command = append(command, word)
			}
			return command
		}
	}
	t.Fatal("docs/operations.md does not say how to make a Redis user")
	return nil
}

// Everything works with the rights that the operations guide says are enough. With
// access to our own Redis channels alone, everything but wildcards does.
func TestLeastRightsInRedis(t *testing.T) {
	for _, wildcards := range []bool{true, false} {
		t.Run(fmt.Sprintf("wildcards %v", wildcards), func(t *testing.T) {
			key := newKey("rights", "**")
			seer := newKey("seer", "**").only("presence")
			app := newApp("app_rights", key, seer)
			app.Groups = []groupDoc{{Name: "ingest", Patterns: []string{"devices/*"}, MaxBytes: 1 << 20}}
			s := newSystem(t, app)
			s.redis = redistest.Start(t)
			command := rights(t)
			if !wildcards {
				command = append(command, "resetchannels", "&fw:*")
			}
			if err := s.redis.Client().Do(t.Context(), command...).Err(); err != nil {
				t.Fatal(err)
			}
			url := "redis://fleetwire:secret@" + s.redis.Addr()
			s.start(url, options{})
			s.start(url, options{})

			named := s.first().connect(t, key.token("named", nil)).subscribe("devices/a")
			other := s.last().connect(t, key.token("other", nil))
			if wildcards {
				other.subscribe("devices/*")
			} else {
				other.expectError(other.request(`"type":"subscribe","channel":"devices/*"`), "backend_error", "NOPERM", "PSUBSCRIBE")
			}
			if n := s.last().publish(t, key, "devices/a", `1`); n != 1 {
				t.Errorf("%d subscribers, want 1", n)
			}
			named.expectMessage("devices/a", "server", `1`)
			if wildcards {
				other.expectMessage("devices/a", "server", `1`)
			}
			other.publish("devices/a", `2`)
			named.expectMessage("devices/a", "other", `2`)
			if wildcards {
				other.subscribe("devices/b")
			}
			if got := s.last().peers(t, seer, "devices/a"); !strings.Contains(got, "named") {
				t.Errorf("who is in the channel: %s", got)
			}
			if got := s.last().pull(t, key, "ingest"); len(got) != 2 || s.first().ackAll(t, key, "ingest", got) != 2 {
				t.Errorf("a group got %+v", got)
			}
			for _, path := range []string{"/v1/usage", "/v1/usage/channels", "/v1/usage/peers"} {
				if a, err := s.last().call("GET", path, key.credential(), ""); err != nil || a.status != http.StatusOK {
					t.Errorf("%s: %d %s (%v)", path, a.status, a.body, err)
				}
			}
			if a, err := s.last().call("DELETE", "/v1/peers/named?revoke=true", key.credential(), ""); err != nil || a.status != http.StatusOK || !strings.Contains(a.body, `1`) {
				t.Errorf("disconnecting a peer: %d %s (%v)", a.status, a.body, err)
			}
			for _, n := range s.nodes {
				if status, why := n.ready(); status != http.StatusOK {
					t.Errorf("/readyz: %d %s", status, why)
				}
			}
			if text := s.log.String(); strings.Contains(text, "level=ERROR") || strings.Contains(text, "link to redis is down") {
				t.Errorf("the log reports trouble:\n%s", s.log.tail())
			}
		})
	}
}

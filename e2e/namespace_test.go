package e2e

import (
	"encoding/json"
	"fmt"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// Two deployments on one Redis server share nothing if the database or the prefix
// differs: no message, no direct message, no presence, no disconnect, no count.
func TestDeploymentsAreApart(t *testing.T) {
	for name, tt := range map[string]struct{ ownURL, otherURL, otherPrefix string }{
		"databases": {"/0", "/1", ""},
		"prefixes":  {"/0", "/0", "fw2"},
		"both":      {"/1", "/11", "f"},
	} {
		t.Run(name, func(t *testing.T) {
			key := newKey("apart", "**").only(everyAction...)
			doc := newApp("app_apart", key)
			redis := redistest.Start(t)
			own, other := newSystem(t, doc), newSystem(t, doc)
			own.start(redis.URL()+tt.ownURL, options{})
			other.start(redis.URL()+tt.otherURL, options{redisPrefix: tt.otherPrefix})
			keepApart(t, key, "camera-1", own.first(), other.first())
			keepApart(t, key, "camera-2", other.first(), own.first())
		})
	}
}

// keepApart has a fleet on one node, and everything on the other that could reach it.
func keepApart(t *testing.T, key *keyDoc, peer string, own, other *node) {
	t.Helper()
	const c = "devices/1/events"
	camera := watch(own.connect(t, key.token(peer, nil))).enter(c)
	wild := watch(own.connect(t, key.token("wild", nil)))
	wild.subscribe("**")

	foreign := watch(other.connect(t, key.token("stranger", nil))).enter(c)
	if got := foreign.list(c); got != "stranger" {
		t.Errorf("across deployments %q are there", got)
	}
	if n := other.publish(t, key, c, `"by REST"`); n != 1 {
		t.Errorf("%d subscribers, want the one of its own deployment", n)
	}
	foreign.expectMessage(c, "server", `"by REST"`)
	foreign.send(`{"type":"send","to":"` + peer + `","requestId":"d","data":1}`)
	foreign.expectError("d", "peer_not_found")
	if a, err := other.call("DELETE", "/v1/peers/"+peer+"?revoke=true", key.credential(), ""); err != nil || a.body != `{"peerId":"`+peer+`","closed":0}` {
		t.Errorf("DELETE of a peer of another deployment: %s %v", a.body, err)
	}
	own.connect(t, key.token(peer, nil)).leave() // nor is its token revoked
	var usage struct{ ConcurrentNow, MessagesUsed int }
	a, err := other.call("GET", "/v1/usage", key.credential(), "")
	if err != nil || json.Unmarshal([]byte(a.body), &usage) != nil || usage.ConcurrentNow != 1 {
		t.Errorf("usage: %s %v", a.body, err)
	}
	foreign.leave()

	// Nothing of that is before the next message of its own.
	camera.publish(c, `"own"`)
	wild.expectMessage(c, peer, `"own"`)
	camera.alive()
	camera.leave()
	wild.leave()
	eventually(t, "nobody is left", patience, func() bool {
		return own.peers(t, key, c) == "" && other.peers(t, key, c) == ""
	})
}

// Names that are made of what topics are made of reach nobody else, and are not
// taken for others: not with wildcards that would match them, and not in counts.
func TestNamesThatLookLikeTopics(t *testing.T) {
	key := newKey("topics", "**").only(everyAction...)
	onEachRedis(t, []*appDoc{newApp("app_topics", key)}, func(t *testing.T, s *system) {
		watcher := s.first().connect(t, key.token("watcher", nil)).subscribe("devices/**", "**", "*}:msg:*", "}:peer:**")
		sender := s.last().connect(t, key.token("sender", nil))
		for i, peer := range []string{
			"x}:msg:devices/y", "}:peer:*", "a*", "**", "{", "}", "fw:0:msg:{app_topics.021}:devices/y", "{app_topics.021}:devices/y", "}:devices/y", "*}:*", "?", "[a-z]",
		} {
			request := fmt.Sprint("r", i)
			sender.send(`{"type":"send","to":` + quoted(peer) + `,"requestId":"` + request + `","data":1}`)
			sender.expectError(request, "peer_not_found")
			disconnect := func(closed int) {
				t.Helper()
				a, err := s.last().call("DELETE", "/v1/peers/"+escaped(peer), key.credential(), "")
				if want := fmt.Sprintf(`{"peerId":%s,"closed":%d}`, quoted(peer), closed); err != nil || a.status != 200 || a.body != want {
					t.Errorf("DELETE %s: %d %s, %v, want %s", peer, a.status, a.body, err, want)
				}
			}
			disconnect(0)
			connected := s.first().connect(t, key.token(peer, nil))
			sender.send(`{"type":"send","to":` + quoted(peer) + `,"requestId":"` + request + `","data":2}`)
			sender.expect(`{"type":"ack","requestId":"` + request + `"}`)
			connected.expect(direct("sender", "2"))
			disconnect(1)
			connected.expectClose(4020)
		}
		for _, c := range []string{"x}:msg:devices/y", "}:peer:watcher", "}:presence:devices/y"} {
			sender.publish(c, "1")
			watcher.expectMessage(c, "sender", "1")
		}
		watcher.alive()
	})
}

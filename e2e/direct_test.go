package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func direct(from, data string) string {
	return `{"type":"direct","from":` + quoted(from) + `,"data":` + data + `}`
}

// A send reaches every connection of the peer, on every node, and nobody else
// (protocol §4.2), from the moment the peer has its welcome.
func TestDirect(t *testing.T) {
	key, foreign := newKey("direct", "**"), newKey("direct_foreign", "**")
	docs := []*appDoc{newApp("app_direct", key), newApp("app_direct_foreign", foreign)}
	onEachRedis(t, docs, func(t *testing.T, s *system) {
		sender := s.first().connect(t, key.token("control", claims{"peerMetadata": map[string]int{"v": 2}, "channels": []string{}}))
		rich := func(data string) string {
			return `{"type":"direct","from":"control","fromMetadata":{"v":2},"data":` + data + `}`
		}
		here, there := s.first().connect(t, key.token("camera", nil)), s.last().connect(t, key.token("camera", nil))
		bystander := s.last().connect(t, key.token("bystander", nil)).subscribe("**")
		alike := s.last().connect(t, foreign.token("camera", nil))

		for i, data := range []string{`null`, `1.0`, `{"a": [1,2 ]}`, `"` + strings.Repeat("x", 60_000) + `"`} {
			id := fmt.Sprint("d", i)
			sender.send(`{"type":"send","to":"camera","requestId":"` + id + `","data":` + data + `}`)
			sender.expect(`{"type":"ack","requestId":"` + id + `"}`)
			here.expect(rich(data))
			there.expect(rich(data))
		}
		// In the order sent, mixed with what goes to channels in theirs.
		there.subscribe("devices/a")
		for i := range 100 {
			sender.send(fmt.Sprintf(`{"type":"send","to":"camera","data":%d}`, i))
		}
		for i := range 100 {
			here.expect(rich(fmt.Sprint(i)))
			there.expect(rich(fmt.Sprint(i)))
		}
		// To its own id: all of its connections, this one as well.
		here.send(`{"type":"send","to":"camera","data":"self"}`)
		here.expect(direct("camera", `"self"`))
		there.expect(direct("camera", `"self"`))

		// Only while it is connected.
		there.leave()
		sender.send(`{"type":"send","to":"camera","requestId":"one","data":1}`)
		sender.expect(`{"type":"ack","requestId":"one"}`)
		here.expect(rich("1"))
		here.leave()
		eventually(t, "peer_not_found once the peer has left both nodes", patience, func() bool {
			sender.send(`{"type":"send","to":"camera","requestId":"gone","data":1}`)
			return strings.Contains(sender.next(), `"code":"peer_not_found"`)
		})
		again := s.last().connect(t, key.token("camera", nil))
		sender.send(`{"type":"send","to":"camera","requestId":"back","data":2}`)
		sender.expect(`{"type":"ack","requestId":"back"}`)
		again.expect(rich("2"))

		bystander.alive()
		alike.alive()
	})
}

// Sends count like publishes, found or not (protocol §5: attempts), and stop
// at the same cap.
func TestDirectQuota(t *testing.T) {
	key := newKey("direct_quota", "**")
	app := newApp("app_direct_quota", key)
	app.Plan.Messages = 3
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		a := s.first().connect(t, key.token("a", nil))
		b := s.last().connect(t, key.token("b", nil))
		a.send(`{"type":"send","to":"b","data":1}`)
		b.expect(direct("a", "1"))
		a.send(`{"type":"send","to":"nobody","requestId":"n","data":1}`)
		a.expectError("n", "peer_not_found")
		a.send(`{"type":"publish","channel":"c","requestId":"p","data":1}`)
		a.expect(`{"type":"ack","requestId":"p"}`)
		a.send(`{"type":"send","to":"b","requestId":"over","data":2}`)
		a.expectError("over", "over_message_quota")
		b.alive() // and did not get it
	})
}

// A refresh changes the scope at once, names what it drops, and moves the expiry
// (protocol §4.2).
func TestRefresh(t *testing.T) {
	key := newKey("refresh", "devices/**")
	onEachRedis(t, []*appDoc{newApp("app_refresh", key)}, func(t *testing.T, s *system) {
		soon := time.Now().Add(3 * time.Second).Unix()
		device := s.first().connect(t, key.token("camera", claims{"exp": soon, "channels": []string{"devices/a", "devices/b/*"}}))
		device.subscribe("devices/a").subscribe("devices/b/*")

		later := time.Now().Add(time.Hour).Unix()
		refresh := func(c claims) string {
			return `{"type":"refresh","requestId":"r","token":"` + key.token("camera", c) + `"}`
		}
		ack := func(exp int64, unsubscribed string) string {
			return fmt.Sprintf(`{"type":"ack","requestId":"r","expiresAt":%d,"unsubscribed":[%s]}`, exp, unsubscribed)
		}
		device.send(refresh(claims{"exp": later, "channels": []string{"devices/c", "devices/b/*"}}))
		device.expect(ack(later, `"devices/a"`))
		if n := s.last().publish(t, key, "devices/a", `"not for you"`); n != 0 {
			t.Errorf("%d subscribers of a channel that was dropped", n)
		}
		s.last().publish(t, key, "devices/b/1", `"still for you"`)
		device.expectMessage("devices/b/1", "server", `"still for you"`)
		device.subscribe("devices/c") // wider, too

		device.send(refresh(claims{"exp": later, "permissions": []string{"publish"}}))
		device.expect(ack(later, `"devices/b/*","devices/c"`))
		device.send(`{"type":"subscribe","requestId":"s","channel":"devices/c"}`)
		device.expectError("s", "action_not_permitted", "subscribe")

		// Past the first token's expiry the connection is still there; at the last
		// one's it is closed.
		soon = time.Now().Add(2 * time.Second).Unix()
		device.send(refresh(claims{"exp": soon}))
		device.expect(ack(soon, ""))
		device.expectClose(4002)
		if early := time.Until(time.Unix(soon, 0)); early > 400*time.Millisecond {
			t.Errorf("closed %v before the token expires, want 250 ms", early)
		}
	})
}

// DELETE /v1/peers/{peer} closes all of a peer's connections, on every node, and
// counts them (protocol §5); with revoke its tokens are of no use any more.
func TestDisconnectPeer(t *testing.T) {
	key, foreign := newKey("disconnect", "**"), newKey("disconnect_foreign", "**")
	docs := []*appDoc{newApp("app_disconnect", key), newApp("app_disconnect_foreign", foreign)}
	onEachRedis(t, docs, func(t *testing.T, s *system) {
		disconnect := func(n *node, peer, query string, closed int) {
			t.Helper()
			a, err := n.call("DELETE", "/v1/peers/"+escaped(peer)+query, key.credential(), "")
			if want := fmt.Sprintf(`{"peerId":%s,"closed":%d}`, quoted(peer), closed); err != nil || a.status != 200 || a.body != want {
				t.Errorf("DELETE %s%s: %d %s, %v, want %s", peer, query, a.status, a.body, err, want)
			}
		}
		old := key.token("camera/1", claims{"iat": time.Now().Unix()})
		one, two, three := s.first().connect(t, old), s.first().connect(t, old), s.last().connect(t, old)
		one.subscribe("a")
		other := s.last().connect(t, key.token("camera", nil))
		alike := s.last().connect(t, foreign.token("camera/1", nil))
		disconnect(s.last(), "camera/1", "", 3)
		for _, c := range []*socket{one, two, three} {
			c.expectClose(4020, "operator")
		}
		disconnect(s.first(), "camera/1", "", 0)
		disconnect(s.first(), "nobody", "?revoke=false", 0)

		// It may come back, until its tokens are revoked.
		back := s.last().connect(t, old)
		disconnect(s.first(), "camera/1", "?revoke=true", 1)
		back.expectClose(4020)
		s.first().refused(t, "token="+old, 4001, "revoked")
		s.last().refused(t, "token="+key.token("camera/1", nil), 4001, "revoked") // without iat
		fresh := key.token("camera/1", claims{"iat": time.Now().Add(2 * time.Second).Unix()})
		back = s.last().connect(t, fresh)
		back.send(`{"type":"refresh","requestId":"r","token":"` + old + `"}`)
		back.expectError("r", "invalid_token", "revoked")
		back.alive()
		other.alive()
		alike.alive()
	})
}

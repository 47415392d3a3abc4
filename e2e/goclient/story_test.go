package goclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/redisconn/redistest"
)

// TestService runs the client against the service: one node on a Redis of its own,
// and two nodes on a real one, where senders and receivers sit on different nodes.
func TestService(t *testing.T) {
	t.Run("one process with an embedded Redis", func(t *testing.T) {
		s := newService(t, "")
		testService(t, s, s)
	})
	t.Run("two nodes on one Redis", func(t *testing.T) {
		url := redistest.Start(t).URL()
		testService(t, newService(t, url), newService(t, url))
	})
}

func testService(t *testing.T, a, b *service) {
	t.Run("messages", func(t *testing.T) {
		camera, ingester := a.as(t, "camera-001"), b.as(t, "ingester")
		exact := ingester.listen("devices/camera-001/events")
		wild := ingester.listen("devices/*/events")
		own := camera.listen("devices/camera-001/events")
		for n := range 100 {
			camera.publish("devices/camera-001/events", map[string]int{"seq": n})
		}
		camera.publish("devices/camera-002/events", json.RawMessage(`{ "big": 12345678901234567890, "html": "<&>" }`))
		for n := range 100 {
			for _, got := range []<-chan client.Message{exact, wild} {
				m := next(t, got)
				if want := fmt.Sprintf(`{"seq":%d}`, n); string(m.Data) != want || m.From != "camera-001" || m.Channel != "devices/camera-001/events" {
					t.Fatalf("message %d is %+v", n, m)
				}
			}
		}
		if m := next(t, wild); string(m.Data) != `{ "big": 12345678901234567890, "html": "<&>" }` {
			t.Errorf("not byte for byte: %s", m.Data)
		}
		// All that was sent is there by now, and none of it came to the sender.
		ingester.publish("devices/camera-001/events", "last")
		if m := next(t, own); string(m.Data) != `"last"` {
			t.Errorf("the camera heard %+v of its own", m)
		}
	})

	t.Run("sender metadata", func(t *testing.T) {
		camera := connect(t, client.Options{URL: a.url, Token: a.rest().Tokens(client.TokenRequest{Peer: "camera-001", PeerMetadata: map[string]int{"site": 7}})})
		with := b.as(t, "with").listen("devices/camera-001/events", client.WithSenderMetadata())
		without := b.as(t, "without").listen("devices/camera-001/events")
		camera.publish("devices/camera-001/events", 1)
		if m := next(t, with); string(m.SenderMetadata) != `{"site":7}` {
			t.Errorf("metadata %s", m.SenderMetadata)
		}
		if m := next(t, without); m.SenderMetadata != nil {
			t.Errorf("metadata %s, unasked", m.SenderMetadata)
		}
	})

	t.Run("unsubscribe", func(t *testing.T) {
		camera, control := a.as(t, "camera-001"), b.as(t, "control")
		left := camera.listen("fleets/f1/commands")
		still := camera.listen("fleets/f2/commands")
		if err := camera.Unsubscribe(background(t), "fleets/f1/commands"); err != nil {
			t.Fatal(err)
		}
		control.publish("fleets/f1/commands", 1)
		control.publish("fleets/f2/commands", 2)
		next(t, still)
		if len(left) > 0 {
			t.Errorf("a message came after Unsubscribe: %+v", <-left)
		}
	})

	t.Run("refusals", func(t *testing.T) {
		ctx := background(t)
		scoped := connect(t, client.Options{URL: a.url, Token: a.rest().Tokens(client.TokenRequest{
			Peer: "camera-001", Channels: []string{"devices/camera-001/**"}, Permissions: []string{"subscribe"}})})
		nothing := func(client.Message) {}
		for _, tt := range []struct {
			name string
			err  error
			want protocol.Code
		}{
			{"another's channel", scoped.Subscribe(ctx, "devices/camera-002/commands", nothing), protocol.ChannelNotAuthorized},
			{"too wide a pattern", scoped.Subscribe(ctx, "devices/*/commands", nothing), protocol.ChannelNotAuthorized},
			{"a reserved channel", scoped.Subscribe(ctx, "_internal/x", nothing), protocol.ChannelReserved},
			{"no permission", scoped.Publish(ctx, "devices/camera-001/events", 1), protocol.ActionNotPermitted},
		} {
			if client.CodeOf(tt.err) != tt.want {
				t.Errorf("%s: %v, want %s", tt.name, tt.err, tt.want)
			}
		}
		if err := scoped.PublishNoAck(ctx, "devices/camera-001/events", 1); err != nil {
			t.Error(err)
		}
		if err := <-scoped.errs; client.CodeOf(err) != protocol.ActionNotPermitted {
			t.Errorf("reported %v", err)
		}
		for n := range protocol.MaxSubscriptions {
			scoped.listen("devices/camera-001/" + strconv.Itoa(n))
		}
		if err := scoped.Subscribe(ctx, "devices/camera-001/one-more", nothing); client.CodeOf(err) != protocol.ChannelLimitExceeded {
			t.Errorf("subscription 101: %v", err)
		}
	})

	t.Run("the quota", func(t *testing.T) {
		poor := connect(t, client.Options{URL: a.url, Token: client.StaticToken(sign("sk_live_poor", jwt.MapClaims{"sub": "a"}))})
		poor.publish("c", 1)
		if err := poor.Publish(background(t), "c", 2); client.CodeOf(err) != protocol.OverMessageQuota {
			t.Errorf("the second message of one: %v", err)
		}
	})

	t.Run("a publishable key", func(t *testing.T) {
		page := connect(t, client.Options{URL: a.url, PublishableKey: publishable})
		if w := page.until(client.Connected).Welcome; !w.ExpiresAt.IsZero() || w.PeerID == "" {
			t.Errorf("welcome %+v", w)
		}
		got := page.listen("fleets/f1/status")
		b.as(t, "backend").publish("fleets/f1/status", "green")
		next(t, got)
	})

	t.Run("many goroutines", func(t *testing.T) {
		const senders, each = 16, 50
		camera := a.as(t, "camera-001")
		got := b.as(t, "ingester").listen("devices/**")
		var running sync.WaitGroup
		for s := range senders {
			running.Go(func() {
				name := "devices/" + strconv.Itoa(s)
				if err := camera.Subscribe(background(t), name+"/x", func(client.Message) {}); err != nil {
					t.Error(err)
				}
				for n := range each {
					if err := camera.Publish(background(t), name, n); err != nil {
						t.Error(err)
					}
				}
				if err := camera.Unsubscribe(background(t), name+"/x"); err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		seen := map[string]int{}
		for range senders * each {
			m := next(t, got)
			if string(m.Data) != strconv.Itoa(seen[m.Channel]) {
				t.Fatalf("%s: %s after %d messages", m.Channel, m.Data, seen[m.Channel])
			}
			seen[m.Channel]++
		}
	})

	t.Run("a new token when the old one ends", func(t *testing.T) {
		var calls, tokens atomic.Int32
		end := time.Now().Add(3 * time.Second).Truncate(time.Second)
		camera := connect(t, client.Options{URL: a.url, Token: func(context.Context) (string, error) {
			expires := end
			switch calls.Add(1) {
			case 1:
			case 2: // the refresh; the next attempt at one would come after the token's end
				return "", errors.New("not yet")
			default:
				expires = end.Add(time.Hour)
			}
			tokens.Add(1)
			return sign(keyID, jwt.MapClaims{"sub": "camera-001", "exp": expires.Unix()}), nil
		}})
		got := camera.listen("fleets/f1/commands")
		camera.until(client.Live)
		c := camera.until(client.Waiting)
		if client.CloseCodeOf(c.Err) != protocol.CloseExpired || c.RetryIn != 0 {
			t.Errorf("ended with %v, next attempt in %v; want 4002, at once", c.Err, c.RetryIn)
		}
		camera.until(client.Live)
		b.as(t, "control").publish("fleets/f1/commands", "still there?")
		next(t, got)
		if n := tokens.Load(); n != 2 {
			t.Errorf("%d tokens were asked for, want 2", n)
		}
	})

	t.Run("a new token before the old one ends", func(t *testing.T) {
		var tokens atomic.Int32
		end := time.Now().Add(5 * time.Second).Truncate(time.Second)
		camera := connect(t, client.Options{URL: a.url, Token: func(context.Context) (string, error) {
			return sign(keyID, jwt.MapClaims{"sub": "camera-001", "exp": end.Add(time.Duration(tokens.Add(1)-1) * time.Hour).Unix()}), nil
		}})
		got := camera.listen("fleets/f1/commands")
		<-time.After(time.Until(end)) // past which the first token alone is of no use
		b.as(t, "control").publish("fleets/f1/commands", "still there?")
		next(t, got)
		for len(camera.changes) > 0 {
			if c := <-camera.changes; c.State == client.Waiting {
				t.Errorf("the connection was lost: %v", c.Err)
			}
		}
		if n := tokens.Load(); n != 2 {
			t.Errorf("%d tokens were asked for, want 2", n)
		}
	})

	t.Run("peers", func(t *testing.T) {
		ctx := background(t)
		direct := make(chan client.Message, 10)
		camera := connect(t, client.Options{
			URL: a.url, OnDirect: func(m client.Message) { direct <- m },
			Token: a.rest().Tokens(client.TokenRequest{Peer: "camera-007", PeerMetadata: map[string]int{"site": 7}}),
		})
		control := b.as(t, "control")
		seen := make(chan client.Presence, 100)
		control.listen("fleets/f7/commands", client.WithPresence(func(p client.Presence) { seen <- p }))
		until := func(what string, is func(client.Presence) bool) {
			t.Helper()
			timeout := time.After(patience)
			for {
				select {
				case p := <-seen:
					if is(p) {
						return
					}
				case <-timeout:
					t.Fatalf("no presence that says: %s", what)
				}
			}
		}
		in := func(members []client.Member, peer, metadata string) bool {
			return slices.ContainsFunc(members, func(m client.Member) bool { return m.Peer == peer && string(m.Metadata) == metadata })
		}
		until("control itself is there", func(p client.Presence) bool { return in(p.Joined, "control", "") })
		camera.listen("fleets/f7/commands")
		until("the camera joins", func(p client.Presence) bool { return in(p.Joined, "camera-007", `{"site":7}`) })
		members, err := b.rest().Members(ctx, "fleets/f7/commands")
		if err != nil || len(members) != 2 || !in(members, "camera-007", `{"site":7}`) || !in(members, "control", "") {
			t.Errorf("members %+v, %v", members, err)
		}

		if err := control.Send(ctx, "camera-007", map[string]string{"cmd": "reboot"}); err != nil {
			t.Error(err)
		}
		if m := next(t, direct); m.Channel != "" || m.From != "control" || string(m.Data) != `{"cmd":"reboot"}` {
			t.Errorf("sent: %+v", m)
		}
		if err := control.Send(ctx, "nobody", 1); client.CodeOf(err) != protocol.PeerNotFound {
			t.Errorf("sent to nobody: %v", err)
		}

		closed, err := b.rest().Disconnect(ctx, "camera-007", false)
		if err != nil || closed != 1 {
			t.Errorf("%d closed, %v", closed, err)
		}
		<-camera.Done()
		if client.CloseCodeOf(camera.Err()) != protocol.CloseDisconnected {
			t.Errorf("the camera stopped with %v", camera.Err())
		}
		until("the camera leaves", func(p client.Presence) bool {
			return in(p.Left, "camera-007", `{"site":7}`) || in(p.Left, "camera-007", "")
		})
		if closed, err := b.rest().Disconnect(ctx, "camera-007", true); err != nil || closed != 0 {
			t.Errorf("again: %d closed, %v", closed, err)
		}
		revoked := client.StaticToken(sign(keyID, jwt.MapClaims{"sub": "camera-007"}))
		if _, err := client.Dial(ctx, client.Options{URL: a.url, Token: revoked}); client.CloseCodeOf(err) != protocol.CloseInvalidCredential {
			t.Errorf("a revoked peer: %v", err)
		}
	})

	t.Run("terminal close codes", func(t *testing.T) {
		for name, tt := range map[string]struct {
			token string
			want  protocol.CloseCode
		}{
			"no token at all":         {"not-a-jwt", protocol.CloseInvalidCredential},
			"a key that is not there": {sign("sk_live_none", jwt.MapClaims{"sub": "a"}), protocol.CloseInvalidCredential},
			"more than the key has":   {sign(keyID, jwt.MapClaims{"sub": "a", "channels": []string{"other/**"}}), protocol.CloseChannelNotCovered},
			"a suspended app":         {sign("sk_live_off", jwt.MapClaims{"sub": "a"}), protocol.CloseSuspended},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := client.Dial(background(t), client.Options{URL: a.url, Token: client.StaticToken(tt.token)})
				if client.CloseCodeOf(err) != tt.want {
					t.Errorf("the client stopped with %v, want close code %d", err, tt.want)
				}
			})
		}
	})
}

// The client's own pace keeps it below the service's limit, which would close the
// connection with 4011.
func TestPaceKeepsTheConnection(t *testing.T) {
	s := newService(t, "")
	token := sign("sk_live_plain", jwt.MapClaims{"sub": "a"})
	d := connect(t, client.Options{URL: s.url, Token: client.StaticToken(token), FramesPerSecond: 95})
	got := connect(t, client.Options{URL: s.url, Token: client.StaticToken(token)}).listen("c")
	for n := range 400 {
		if err := d.PublishNoAck(background(t), "c", n); err != nil {
			t.Fatalf("frame %d: %v", n, err)
		}
	}
	for n := range 400 {
		if m := next(t, got); string(m.Data) != strconv.Itoa(n) {
			t.Fatalf("message %d is %s", n, m.Data)
		}
	}
	if len(d.errs) > 0 {
		t.Error(<-d.errs)
	}
}

// TestRollingRestart replaces a node under connected clients, as a deployment does:
// they move to the other one, and no subscription is lost.
func TestRollingRestart(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*service)
		want protocol.CloseCode // 0: no close frame
	}{
		{"drained", (*service).stop, protocol.CloseGoingAway},
		{"killed", (*service).kill, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := redistest.Start(t).URL()
			a, b := newService(t, url), newService(t, url)
			balancer := newProxy(t, a)
			camera := connect(t, client.Options{URL: balancer.url, Token: a.rest().Tokens(client.TokenRequest{Peer: "camera-001"})})
			got := camera.listen("fleets/*/commands")
			const channels = 50
			var commands [channels]<-chan client.Message
			for n := range channels {
				commands[n] = camera.listen(fmt.Sprintf("devices/%d/commands", n))
			}
			camera.until(client.Live)

			balancer.point(b)
			tt.end(a)
			if tt.want != 0 {
				camera.until(client.GoingAway)
			}
			c := camera.until(client.Waiting)
			if client.CloseCodeOf(c.Err) != tt.want {
				t.Errorf("the connection ended with %v, want close code %d", c.Err, tt.want)
			}
			camera.until(client.Live)
			for n := range channels {
				heard, err := b.rest().Publish(background(t), fmt.Sprintf("devices/%d/commands", n), n)
				// A killed node is counted until Redis has noticed.
				if err != nil || heard < 1 {
					t.Errorf("channel %d: %d subscribers, %v", n, heard, err)
				}
				if m := next(t, commands[n]); string(m.Data) != strconv.Itoa(n) {
					t.Errorf("channel %d: %s", n, m.Data)
				}
			}
			if _, err := b.rest().Publish(background(t), "fleets/f1/commands", "reboot", client.From("control")); err != nil {
				t.Error(err)
			}
			if m := next(t, got); string(m.Data) != `"reboot"` || m.From != "control" {
				t.Errorf("message %+v", m)
			}
			camera.publish("devices/camera-001/events", "back")
			if len(camera.errs) > 0 {
				t.Error(<-camera.errs)
			}
		})
	}
}

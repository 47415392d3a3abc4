package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The message cap is exact (protocol §6): many connections on all nodes and
// REST calls race for the last messages; exactly as many as the plan has are
// accepted and delivered, and Redis has counted every attempt. Who is refused
// stays connected and goes on receiving.
func TestQuotaRace(t *testing.T) {
	const most, connections, frames, callers, calls = 500, 30, 40, 10, 30
	const attempts = connections*frames + callers*calls // 1,500

	key := newKey("race", "**")
	app := newApp("app_race", key)
	app.Plan.Messages = most
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		ear := s.last().connect(t, key.token("ear", nil)).subscribe("a")
		var senders []*socket
		for i := range connections {
			senders = append(senders, s.nodes[i%len(s.nodes)].connect(t, key.token("sender", nil)).subscribe("after"))
		}
		var accepted, refused atomic.Int64
		failed := make(chan error, connections+callers)
		var start sync.WaitGroup
		start.Add(1)
		for _, sender := range senders {
			go func() {
				start.Wait()
				failed <- sender.race(frames, &accepted, &refused)
			}()
		}
		for i := range callers {
			go func() {
				start.Wait()
				failed <- s.nodes[i%len(s.nodes)].race(key, calls, &accepted, &refused)
			}()
		}
		start.Done()
		for range connections + callers {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		if a, r := accepted.Load(), refused.Load(); a != most || a+r != attempts {
			t.Errorf("%d accepted and %d refused, want %d and %d", a, r, most, attempts-most)
		}
		if s.client != nil {
			if used := s.messagesUsed(t, "app_race"); used != attempts {
				t.Errorf("the counter in Redis is %d, want %d: every attempt", used, attempts)
			}
		}

		// With a larger plan a marker gets through, and shows what did before it.
		app := *app
		app.Plan.Messages = 1_000_000
		s.apps.Replace(directory(t, &app))
		s.first().publish(t, key, "a", `"marker"`)
		s.first().publish(t, key, "after", `"still here"`)
		for i := range most {
			if frame := ear.next(); frame == message("a", "server", `"marker"`) {
				t.Fatalf("%d messages were delivered, want %d", i, most)
			}
		}
		ear.expectMessage("a", "server", `"marker"`)
		for _, sender := range senders {
			sender.expectMessage("after", "server", `"still here"`)
			sender.alive()
		}
	})
}

var overQuotaFrame = regexp.MustCompile(`^\{"type":"error","requestId":"[0-9]+","code":"over_message_quota","message":"[^"]+"\}$`)

// race publishes as fast as it can, and counts the answers.
func (s *socket) race(frames int, accepted, refused *atomic.Int64) error {
	for i := range frames {
		if err := s.write(fmt.Sprintf(`{"type":"publish","channel":"a","data":1,"requestId":"%d"}`, i)); err != nil {
			return err
		}
	}
	for range frames {
		frame, err := s.read()
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(frame, `{"type":"ack",`):
			accepted.Add(1)
		case overQuotaFrame.MatchString(frame):
			refused.Add(1)
		default:
			return fmt.Errorf("neither ack nor over_message_quota: %s", frame)
		}
	}
	return nil
}

func (n *node) race(key *keyDoc, calls int, accepted, refused *atomic.Int64) error {
	for range calls {
		a, err := n.call("POST", "/v1/channels/a/publish", key.credential(), `{"data":1}`)
		wait, bad := strconv.Atoi(a.header.Get("Retry-After"))
		switch {
		case err != nil:
			return err
		case a.status == 200:
			accepted.Add(1)
		case a.status != 429 || !strings.HasPrefix(a.body, `{"error":"over_message_quota","message":"`):
			return fmt.Errorf("neither 200 nor over_message_quota: %d %s", a.status, a.body)
		case bad != nil || wait < 1 || wait > 31*24*3600:
			return fmt.Errorf("Retry-After %q, want the seconds until the month ends", a.header.Get("Retry-After"))
		default:
			refused.Add(1)
		}
	}
	return nil
}

// messagesUsed reads the app's counter of this month.
func (s *system) messagesUsed(t *testing.T, appID string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	rdb := s.client()
	name := "fw:{" + appID + "}:messages:" + time.Now().UTC().Format("2006-01")
	used, err := rdb.Get(ctx, name).Int()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if left, err := rdb.TTL(ctx, name).Result(); err != nil || left <= 0 {
		t.Errorf("%s does not expire: %v, %v", name, left, err)
	}
	return used
}

// With overages both allowed and enabled, nothing is dropped or turned away;
// with only one of the two, the caps hold.
func TestOverages(t *testing.T) {
	for _, c := range []struct {
		allowed, enabled, passes bool
	}{{true, true, true}, {true, false, false}, {false, true, false}} {
		t.Run(fmt.Sprintf("allowed %v, enabled %v", c.allowed, c.enabled), func(t *testing.T) {
			key := newKey("over", "**")
			app := newApp("app_over", key)
			app.Plan = planDoc{Name: "p", Connections: 1, Messages: 2, Allowed: c.allowed, Enabled: c.enabled}
			s := startEmbedded(t, app)
			device := s.first().connect(t, key.token("p", nil))
			device.publish("a", "1")
			device.publish("a", "2")
			if !c.passes {
				device.expectError(device.request(`"type":"publish","channel":"a","data":3`), "over_message_quota", "2 messages")
				s.first().refused(t, "token="+key.token("p", nil), 4010)
				return
			}
			device.publish("a", "3")
			s.first().publish(t, key, "a", "4")
			s.first().connect(t, key.token("p", nil)).alive()
		})
	}
}

// What is refused for another reason than the quota costs no message.
func TestRefusedMessagesCostNothing(t *testing.T) {
	key := newKey("frugal", "devices/**")
	app := newApp("app_frugal", key)
	app.Plan.Messages = 1
	s := startEmbedded(t, app)
	device := s.first().connect(t, key.token("p", nil)).subscribe("devices/a")
	for _, channel := range []string{"elsewhere", "", "_system/a", "devices/*", "devices/.."} {
		device.request(`"type":"publish","data":1,"channel":` + quoted(channel))
		if frame := device.next(); !strings.HasPrefix(frame, `{"type":"error"`) {
			t.Errorf("%q: %s", channel, frame)
		}
	}
	device.publish("devices/a", "1")
	device.expectError(device.request(`"type":"publish","channel":"devices/a","data":1`), "over_message_quota")
}

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

// A channel that remembers its messages remembers no command, and a command has no offset.
// A new subscriber gets the remembered messages first, then the waiting commands.
func TestCommandsAreNotRemembered(t *testing.T) {
	key := newKey("forgets", "**")
	onEachRedis(t, []*appDoc{remembering("app_forgets", 10, key)}, func(t *testing.T, s *system) {
		const channel = "log/commands"
		s.first().publish(t, key, channel, `"first"`)
		id := s.last().command(t, key, channel, "1", `,"waitMs":0,"ttlMs":60000`).ID
		s.first().publish(t, key, channel, `"second"`)
		cam := s.last().connect(t, key.token("hall", nil))
		if ack := cam.answer(joining(channel, `,"last":10`)); ack.Offset != 2 {
			t.Errorf("the ack's offset is %d, want 2", ack.Offset)
		}
		cam.expect(remembered(channel, "server", `"first"`, 1, replayed))
		cam.expect(remembered(channel, "server", `"second"`, 2, replayed))
		cam.expectCommand(channel, "1", id, 1, true)
		cam.answers(id, "")
		s.first().publish(t, key, channel, `"third"`)
		cam.expect(remembered(channel, "server", `"third"`, 3, ""))
		a, err := s.first().call("GET", "/v1/channels/"+escaped(channel)+"/messages", key.credential(), "")
		var page struct{ Messages []struct{ Data string } }
		if err != nil || json.Unmarshal([]byte(a.body), &page) != nil || len(page.Messages) != 3 {
			t.Errorf("remembered are %s, %v; want three messages", a.body, err)
		}
	})
}

// A peer answers from any of its connections, on any node, and after a reconnect. It needs no
// action for that, and uses up no message.
func TestAnswersNeedNoActionAndNoQuota(t *testing.T) {
	key := newKey("answers", "**")
	app := newApp("app_answers", key)
	app.Plan.Messages = 3
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		listens := key.token("hall", claims{"permissions": []string{"subscribe"}})
		mute := key.token("hall", claims{"permissions": []string{}, "channels": []string{}})
		cam := s.first().connect(t, listens).subscribe(hall)
		other := s.last().connect(t, mute)
		var ids []string
		for range 3 {
			ids = append(ids, s.first().command(t, key, hall, "1", `,"waitMs":0`).ID)
			cam.nextCommand()
		}
		other.answers(ids[0], "")
		cam.leave()
		back := s.last().connect(t, mute)
		back.answers(ids[1], `,"status":"running","data":1`)
		back.answers(ids[1], `,"status":"failed"`)
		back.answers(ids[2], `,"status":"rejected"`)
		for i, status := range []string{"succeeded", "failed", "rejected"} {
			s.last().commandEnds(t, key, ids[i], status)
		}
		// All messages were the commands.
		a, err := s.first().call("GET", "/v1/usage", key.credential(), "")
		if err != nil || !strings.Contains(a.body, `"messagesUsed":3,`) {
			t.Errorf("the usage is %s, %v; want 3 messages", a.body, err)
		}
		over, err := s.first().call("POST", "/v1/channels/"+escaped(hall)+"/commands", key.credential(), `{"data":1,"ttlMs":1000}`)
		if err != nil {
			t.Fatal(err)
		}
		over.wantError(t, 429, "over_message_quota")
	})
}

// Answers count against the rate of frames.
func TestAnswersCountAgainstTheFrameRate(t *testing.T) {
	key := newKey("answerrate", "**")
	app := newApp("app_answerrate", key)
	app.Limits.FramesPerSec, app.Limits.FramesBurst = 1, 3
	s := startEmbedded(t, app)
	cam := s.first().connect(t, key.token("hall", nil)).subscribe(hall)
	id := s.first().command(t, key, hall, "1", `,"waitMs":0`).ID
	cam.nextCommand()
	cam.burst(`{"type":"answer","command":"` + id + `"}`)
	cam.expectClose(4011)
	s.first().commandEnds(t, key, id, "succeeded")
}

// The same key and body are the same command, however long the request waits.
func TestRepeatedRequestWaitsAsItAsks(t *testing.T) {
	key := newKey("repeats", "**")
	onEachRedis(t, []*appDoc{newApp("app_repeats", key)}, func(t *testing.T, s *system) {
		body := func(waitMs int, data string) string {
			return fmt.Sprintf(`{"data":%s,"ttlMs":600000,"idempotencyKey":"k","rollout":{"perMinute":60},"waitMs":%d}`, data, waitMs)
		}
		first := (<-s.first().createCommand(t, key, hall, body(0, "1"))).command(t, 202)
		waits := s.last().createCommand(t, key, hall, body(25000, "1"))
		cam := s.last().connect(t, key.token("hall", nil)).subscribe(hall)
		cam.answers(cam.nextCommand(), "")
		if c := (<-waits).command(t, 200); c.ID != first.ID || c.Status != "succeeded" {
			t.Errorf("the second request is told of %+v, want %s", c, first.ID)
		}
		for _, other := range []string{body(0, "2"), strings.Replace(body(0, "1"), "60}", "61}", 1)} {
			a := <-s.last().createCommand(t, key, hall, other)
			a.wantError(t, 409, "idempotency_conflict")
		}
	})
}

// Requests that wait share the process's connections to Redis.
func TestWaitingRequestsShareConnections(t *testing.T) {
	const requests = 60
	key := newKey("shares", "**")
	s := startOneNode(t, newApp("app_shares", key))
	n := s.first()
	connections := func() int {
		list, err := s.redis.Client().ClientList(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(list, "\n")
	}
	var waiting []<-chan answer
	send := func(i int) { // each in a bucket of its own
		waiting = append(waiting, n.createCommand(t, key, fmt.Sprint("devices/", i), `{"data":1,"ttlMs":600000,"waitMs":25000}`))
		eventually(t, "the command is there", patience, func() bool {
			a, err := n.call("GET", fmt.Sprint("/v1/channels/devices%2F", i, "/commands"), key.credential(), "")
			return err == nil && strings.Contains(a.body, `"status":"waiting"`)
		})
	}
	send(0)
	before := connections()
	for i := 1; i < requests; i++ {
		send(i)
	}
	if now := connections(); now > before+5 { // pools may have grown by some
		t.Errorf("Redis has %d connections with %d requests that wait, and %d with one", now, requests, before)
	}
	n.stop()
	for _, w := range waiting {
		(<-w).command(t, 202)
	}
}

// Redis is away while requests wait and is back with its data: they go on, and hear of the end.
func TestWaitingRequestsOutliveRedis(t *testing.T) {
	key := newKey("outlives", "**")
	s := newSystem(t, newApp("app_outlives", key))
	s.redis = redistest.StartAppending(t)
	n := s.start(s.redis.URL(), options{})
	m := s.start(s.redis.URL(), options{})
	cam := m.connect(t, key.token("hall", nil)).subscribe(hall)
	plain := n.createCommand(t, key, hall, `{"data":1,"waitMs":25000}`)
	id := cam.nextCommand()
	queued := (<-n.createCommand(t, key, "devices/away", `{"data":2,"ttlMs":600000,"waitMs":0}`)).command(t, 202)
	var reads []<-chan answer
	for _, node := range s.nodes {
		read := make(chan answer, 1)
		reads = append(reads, read)
		go func() {
			a, err := node.call("GET", "/v1/commands/"+queued.ID+"?waitMs=25000", key.credential(), "")
			if err != nil {
				t.Error(err)
			}
			read <- a
		}()
	}
	eventually(t, "the nodes hear of ends: n of both commands, m of one", patience, func() bool {
		topics, err := s.redis.Client().PubSubChannels(t.Context(), "*:wake:*").Result()
		return err == nil && len(topics) == 3
	})
	s.redis.Stop()
	for _, node := range s.nodes {
		eventually(t, "/readyz is 503", patience, func() bool { status, _ := node.ready(); return status == 503 })
	}
	a, err := n.call("POST", "/v1/channels/devices%2Fa/commands", key.credential(), `{"data":1,"ttlMs":1000}`)
	if err != nil {
		t.Fatal(err)
	}
	if a.status != 503 || !strings.Contains(a.body, `"error":"backend_error"`) || !strings.Contains(a.body, `"outcome":"none"`) {
		t.Errorf("a new command: %d %s, want 503 backend_error", a.status, a.body)
	}
	s.redis.Resume()
	for _, node := range s.nodes {
		node.awaitReady(patience)
	}
	eventually(t, "the answer is acked", patience, func() bool {
		requestID := cam.request(`"type":"answer","command":"` + id + `","data":{"uptime":3}`)
		frame := cam.next()
		return strings.HasPrefix(frame, `{"type":"ack","requestId":"`+requestID)
	})
	if c := (<-plain).command(t, 200); c.ID != id || c.Status != "succeeded" {
		t.Errorf("the request that waited is told of %+v", c)
	}
	away := m.connect(t, key.token("away", nil)).subscribe("devices/away")
	away.answers(away.nextCommand(), `,"status":"failed"`)
	for _, read := range reads {
		a := <-read
		if a.status == 503 && strings.Contains(a.body, `"error":"backend_error"`) {
			continue // Redis went before it had begun to wait
		}
		if c := a.command(t, 200); c.Status != "failed" {
			t.Errorf("a read that waited is told of %+v", c)
		}
	}
}

// A fleet's answers ride together: a command to many devices of one node costs Redis a few
// dozen round trips, not some for each device.
func TestFleetCostsFewRoundTrips(t *testing.T) {
	const fleet = 400
	key := newKey("rides", "**")
	s := startOneNode(t, newApp("app_rides", key))
	n := s.first()
	const channel = "fleets/f1/commands"
	var devices []*socket
	for i := range fleet {
		devices = append(devices, n.connect(t, key.token(fmt.Sprint("cam-", i), nil)).subscribe(channel))
	}
	reads := func() (calls int) {
		for line := range strings.Lines(s.redis.Client().Info(t.Context(), "stats").Val()) {
			_, _ = fmt.Sscanf(line, "total_reads_processed:%d", &calls)
		}
		return calls
	}
	before, begin := reads(), time.Now()
	waits := n.createCommand(t, key, channel, `{"data":1,"waitMs":25000}`)
	answers := make([]string, fleet)
	for i, d := range devices {
		answers[i] = `{"type":"answer","command":"` + d.nextCommand() + `"}`
	}
	for i, d := range devices { // close together, also where this test is slow to read
		d.send(answers[i])
	}
	if c := (<-waits).command(t, 200); c.Status != "succeeded" || c.Counts["succeeded"] != fleet {
		t.Errorf("%s %v", c.Status, c.Counts)
	}
	// A node alone has some reads a second for leases and deadlines.
	idle := int(time.Since(begin)/time.Second+1) * 20
	if trips := reads() - before - idle; trips > fleet/2 {
		t.Errorf("Redis read %d times for %d devices, want some dozens", trips, fleet)
	}
}

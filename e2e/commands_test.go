package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// command is what REST says of one.
type command struct {
	ID      string
	Status  string
	Counts  map[string]int
	Answers []struct {
		Peer    string
		Status  string
		Data    json.RawMessage
		Attempt int
		Late    *struct{ Status string }
	}
}

// command sends one, and returns it as it was answered. fields are those of the body
// beside data.
func (n *node) command(t testing.TB, key *keyDoc, channel, data, fields string) command {
	t.Helper()
	return n.commandCall(t, key, "POST", "/v1/channels/"+escaped(channel)+"/commands", `{"data":`+data+fields+`}`)
}

func (n *node) commandCall(t testing.TB, key *keyDoc, method, path, body string) (c command) {
	t.Helper()
	a, err := n.call(method, path, key.credential(), body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(a.body), &c); err != nil || a.status != 200 && a.status != 202 {
		t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return c
}

// commandEnds waits for the end of a command.
func (n *node) commandEnds(t testing.TB, key *keyDoc, id, status string) command {
	t.Helper()
	c := n.commandCall(t, key, "GET", "/v1/commands/"+id+"?waitMs=20000", "")
	if c.Status != status {
		t.Errorf("%s is %s with %v, want %s", id, c.Status, c.Counts, status)
	}
	return c
}

var expiresIn = regexp.MustCompile(`"expiresInMs":\d+,`)

// commandFrame is what a peer gets; without ttl the command has none.
func commandFrame(channel, data, id string, attempt int, ttl bool, timeoutMs int) string {
	expires := ""
	if ttl {
		expires = `"expiresInMs":…,`
	}
	return fmt.Sprintf(`{"type":"message","channel":%s,"from":"server","data":%s,"command":{"id":%q,"attempt":%d,%s"timeoutMs":%d}}`,
		quoted(channel), data, id, attempt, expires, timeoutMs)
}

// expectCommand wants a command next, whatever time it has left.
func (s *socket) expectCommand(channel, data, id string, attempt int, ttl bool) {
	s.t.Helper()
	want := commandFrame(channel, data, id, attempt, ttl, 30000)
	if got := expiresIn.ReplaceAllString(s.next(), `"expiresInMs":…,`); got != want {
		s.t.Fatalf("%s: got  %s\nwant %s", s.welcome.PeerID, got, want)
	}
}

// nextCommand is the id of the command that comes next.
func (s *socket) nextCommand() string {
	s.t.Helper()
	var frame struct{ Command struct{ ID string } }
	text := s.next()
	if err := json.Unmarshal([]byte(text), &frame); err != nil || frame.Command.ID == "" {
		s.t.Fatalf("%s: got %s, want a command", s.welcome.PeerID, text)
	}
	return frame.Command.ID
}

// answers answers a command, and wants the ack.
func (s *socket) answers(id, fields string) {
	s.t.Helper()
	s.acked(`"type":"answer","command":` + quoted(id) + fields)
}

func (s *socket) confirms(channel string) *socket {
	s.t.Helper()
	s.acked(`"type":"subscribe","commands":"confirm","channel":` + quoted(channel))
	return s
}

const hall = "devices/hall/commands"

// The response to the request is the device's answer, and a listener sees the command
// once, as any message.
func TestCommandIsAnswered(t *testing.T) {
	key := newKey("answered", "**")
	onEachRedis(t, []*appDoc{newApp("app_answered", key)}, func(t *testing.T, s *system) {
		cam := s.first().connect(t, key.token("hall", nil)).subscribe(hall)
		watcher := s.last().connect(t, key.token("watcher", nil)).subscribe("devices/*/commands", "**")
		both := s.last().connect(t, key.token("both", nil)).subscribe(hall, "**")
		got := make(chan command, 1)
		go func() {
			got <- s.last().command(t, key, hall, `{"cmd":"reboot", "n":1.0}`, `,"waitMs":20000,"expect":1`)
		}()
		id := cam.nextCommand()
		both.expectCommand(hall, `{"cmd":"reboot", "n":1.0}`, id, 1, false)
		watcher.expect(`{"type":"message","channel":"` + hall + `","from":"server","data":{"cmd":"reboot", "n":1.0}}`)
		cam.answers(id, `,"status":"received"`)
		cam.answers(id, `,"status":"running","data":{"percent":40}`)
		cam.answers(id, `,"data":{"uptime":3.0}`)
		c := <-got
		if c.ID != id || c.Status != "succeeded" || c.Counts["succeeded"] != 1 || c.Counts["sent"] != 1 {
			t.Errorf("%+v", c)
		}
		i := slices.IndexFunc(c.Answers, func(a struct {
			Peer    string
			Status  string
			Data    json.RawMessage
			Attempt int
			Late    *struct{ Status string }
		}) bool {
			return a.Peer == "hall"
		})
		if i < 0 || string(c.Answers[i].Data) != `{"uptime":3.0}` {
			t.Errorf("answers %+v", c.Answers)
		}
		cam.answers(id, `,"data":{"uptime":3.0}`) // again
		for _, d := range []*socket{cam, both, watcher} {
			d.alive()
		}
	})
}

// A device that was away is handed what waits behind its ack, in order, and before what
// is published then.
func TestCommandWaitsForItsPeer(t *testing.T) {
	key := newKey("waits", "**")
	onEachRedis(t, []*appDoc{newApp("app_waits", key)}, func(t *testing.T, s *system) {
		var ids []string
		for i := range 3 {
			ids = append(ids, s.first().command(t, key, hall, fmt.Sprint(i), `,"waitMs":0,"ttlMs":60000`).ID)
		}
		watcher := s.first().connect(t, key.token("watcher", nil)).subscribe("**")
		watcher.alive() // nothing before it is handed over
		cam := s.last().connect(t, key.token("hall", nil))
		cam.subscribe(hall)
		s.first().publish(t, key, hall, `"live"`)
		for i, id := range ids {
			cam.expectCommand(hall, fmt.Sprint(i), id, 1, true)
		}
		cam.expectMessage(hall, "server", `"live"`)
		var seen []string // what is live may come between
		for range 4 {
			if m := watcher.next(); m != message(hall, "server", `"live"`) {
				seen = append(seen, m)
			}
		}
		if want := []string{message(hall, "server", "0"), message(hall, "server", "1"), message(hall, "server", "2")}; !slices.Equal(seen, want) {
			t.Errorf("the watcher got %q, want %q", seen, want)
		}
		cam.subscribe(hall) // anew: it has them all
		cam.alive()
		for _, id := range ids {
			cam.answers(id, "")
			s.first().commandEnds(t, key, id, "succeeded")
		}
		again := s.last().connect(t, key.token("hall", nil)).subscribe(hall)
		again.alive()
	})
}

// More than a portion waits, and every byte comes.
func TestManyCommandsWait(t *testing.T) {
	key := newKey("many", "**")
	app := newApp("app_many", key)
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		large := quoted(strings.Repeat("x", 30_000))
		for range 40 {
			s.first().command(t, key, hall, large, `,"waitMs":0,"ttlMs":60000`)
		}
		cam := s.last().connect(t, key.token("hall", nil))
		cam.send(`{"type":"subscribe","channel":"` + hall + `","requestId":"s"}`)
		cam.expect(`{"type":"ack","requestId":"s"}`)
		seen := map[string]bool{}
		for range 40 {
			seen[cam.nextCommand()] = true
		}
		if len(seen) != 40 {
			t.Errorf("%d different commands, want 40", len(seen))
		}
		cam.alive()
	})
}

// A subscriber that confirms has one command at a time. What it has not confirmed when its
// connection ends is handed over again, on whatever node it is.
func TestCommandsOfASubscriberThatConfirms(t *testing.T) {
	key := newKey("confirms", "**")
	onEachRedis(t, []*appDoc{newApp("app_confirms", key)}, func(t *testing.T, s *system) {
		cam := s.first().connect(t, key.token("hall", nil)).confirms(hall)
		send := func(data string) string {
			return s.last().command(t, key, hall, data, `,"waitMs":0,"ttlMs":60000`).ID
		}
		one, two, three := send("1"), send("2"), send("3")
		cam.expectCommand(hall, "1", one, 1, true)
		cam.alive() // the others wait
		cam.answers(one, `,"status":"received"`)
		cam.expectCommand(hall, "2", two, 1, true)

		second := s.last().connect(t, key.token("hall", nil)).confirms(hall)
		second.expectCommand(hall, "3", three, 1, true) // the second stays where it is
		second.answers(three, `,"status":"failed"`)
		cam.conn.Close()
		second.expectCommand(hall, "2", two, 2, true)
		second.leave()

		third := s.first().connect(t, key.token("hall", nil)).confirms(hall)
		third.expectCommand(hall, "2", two, 3, true)
		third.answers(two, "")
		third.answers(one, `,"status":"rejected"`)
		for id, status := range map[string]string{one: "rejected", two: "succeeded", three: "failed"} {
			if c := s.first().commandEnds(t, key, id, status); c.Answers[0].Attempt != map[bool]int{true: 3, false: 1}[id == two] {
				t.Errorf("%s: %+v", id, c.Answers)
			}
		}
		third.alive()
	})
}

// It hears of cancellations of what it was handed, and then gets the next.
func TestCancelledCommandIsToldToWhoConfirms(t *testing.T) {
	key := newKey("cancels", "**")
	onEachRedis(t, []*appDoc{newApp("app_cancels", key)}, func(t *testing.T, s *system) {
		cam := s.first().connect(t, key.token("hall", nil)).confirms(hall)
		one := s.last().command(t, key, hall, "1", `,"waitMs":0,"ttlMs":60000`).ID
		two := s.last().command(t, key, hall, "2", `,"waitMs":0,"ttlMs":60000`).ID
		cam.expectCommand(hall, "1", one, 1, true)
		s.last().commandCall(t, key, "DELETE", "/v1/commands/"+one, "")
		cam.expect(`{"type":"command_cancelled","command":"` + one + `"}`)
		cam.expectCommand(hall, "2", two, 1, true)
		cam.answers(one, "") // is taken, and changes nothing
		s.last().commandEnds(t, key, one, "cancelled")
		plain := s.last().connect(t, key.token("plain", nil)).subscribe(hall)
		plain.expectCommand(hall, "2", two, 1, true)
		s.last().commandCall(t, key, "DELETE", "/v1/commands/"+two, "")
		cam.expect(`{"type":"command_cancelled","command":"` + two + `"}`)
		plain.alive()
	})
}

// Of a peer's connections the one that has subscribed last gets the command.
func TestCommandForAPeerWithTwoConnections(t *testing.T) {
	key := newKey("twice", "**")
	s := startEmbedded(t, newApp("app_twice", key))
	first := s.first().connect(t, key.token("hall", nil)).subscribe(hall)
	second := s.first().connect(t, key.token("hall", nil)).subscribe(hall)
	send := func(to *socket, other *socket) {
		id := s.first().command(t, key, hall, "1", `,"waitMs":0`).ID
		to.expectCommand(hall, "1", id, 1, false)
		other.answers(id, "") // any connection of the peer may answer
		s.first().commandEnds(t, key, id, "succeeded")
		to.alive()
	}
	send(second, first)
	first.subscribe(hall)
	send(first, second)
	first.leave()
	send(second, second)
}

// The device of the guide answers nothing, and loses nothing.
func TestDeviceThatKnowsNothingOfCommands(t *testing.T) {
	key := newKey("naive", "**")
	s := startEmbedded(t, newApp("app_naive", key))
	cam := s.first().connect(t, key.token("hall", nil)).subscribe(hall)
	c := s.first().command(t, key, hall, "1", `,"waitMs":20000,"timeoutMs":1000`)
	if c.Status != "timed_out" || c.Counts["timedOut"] != 1 {
		t.Errorf("%+v", c)
	}
	if got, want := cam.next(), commandFrame(hall, "1", c.ID, 1, false, 1000); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	cam.answers(c.ID, `,"data":"late"`)
	if c := s.first().commandEnds(t, key, c.ID, "timed_out"); c.Answers[0].Late == nil || c.Answers[0].Late.Status != "succeeded" {
		t.Errorf("%+v", c.Answers)
	}
	cam.alive()
}

// Each field of an answer, and of a subscribe that confirms, sent wrong.
func TestRefusedAnswers(t *testing.T) {
	key, foreign := newKey("wrong", "**"), newKey("foreign", "**")
	s := startEmbedded(t, newApp("app_wrong", key), newApp("app_foreign", foreign))
	cam := s.first().connect(t, key.token("hall", nil)).subscribe(hall)
	other := s.first().connect(t, key.token("other", nil))
	stranger := s.first().connect(t, foreign.token("hall", nil))
	id := s.first().command(t, key, hall, "1", `,"waitMs":0`).ID
	cam.nextCommand()
	mine := `"type":"answer","command":"` + id + `"`
	for _, c := range []struct {
		from              *socket
		fields, code, why string
	}{
		{cam, `"type":"answer"`, "command_not_found", "command is missing"},
		{cam, `"type":"answer","command":7`, "malformed_message", "command is a number"},
		{cam, `"type":"answer","command":""`, "command_not_found", ""},
		{cam, `"type":"answer","command":"cmd_"`, "command_not_found", ""},
		{cam, `"type":"answer","command":"` + id[:len(id)-1] + `"`, "command_not_found", ""},
		{cam, `"type":"answer","command":"` + strings.ToUpper(id) + `"`, "command_not_found", ""},
		{cam, `"type":"answer","command":"` + id[:7] + strings.Repeat("a", 26) + `"`, "command_not_found", id[:7]},
		{cam, mine + `,"status":"sent"`, "malformed_message", "sent"},
		{cam, mine + `,"status":"timed_out"`, "malformed_message", "timed_out"},
		{cam, mine + `,"status":null`, "malformed_message", "status is null"},
		{cam, mine + `,"data":"` + strings.Repeat("x", 16<<10-1) + `"`, "malformed_message", "16385"},
		{other, mine, "command_not_found", "not handed"},
		{stranger, mine, "command_not_found", "not handed"},
		{cam, `"type":"subscribe","channel":"a","commands":"received"`, "malformed_message", "confirm"},
		{cam, `"type":"subscribe","channel":"a/*","commands":"confirm"`, "malformed_message", "a/*"},
	} {
		c.from.expectError(c.from.request(c.fields), c.code, c.why)
	}
	cam.answers(id, `,"data":1`)
	cam.answers(id, `,"data":1`)
	cam.answers(id, `,"status":"running"`)
	cam.expectError(cam.request(mine+`,"data":2`), "command_final", id)
	cam.expectError(cam.request(mine+`,"status":"failed","data":1`), "command_final", id)
	for _, d := range []*socket{cam, other, stranger} {
		d.alive()
	}
}

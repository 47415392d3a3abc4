package examples

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A command is what the service says of one.
type command struct {
	ID, Status string
	Counts     struct{ Sent int }
	Answers    []struct {
		Status  string
		Data    json.RawMessage
		Attempt int
	}
}

// TestCommands: each camera obeys commands of the service with answers, does what came
// while it was away, and what it did not get for sure.
func TestCommands(t *testing.T) {
	for _, p := range cameras {
		t.Run(p.name, func(t *testing.T) {
			s := startService(t, "localdev", "127.0.0.1:0", "")
			tokenServer := startTokenServer(t, keyID+":"+secret)
			camera := p.start(t, s.url, tokenServer)
			camera.awaitEvent(t, 2, "subscribed", nil)
			for _, tt := range []struct{ data, status, answer string }{
				{`{"cmd":"set-frame-rate","fps":12}`, "succeeded", `{"fps":12}`},
				{`{"cmd":"update","version":"v3.2.1"}`, "succeeded", `{"version":"v3.2.1"}`},
				{`{"cmd":"self-destruct"}`, "rejected", `"unknown command"`},
			} {
				c := s.command(t, 200, tt.data, 0, 20_000)
				c.ended(t, tt.status, tt.answer, 1)
			}

			camera.stop(t)
			s.awaitAway(t)
			away := s.command(t, 202, `{"cmd":"update","version":"away"}`, 600_000, 0)
			if away.Status != "waiting" {
				t.Errorf("a command to a camera that is away is %s", away.Status)
			}
			camera = p.start(t, s.url, tokenServer)
			s.read(t, away.ID, 20_000).ended(t, "succeeded", `{"version":"away"}`, 1)

			// A camera that is stopped gets a command and cannot say so. It dies with it.
			camera.awaitEvent(t, 2, "subscribed", nil)
			if err := camera.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			lost := s.command(t, 202, `{"cmd":"update","version":"lost"}`, 600_000, 0)
			for begin := time.Now(); lost.Counts.Sent == 0; lost = s.read(t, lost.ID, 10) { // the service waits 10 ms
				if time.Since(begin) > patience {
					t.Fatalf("the command was not handed over: %+v", lost)
				}
			}
			if err := camera.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			p.start(t, s.url, tokenServer)
			s.read(t, lost.ID, 20_000).ended(t, "succeeded", `{"version":"lost"}`, 2)
		})
	}
}

// awaitAway waits until the service has noticed that the camera is away.
func (s *service) awaitAway(t *testing.T) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) { // REST is asked, and its rate is bounded
		_, body := call(t, "POST", strings.TrimSuffix(s.url+cameraCommands, "commands")+"publish", `{"data":0}`)
		if strings.Contains(body, `"subscribers":0`) {
			return
		}
		if time.Since(begin) > patience {
			t.Fatalf("the camera is still there: %s", body)
		}
	}
}

const cameraCommands = "/v1/channels/devices%2Fcamera-001%2Fcommands/commands"

func (s *service) command(t *testing.T, status int, data string, ttlMs, waitMs int) command {
	t.Helper()
	got, body := call(t, "POST", s.url+cameraCommands, fmt.Sprintf(`{"data":%s,"ttlMs":%d,"waitMs":%d}`, data, ttlMs, waitMs))
	if got != status {
		t.Fatalf("%s: %d %s, want %d", data, got, body, status)
	}
	return parseCommand(t, body)
}

func (s *service) read(t *testing.T, id string, waitMs int) command {
	t.Helper()
	_, body := call(t, "GET", fmt.Sprintf("%s/v1/commands/%s?waitMs=%d", s.url, id, waitMs), "")
	return parseCommand(t, body)
}

func parseCommand(t *testing.T, body string) (c command) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &c); err != nil || c.ID == "" {
		t.Fatalf("%s is no command: %v", body, err)
	}
	return c
}

func (c command) ended(t *testing.T, status, data string, attempt int) {
	t.Helper()
	if c.Status != status || len(c.Answers) != 1 || c.Answers[0].Attempt != attempt || strings.ReplaceAll(string(c.Answers[0].Data), " ", "") != strings.ReplaceAll(data, " ", "") {
		t.Fatalf("%+v; want that it %s with %s, at attempt %d", c, status, data, attempt)
	}
}

// TestAnswersOnTheWire: what each camera sends when a command comes, when it comes again,
// and when the connection ends before the service has acked the answer.
func TestAnswersOnTheWire(t *testing.T) {
	for _, p := range cameras {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			f, running, s := p.connected(t)
			s.ack(t, s.read(t)) // the only event
			s.hand(t, "cmd_1", 1, `{"cmd":"update","version":"v1"}`)
			s.answer(t, "cmd_1", "received", "")
			s.answer(t, "cmd_1", "running", `{"percent":50}`)
			s.answer(t, "cmd_1", "succeeded", `{"version":"v1"}`)
			s.hand(t, "cmd_2", 1, `{"cmd":"reboot","fps":7}`)
			s.answer(t, "cmd_2", "received", "")
			lost := s.read(t)
			if lost.Type != "answer" || lost.Command != "cmd_2" || lost.Status != "succeeded" {
				t.Fatalf("it sent %+v", lost)
			}
			s.cut(t)

			s = f.accept(t, "token-1")
			s.write(t, `{"type":"welcome","peerId":"me","expiresAt":null,"serverTime":1,"maxMessageSize":65536}`)
			repeated := false
			for range p.channels { // and the answer, before or after them
				got := s.read(t)
				if got.Type == "answer" {
					repeated = true
					s.isAnswer(t, got, "cmd_2", "succeeded", string(lost.Data))
					got = s.read(t)
				}
				s.ack(t, got)
			}
			if !repeated {
				s.answer(t, "cmd_2", "succeeded", string(lost.Data))
			}
			s.hand(t, "cmd_2", 2, `{"cmd":"reboot"}`) // what was done is not done again
			s.answer(t, "cmd_2", "succeeded", string(lost.Data))
			s.hand(t, "cmd_3", 1, `["reboot"]`)
			s.answer(t, "cmd_3", "received", "")
			s.answer(t, "cmd_3", "rejected", `"unknown command"`)
			if n, updates := running.count("reboot", nil), running.count("update", nil); n != 1 || updates != 1 {
				t.Errorf("it rebooted %d times, and was updated %d times; want once", n, updates)
			}
		})
	}
}

// hand hands a command over.
func (s *fakeSocket) hand(t *testing.T, id string, attempt int, data string) {
	t.Helper()
	s.write(t, `{"type":"message","channel":%q,"from":"server","data":%s,"command":{"id":%q,"attempt":%d,"timeoutMs":30000}}`, cameraChannels[0], data, id, attempt)
}

// answer reads an answer, and acks it.
func (s *fakeSocket) answer(t *testing.T, id, status, data string) {
	t.Helper()
	s.isAnswer(t, s.read(t), id, status, data)
}

func (s *fakeSocket) isAnswer(t *testing.T, f clientFrame, id, status, data string) {
	t.Helper()
	if f.Type != "answer" || f.Command != id || f.Status != status || strings.ReplaceAll(string(f.Data), " ", "") != strings.ReplaceAll(data, " ", "") {
		t.Fatalf("it sent %+v with %s; want that %s is %s, with %s", f, f.Data, id, status, data)
	}
	s.ack(t, f)
}

// ack acks a frame, if it asks for that.
func (s *fakeSocket) ack(t *testing.T, f clientFrame) {
	t.Helper()
	if f.RequestID != "" {
		s.write(t, `{"type":"ack","requestId":%q}`, f.RequestID)
	}
}

package goclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

// TestCommands has devices of a service do commands, and a backend see what became of
// them.
func TestCommands(t *testing.T) {
	s := newService(t, "")
	backend, ctx := s.rest(), background(t)
	cam := s.as(t, "cam")
	const channel = "devices/cam/commands"
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cancelled := make(chan error, 1)
	started := make(chan string, 1)
	plain := make(chan client.Message, 1)
	check(cam.HandleCommands(ctx, channel, func(ctx context.Context, c client.Command) (any, error) {
		switch string(c.Data) {
		case `"progress"`:
			return 7, c.Progress(ctx, map[string]int{"percent": 40})
		case `"fail"`:
			return nil, errors.New("no lens")
		case `"reject"`:
			return nil, &client.Rejected{Reason: "not now"}
		case `"hang"`:
			started <- c.ID
			<-ctx.Done()
			cancelled <- context.Cause(ctx)
			return nil, context.Cause(ctx)
		case `"large"`:
			return make([]int, protocol.MaxAnswerBytes), nil
		}
		return c.Data, nil
	}, client.WithConfirm(), client.WithMessages(func(m client.Message) { plain <- m })))

	for data, want := range map[string]string{
		`{"x": 1.0}`: `succeeded {"x": 1.0}`, `"progress"`: `succeeded 7`, `"fail"`: `failed "no lens"`, `"reject"`: `rejected "not now"`,
		`"large"`: `failed "done, but its answer is 32769 bytes long; at most 16384 go"`,
	} {
		c, err := backend.Command(ctx, channel, json.RawMessage(data), client.CommandOptions{})
		check(err)
		if len(c.Answers) != 1 || c.Answers[0].Peer != "cam" || !c.Ended() {
			t.Fatalf("%s: %+v", data, c)
		}
		if got := fmt.Sprintf("%s %s", c.Answers[0].Status, c.Answers[0].Data); got != want {
			t.Errorf("%s: got %s, want %s", data, got, want)
		}
	}

	// Messages that are no commands are not for the handler.
	_, err := backend.Publish(ctx, channel, "hang")
	check(err)
	if m := next(t, plain); string(m.Data) != `"hang"` || m.Channel != channel {
		t.Errorf("the message %+v", m)
	}

	// StartCommand returns before the command ends.
	away, err := backend.StartCommand(ctx, "devices/away/commands", 1, client.CommandOptions{TTL: time.Minute})
	if err != nil || away.ID == "" || away.Status != "waiting" {
		t.Errorf("%+v, %v", away, err)
	}
	_, err = backend.StartCommand(ctx, "devices/away/commands", 1, client.CommandOptions{})
	if !errors.Is(err, &client.Error{Code: protocol.NobodySubscribed}) {
		t.Errorf("a command for nobody: %v", err)
	}
	raw, err := backend.Do(ctx, "GET", "/commands/"+away.ID, nil)
	if err != nil || !strings.Contains(string(raw), `"id":"`+away.ID+`"`) {
		t.Errorf("GET by Do: %s, %v", raw, err)
	}
	if raw, err = backend.Do(ctx, "POST", "/groups/none/pull", map[string]any{}); raw != nil || !errors.Is(err, &client.Error{Code: protocol.GroupNotFound}) {
		t.Errorf("POST by Do: %s, %v", raw, err)
	}

	// The wait ends with ctx, and the command goes on.
	short, stop := context.WithTimeout(ctx, 700*time.Millisecond)
	defer stop()
	c, err := backend.Command(short, channel, "hang", client.CommandOptions{TTL: time.Minute})
	if !errors.Is(err, context.DeadlineExceeded) || c.ID == "" || c.Ended() || c.ID != <-started {
		t.Fatalf("%+v, %v", c, err)
	}
	_, err = backend.CancelCommand(ctx, c.ID)
	check(err)
	if cause := <-cancelled; !errors.Is(cause, client.ErrCancelled) {
		t.Errorf("the handler's context ended with %v", cause)
	}
	if _, err = backend.CancelCommand(ctx, c.ID); client.CodeOf(err) != protocol.CommandFinal {
		t.Errorf("cancelled twice: %v", err)
	}
	if _, err = backend.Command(ctx, "devices/nobody/commands", 1, client.CommandOptions{}); client.CodeOf(err) != protocol.NobodySubscribed {
		t.Errorf("to nobody: %v", err)
	}
	if _, err = backend.Command(ctx, "a/*", 1, client.CommandOptions{}); client.CodeOf(err) != protocol.InvalidChannel {
		t.Errorf("to a pattern: %v", err)
	}
	for _, wrong := range []client.CommandOptions{{TTL: -time.Second}, {TTL: time.Microsecond}, {Timeout: -1}, {Expect: -1}} {
		if _, err = backend.Command(ctx, channel, 1, wrong); err == nil || client.CodeOf(err) != "" {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	if _, err = backend.ReadCommand(ctx, "cmd_1"); client.CodeOf(err) != protocol.CommandNotFound {
		t.Errorf("an unknown command: %v", err)
	}
	if err := new(client.Command).Progress(ctx, 1); err == nil {
		t.Error("Progress of a command of REST")
	}
	if err := cam.HandleCommands(ctx, channel, nil); err == nil {
		t.Error("HandleCommands without a handler")
	}
	if err := cam.HandleCommands(ctx, "devices/*/commands", func(context.Context, client.Command) (any, error) { return nil, nil }); client.CodeOf(err) != protocol.InvalidChannel {
		t.Errorf("HandleCommands of a pattern: %v", err)
	}
}

// TestCommandOptions has a backend use all that the service offers of commands, and read
// what came of it.
func TestCommandOptions(t *testing.T) {
	s := newService(t, "")
	backend, ctx := s.rest(), background(t)
	const channel = "fleets/f1/commands"
	progress := s.as(t, "operator").listen("fleets/f1/progress")
	for n := range 3 {
		err := s.as(t, fmt.Sprint("cam-", n)).HandleCommands(ctx, channel, func(context.Context, client.Command) (any, error) {
			if n == 2 {
				return nil, &client.Rejected{Reason: "too old"}
			}
			return n, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-time.Second)
	opt := client.CommandOptions{
		From: "operator-3", TTL: time.Hour, Timeout: time.Minute, Expect: 3, IdempotencyKey: "update-7", CollapseKey: "update",
		Notify: "fleets/f1/progress", Rollout: &client.Rollout{PerMinute: 6000, Abort: &client.Abort{FailedPct: 50, MinAnswered: 3}},
	}
	c, err := backend.Command(ctx, channel, "update", opt)
	if err != nil || c.Status != "mixed" || c.From != "operator-3" || c.Expect != 3 || c.Counts != (client.CommandCounts{Succeeded: 2, Rejected: 1}) {
		t.Fatalf("%+v, %v", c, err)
	}
	if c.CreatedAt.Before(before) || c.CreatedAt.After(time.Now().Add(time.Second)) || c.ExpiresAt.Sub(c.CreatedAt.Time) != time.Hour {
		t.Errorf("created at %v, expires at %v", c.CreatedAt, c.ExpiresAt)
	}
	again, err := backend.Command(ctx, channel, "update", opt)
	if err != nil || again.ID != c.ID {
		t.Errorf("again: %s, %v; want %s", again.ID, err, c.ID)
	}
	opt.Expect = 2
	if _, err = backend.Command(ctx, channel, "update", opt); client.CodeOf(err) != protocol.IdempotencyConflict {
		t.Errorf("another command with the key: %v", err)
	}
	for {
		m := next(t, progress)
		if strings.Contains(string(m.Data), `"status":"mixed"`) && m.From == "_system" {
			break
		}
	}

	answers := ""
	for a, err := range backend.Answers(ctx, c.ID, "succeeded") {
		if err != nil {
			t.Fatal(err)
		}
		if a.SentAt.Before(before) || a.AnsweredAt.Before(a.SentAt.Time) || a.Late != nil {
			t.Errorf("%+v", a)
		}
		answers += fmt.Sprintf("%s %s %s %d; ", a.Peer, a.Status, a.Data, a.Attempt)
	}
	if answers != "cam-0 succeeded 0 1; cam-1 succeeded 1 1; " {
		t.Errorf("answers: %s", answers)
	}
	for listed, err := range backend.Commands(ctx, channel, "") {
		if err != nil || listed.ID != c.ID {
			t.Errorf("listed %s, %v", listed.ID, err)
		}
	}
	for _, err := range backend.Commands(ctx, channel, "odd") {
		if client.CodeOf(err) != protocol.InvalidRequest {
			t.Errorf("commands with an unknown status: %v", err)
		}
	}
}

// TestPeers reads who is online, and who was.
func TestPeers(t *testing.T) {
	s := newService(t, "")
	backend, ctx := s.rest(), background(t)
	s.as(t, "cam-1").listen("devices/cam-1/commands")
	cam := s.as(t, "cam-2")
	if _, err := backend.Disconnect(ctx, "cam-2", false); err != nil {
		t.Fatal(err)
	}
	<-cam.Done()
	is := func(id string, right func(client.Peer) bool) client.Peer {
		t.Helper()
		for {
			p, err := backend.Peer(ctx, id)
			if err == nil && right(p) {
				return p
			}
			if ctx.Err() != nil || err != nil && client.CodeOf(err) != protocol.PeerNotFound {
				t.Fatalf("%s: %+v, %v", id, p, err)
			}
			time.Sleep(10 * time.Millisecond) // REST is asked, and its rate is bounded
		}
	}
	p := is("cam-1", func(p client.Peer) bool {
		return p.Online && len(p.Connections) == 1 && len(p.Connections[0].Subscriptions) == 1
	})
	if c := p.Connections[0]; p.ID != "cam-1" || p.Epoch != 1 || p.LastDisconnect != nil || time.Since(p.ConnectedAt.Time) > patience ||
		c.Protocol != "websocket" || c.ConnectedAt.IsZero() || c.Subscriptions[0] != "devices/cam-1/commands" {
		t.Errorf("%+v", p)
	}
	p = is("cam-2", func(p client.Peer) bool { return p.LastDisconnect != nil })
	if d := p.LastDisconnect; d.Code != protocol.CloseDisconnected || d.Reason != "kicked" || d.At.IsZero() {
		t.Errorf("%+v", d)
	}
	if _, err := backend.Peer(ctx, "nobody"); client.CodeOf(err) != protocol.PeerNotFound {
		t.Errorf("an unknown peer: %v", err)
	}
	for want, q := range map[string]client.PeerQuery{
		"cam-1 cam-2 ": {Prefix: "cam-"}, "cam-1 ": {Prefix: "cam-1", Online: new(true)},
		"": {SeenBefore: time.Now().Add(-time.Hour)},
	} {
		got := ""
		for p, err := range backend.Peers(ctx, q) {
			if err != nil {
				t.Fatal(err)
			}
			got += p.ID + " "
		}
		if got != want {
			t.Errorf("%+v: %q, want %q", q, got, want)
		}
	}
	for _, err := range backend.Peers(ctx, client.PeerQuery{Prefix: "\n"}) {
		if client.CodeOf(err) != protocol.InvalidRequest {
			t.Errorf("a wrong prefix: %v", err)
		}
	}
}

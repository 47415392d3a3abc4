package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"fleetwire/pkg/client"
	"fleetwire/pkg/protocol"
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
	}, client.WithConfirm()))

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
	if _, err = backend.Command(ctx, channel, 1, client.CommandOptions{TTL: -1}); err == nil {
		t.Error("a TTL under zero is taken")
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
}

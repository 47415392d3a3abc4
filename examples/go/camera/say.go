package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

// report says what becomes of the connection.
func (c *camera) report(s client.Change) {
	code, reason := 1006, "" // no close frame told why
	if s.Err != nil {
		reason = s.Err.Error()
	}
	if closed := (*protocol.CloseError)(nil); errors.As(s.Err, &closed) {
		code, reason = int(closed.Code), closed.Reason
	}
	switch s.State {
	case client.Connected:
		say("welcome", "peerId", s.Welcome.PeerID)
	case client.GoingAway:
		say("going_away", "retryAfterMs", s.RetryIn.Milliseconds())
	case client.Waiting:
		c.away = true
		say("disconnected", "code", code, "reason", reason, "retryInMs", s.RetryIn.Milliseconds())
	case client.Live:
		if c.away { // the first time, run says so
			for _, channel := range c.commands {
				say("subscribed", "channel", channel)
			}
		}
	case client.Stopped:
		say("stopped", "code", code, "reason", reason)
	}
}

// command does a command, of which somebody wants to know what becomes.
func (c *camera) command(ctx context.Context, cmd client.Command) (any, error) {
	return c.obey(cmd.Channel, cmd.Data, func(data any) error { return cmd.Progress(ctx, data) })
}

// message does what a message says that nobody waits for.
func (c *camera) message(m client.Message) {
	_, _ = c.obey(m.Channel, m.Data, func(any) error { return nil })
}

func (c *camera) obey(channel string, data json.RawMessage, progress func(any) error) (any, error) {
	var command struct {
		Cmd, Version string
		FPS          float64
	}
	_ = json.Unmarshal(data, &command) // what is no command has no cmd
	switch {
	case command.Cmd == "reboot":
		say("reboot", "channel", channel)
		return map[string]int{"uptime": int(time.Since(c.started).Seconds())}, nil
	case command.Cmd == "set-frame-rate" && command.FPS > 0 && command.FPS <= 120:
		say("set-frame-rate", "channel", channel, "fps", command.FPS)
		return map[string]float64{"fps": command.FPS}, nil
	case command.Cmd == "update" && command.Version != "":
		if err := progress(map[string]int{"percent": 50}); err != nil {
			return nil, err
		}
		say("update", "channel", channel, "version", command.Version)
		return map[string]string{"version": command.Version}, nil
	}
	say("unknown-command", "channel", channel)
	return nil, &client.Rejected{Reason: "unknown command"}
}

// say prints one JSON object: {"event":…} and the given names and values.
func say(event string, fields ...any) {
	line := map[string]any{"event": event}
	for i := 0; i+1 < len(fields); i += 2 {
		line[fields[i].(string)] = fields[i+1]
	}
	b, err := json.Marshal(line)
	if err != nil {
		panic(err) // only values that JSON can hold are ever said
	}
	fmt.Println(string(b))
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"fleetwire/pkg/client"
	"fleetwire/pkg/protocol"
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

func obey(m client.Message) {
	var command struct {
		Cmd string
		FPS float64
	}
	_ = json.Unmarshal(m.Data, &command) // what is no command has no cmd
	switch {
	case command.Cmd == "reboot":
		say("reboot", "channel", m.Channel)
	case command.Cmd == "set-frame-rate" && command.FPS > 0 && command.FPS <= 120:
		say("set-frame-rate", "channel", m.Channel, "fps", command.FPS)
	default:
		say("unknown-command", "channel", m.Channel)
	}
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

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gobwas/ws"
)

// A frame from the service; which fields it has depends on its type.
type frame struct {
	Type, RequestID, PeerID, Channel, Code, Message string
	RetryAfterMs                                    int64
	Data                                            json.RawMessage
}

// session is one connection, from the token to its end, which is always an error.
func (c *camera) session(ctx context.Context) (err error) {
	eventChannel := "devices/" + c.device + "/events"
	commandChannels := []string{"devices/" + c.device + "/commands", "fleets/" + c.fleet + "/commands"}
	if c.token == "" {
		c.token, err = c.service.mint(ctx, c.device, append(commandChannels, eventChannel))
		if err != nil {
			return err
		}
	}
	conn, err := c.service.dial(ctx, c.token)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	frames, end := conn.frames(ctx)

	var nextEvent <-chan time.Time     // nil: no event is due
	subscribing := map[string]string{} // channels by the requestId of a subscribe that has no ack yet
	for err == nil {
		select {
		case <-ctx.Done():
			err = ctx.Err()
			_ = conn.write(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))
		case err = <-end:
		case <-nextEvent:
			c.published++
			err = conn.send(map[string]any{
				"type": "publish", "channel": eventChannel, "requestId": fmt.Sprintf("event-%d", c.published),
				"data": map[string]any{"event": "motion", "seq": c.published, "at": time.Now().Unix()},
			})
			nextEvent = c.eventAfter(c.interval)
		case f := <-frames:
			channel, isSubscription := subscribing[f.RequestID]
			switch {
			case f.Type == "welcome":
				c.failures = 0
				say("welcome", "peerId", f.PeerID)
				for n, channel := range commandChannels {
					id := fmt.Sprintf("sub-%d", n)
					subscribing[id] = channel
					if err = conn.send(map[string]any{"type": "subscribe", "channel": channel, "requestId": id}); err != nil {
						break
					}
				}
			case f.Type == "ack" && isSubscription:
				say("subscribed", "channel", channel)
				delete(subscribing, f.RequestID)
				// Events wait for both acks: from then on no command is missed.
				if len(subscribing) == 0 {
					nextEvent = c.eventAfter(0)
				}
			default:
				c.handle(f)
			}
		}
	}
	return err
}

// eventAfter is when the next event is due; never, when all have been published.
func (c *camera) eventAfter(d time.Duration) <-chan time.Time {
	if c.count > 0 && c.published >= c.count {
		return nil
	}
	return time.After(d)
}

func (c *camera) handle(f frame) {
	switch f.Type {
	case "ack":
		var seq int
		_, _ = fmt.Sscanf(f.RequestID, "event-%d", &seq)
		say("published", "seq", seq)
	case "message":
		obey(f.Channel, f.Data)
	case "error":
		say("error", "code", f.Code, "message", f.Message, "requestId", f.RequestID)
	case "going_away": // the close follows; until then commands still come
		c.retryAfter = time.Duration(f.RetryAfterMs) * time.Millisecond
		say("going_away", "retryAfterMs", f.RetryAfterMs)
	}
}

func obey(channel string, data json.RawMessage) {
	var command struct {
		Cmd string
		FPS float64
	}
	_ = json.Unmarshal(data, &command) // what is no command has no cmd
	switch {
	case command.Cmd == "reboot":
		say("reboot", "channel", channel)
	case command.Cmd == "set-frame-rate" && command.FPS > 0 && command.FPS <= 120:
		say("set-frame-rate", "channel", channel, "fps", command.FPS)
	default:
		say("unknown-command", "channel", channel)
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

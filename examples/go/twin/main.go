// Twin keeps a device's configuration in two channels that remember their newest message:
// devices/ID/desired, which backends write, and devices/ID/reported, which the device
// writes.
//
//	go run ./examples/go/twin -device thermostat-1 set target 21.5 # a backend
//	go run ./examples/go/twin -device thermostat-1 run             # the device
//	go run ./examples/go/twin -device thermostat-1 show
//
// FLEETWIRE_URL and FLEETWIRE_SECRET_KEY name the service and a key. The device mints its
// own token with it, for trying things out: a real device never holds a secret key.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

// A document is what a twin holds: each setting and its value.
type document map[string]json.RawMessage

// A report says what a device has made of the desired document of that offset.
type report struct {
	Desired uint64   `json:"desired"`
	State   document `json:"state"`
}

type twin struct {
	service           client.REST
	device            string
	desired, reported string // channels
}

func main() {
	device := flag.String("device", "thermostat-1", "the device's `id`")
	flag.Parse()
	t := twin{
		service: client.REST{
			BaseURL:   cmp.Or(os.Getenv("FLEETWIRE_URL"), "http://127.0.0.1:8080"),
			SecretKey: os.Getenv("FLEETWIRE_SECRET_KEY"),
		},
		device: *device, desired: "devices/" + *device + "/desired", reported: "devices/" + *device + "/reported",
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch args := flag.Args(); {
	case len(args) == 3 && args[0] == "set" && json.Valid([]byte(args[2])):
		err = t.set(ctx, args[1], json.RawMessage(args[2]))
	case len(args) == 1 && args[0] == "run":
		err = t.run(ctx)
	case len(args) == 1 && args[0] == "show":
		err = t.show(ctx)
	default:
		err = errors.New("say set NAME JSON, run, or show")
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "twin:", err)
		os.Exit(1)
	}
}

// set changes one setting. If another backend was faster, it does so again with what that
// one has written, so that neither's change is lost.
func (t *twin) set(ctx context.Context, name string, value json.RawMessage) error {
	now, err := t.service.History(ctx, t.desired, 1)
	if err != nil {
		return err
	}
	newest, position := last(now.Messages), now.Position
	for {
		wanted, err := read[document](newest)
		if err != nil {
			return err
		}
		if wanted == nil {
			wanted = document{}
		}
		wanted[name] = value
		done, err := t.service.PublishMessage(ctx, client.Outgoing{Channel: t.desired, Data: wanted, If: &position})
		var refused *client.Error
		if errors.As(err, &refused) && refused.Code == protocol.OffsetMismatch {
			newest, position = refused.Newest, *refused.Position
			continue
		}
		if err != nil {
			return err
		}
		return say("set", "version", done.Position.Offset, "desired", wanted)
	}
}

// run is the device: it begins with the newest desired document, follows it, and reports
// what it has applied.
func (t *twin) run(ctx context.Context) error {
	device, err := client.Dial(ctx, client.Options{
		URL: t.service.BaseURL,
		Token: t.service.Tokens(client.TokenRequest{
			Peer: t.device, Channels: []string{t.desired, t.reported}, Permissions: []string{"publish", "subscribe"},
		}),
	})
	if err != nil {
		return err
	}
	defer device.Close()
	// It holds one message: the newest, if the device is slower than its backends.
	wanted := make(chan client.Message, 1)
	err = device.Subscribe(ctx, t.desired, func(m client.Message) {
		select {
		case <-wanted:
		default:
		}
		wanted <- m
	}, client.Last(1))
	if err != nil {
		return err
	}
	for {
		select {
		case m := <-wanted:
			state, err := read[document](&m)
			if err != nil {
				return err
			}
			// Here the device would turn its heating up.
			if err := device.Publish(ctx, t.reported, report{m.Position.Offset, state}); err != nil {
				return err
			}
			if err := say("applied", "version", m.Position.Offset, "state", state); err != nil {
				return err
			}
		case <-device.Done():
			return device.Err()
		case <-ctx.Done():
			return nil
		}
	}
}

// show says whether the device has done what is desired.
func (t *twin) show(ctx context.Context) error {
	desired, err := t.service.History(ctx, t.desired, 1)
	if err != nil {
		return err
	}
	reported, err := t.service.History(ctx, t.reported, 1)
	if err != nil {
		return err
	}
	done, err := read[report](last(reported.Messages))
	if err != nil {
		return err
	}
	return say("twin", "desired", desired.Position.Offset, "reported", done.Desired, "state", done.State)
}

// last is the last of the messages, nil if there are none.
func last(messages []client.Message) *client.Message {
	if len(messages) == 0 {
		return nil
	}
	return &messages[len(messages)-1]
}

// read reads a message's data; without a message it is the zero T.
func read[T any](m *client.Message) (v T, err error) {
	if m == nil {
		return v, nil
	}
	if err := json.Unmarshal(m.Data, &v); err != nil {
		return v, fmt.Errorf("message %d of %s: %w", m.Position.Offset, m.Channel, err)
	}
	return v, nil
}

// say prints one JSON object: {"event":…} and the given names and values.
func say(event string, fields ...any) error {
	line := map[string]any{"event": event}
	for i := 0; i+1 < len(fields); i += 2 {
		line[fields[i].(string)] = fields[i+1]
	}
	return json.NewEncoder(os.Stdout).Encode(line)
}

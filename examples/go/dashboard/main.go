// Dashboard opens a page of devices with the last state of each, and then shows each change.
//
//	go run ./examples/go/dashboard camera-001 camera-002
//
// A page is up to 100 devices: so many channels a connection may subscribe to. It mints its
// own token with FLEETWIRE_SECRET_KEY; a page in a browser gets one from its backend.
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
	"strings"

	"fleetwire/clients/go/client"
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Args()); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, devices []string) error {
	if len(devices) == 0 || len(devices) > 100 {
		return errors.New("name 1 to 100 devices")
	}
	service := client.REST{
		BaseURL:   cmp.Or(os.Getenv("FLEETWIRE_URL"), "http://127.0.0.1:8080"),
		SecretKey: os.Getenv("FLEETWIRE_SECRET_KEY"),
	}
	page, err := client.Dial(ctx, client.Options{
		URL:   service.BaseURL,
		Token: service.Tokens(client.TokenRequest{Peer: "dashboard", Channels: []string{"devices/*/state"}, Permissions: []string{"subscribe"}}),
		OnGap: func(g client.Gap) { say("gap", g.Channel, nil, false) },
	})
	if err != nil {
		return err
	}
	defer page.Close()
	for _, device := range devices {
		// The first message is the last state; later ones are changes. After a reconnect the
		// page gets the changes that it missed.
		if err := page.Subscribe(ctx, "devices/"+device+"/state", show, client.Last(1)); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return nil
	case <-page.Done():
		return page.Err()
	}
}

func show(m client.Message) { say("state", m.Channel, m.Data, m.Replayed) }

// say prints what is to be seen of one device, as a JSON object. Replayed states are those
// that were there before the page.
func say(event, channel string, state json.RawMessage, replayed bool) {
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"event": event, "device": strings.Split(channel, "/")[1], "state": state, "replayed": replayed,
	})
}

package goclient_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"time"

	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

// exampleService stands for your own: a service with an embedded Redis.
func exampleService() *service {
	s, err := startService("")
	if err != nil {
		log.Fatal(err)
	}
	return s
}

// fetchToken stands for a request to your own backend, which knows its devices.
func (s *service) fetchToken(ctx context.Context) (string, error) {
	token, _, err := s.rest().MintToken(ctx, client.TokenRequest{
		Peer:        "camera-001",
		Channels:    []string{"devices/camera-001/*"},
		Permissions: []string{"publish", "subscribe"},
	})
	return token, err
}

// A device: it obeys commands and publishes events. The client connects again and
// gets new tokens by itself.
func Example_device() {
	service := exampleService()
	defer service.stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	camera, err := client.Dial(ctx, client.Options{URL: service.url, Token: service.fetchToken})
	if err != nil {
		log.Fatal(err)
	}
	defer camera.Close()

	obeyed := make(chan struct{})
	err = camera.Subscribe(ctx, "devices/camera-001/commands", func(m client.Message) {
		fmt.Printf("command from %s: %s\n", m.From, m.Data)
		close(obeyed)
	})
	if err != nil {
		log.Fatal(err)
	}
	// Only now, so that no command is missed which an event causes.
	if err := camera.Publish(ctx, "devices/camera-001/events", map[string]any{"motion": true}); err != nil {
		log.Fatal(err)
	}

	// The backend does its part.
	backend := client.REST{BaseURL: service.url, SecretKey: secretKey}
	if _, err := backend.Publish(ctx, "devices/camera-001/commands", map[string]string{"cmd": "reboot"}, client.From("control-plane")); err != nil {
		log.Fatal(err)
	}
	<-obeyed
	// Output: command from control-plane: {"cmd":"reboot"}
}

// An ingester: it hears the events of all devices, and says when it may have missed
// some.
func Example_ingester() {
	service := exampleService()
	defer service.stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	backend := client.REST{BaseURL: service.url, SecretKey: secretKey}
	ingester, err := client.Dial(ctx, client.Options{
		URL: service.url,
		Token: backend.Tokens(client.TokenRequest{
			Peer: "ingester", Channels: []string{"devices/*/events"}, Permissions: []string{"subscribe"},
		}),
		OnState: func(c client.Change) {
			switch c.State {
			case client.Waiting:
				log.Printf("away: %v; back in %v", c.Err, c.RetryIn)
			case client.Live:
				log.Print("events come again")
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer ingester.Close()

	persisted := make(chan struct{}, 1)
	err = ingester.Subscribe(ctx, "devices/*/events", func(m client.Message) {
		if m.Missed > 0 {
			log.Printf("%d messages were dropped: this handler is too slow", m.Missed)
		}
		var event struct{ Motion bool }
		if err := json.Unmarshal(m.Data, &event); err != nil {
			log.Printf("%s: %v", m.Channel, err) // devices write what they like
			return
		}
		fmt.Printf("%s: motion %v\n", m.Channel, event.Motion)
		persisted <- struct{}{}
	})
	if err != nil {
		log.Fatal(err)
	}

	if _, err := backend.Publish(ctx, "devices/camera-001/events", map[string]bool{"motion": true}); err != nil {
		log.Fatal(err)
	}
	<-persisted
	// Output: devices/camera-001/events: motion true
}

// A backend: one request a command, and it learns whether anybody was there.
func Example_backend() {
	service := exampleService()
	defer service.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	backend := client.REST{BaseURL: service.url, SecretKey: secretKey}
	subscribers, err := backend.Publish(ctx, "devices/camera-001/commands", map[string]string{"cmd": "reboot"})
	switch client.CodeOf(err) {
	case "":
		if err != nil {
			log.Fatal(err) // the network, or ctx
		}
	case protocol.RateLimited, protocol.OverMessageQuota:
		log.Fatal("nothing was published; later: ", err)
	case protocol.BackendError: // unless its Outcome is none, the camera may have been told
		log.Fatal("again only if a second reboot does no harm: ", err)
	default:
		log.Fatal("a mistake: ", err)
	}
	if subscribers == 0 {
		fmt.Println("the camera is not connected")
	}
	// Output: the camera is not connected
}

// Camera publishes motion events, obeys commands, and comes back when it is cut
// off: what ../../python/camera.py does, in Go and with clients/go/client, which does the
// coming back.
//
//	go run ./examples/go/camera -device camera-002 -token "$TOKEN"
//
// Without -token it mints its own with FLEETWIRE_SECRET_KEY. That is for trying
// things out: a real device never holds a secret key. It prints one JSON object
// a line for each thing that happens.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"fleetwire/clients/go/client"
)

type camera struct {
	*client.Client
	events   string   // the channel it publishes to
	commands []string // the channels it obeys
	interval time.Duration
	count    int
	started  time.Time
	away     bool // it has been; report's
}

func main() {
	c := camera{started: time.Now()}
	service := client.REST{
		BaseURL:   cmp.Or(os.Getenv("FLEETWIRE_URL"), "http://127.0.0.1:8080"),
		SecretKey: os.Getenv("FLEETWIRE_SECRET_KEY"),
	}
	device := flag.String("device", "camera-002", "the device's `id`")
	fleet := flag.String("fleet", "fleet-northeast", "the `fleet` it belongs to")
	token := flag.String("token", "", "its `JWT`; without it one is minted with FLEETWIRE_SECRET_KEY")
	flag.DurationVar(&c.interval, "interval", 5*time.Second, "time between motion events")
	flag.IntVar(&c.count, "count", 0, "publish so many events, then only listen; 0: no end")
	flag.Parse()
	c.events = "devices/" + *device + "/events"
	c.commands = []string{"devices/" + *device + "/commands", "fleets/" + *fleet + "/commands"}

	opt := client.Options{URL: service.BaseURL, OnState: c.report}
	switch {
	case *token != "":
		opt.Token = client.StaticToken(*token)
	case service.SecretKey != "":
		opt.Token = service.Tokens(client.TokenRequest{
			Peer: *device, Channels: append(c.commands, c.events), Permissions: []string{"publish", "subscribe"},
		})
	default:
		fmt.Fprintln(os.Stderr, "camera: give it a -token, or FLEETWIRE_SECRET_KEY to mint one")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := c.run(ctx, opt); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "camera:", err)
		os.Exit(1)
	}
}

// run returns when ctx ends, or the service will not have the camera any more.
func (c *camera) run(ctx context.Context, opt client.Options) (err error) {
	if c.Client, err = client.New(opt); err != nil {
		return err
	}
	defer func() {
		c.Close()
		<-c.Done()
	}()
	// Events wait for both: from then on no command is missed.
	for _, channel := range c.commands {
		if err := c.HandleCommands(ctx, channel, c.command, client.WithConfirm(), client.WithMessages(c.message)); err != nil {
			return c.why(err)
		}
		say("subscribed", "channel", channel)
	}
	next := time.NewTimer(0)
	for n := 1; c.count == 0 || n <= c.count; n++ {
		select {
		case <-next.C:
		case <-ctx.Done():
			return nil
		case <-c.Done():
			return c.Err()
		}
		err := c.Publish(ctx, c.events, map[string]any{"event": "motion", "seq": n, "at": time.Now().Unix()})
		switch {
		case err == nil:
			say("published", "seq", n)
		case client.CodeOf(err) != "":
			say("error", "code", client.CodeOf(err), "message", err.Error(), "seq", n)
		case errors.Is(err, client.ErrConnectionLost):
			say("error", "code", "connection_lost", "message", err.Error(), "seq", n)
		default:
			return c.why(err)
		}
		next.Reset(c.interval)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-c.Done():
		return c.Err()
	}
}

// why prefers what made the client stop, once report has said it, to err.
func (c *camera) why(err error) error {
	if c.Err() == nil {
		return err
	}
	<-c.Done()
	return c.Err()
}

// Camera publishes motion events, obeys commands, and comes back when it is cut
// off: what ../../python/camera.py does, in Go and with the library gobwas/ws.
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
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/gobwas/ws/wsutil"
)

type camera struct {
	service             service
	device, fleet       string
	token               string // "" is: mint one
	interval            time.Duration
	count               int
	published, failures int
	retryAfter          time.Duration // as going_away asked; negative: it did not
}

func main() {
	c := &camera{service: service{
		baseURL:   strings.TrimSuffix(cmp.Or(os.Getenv("FLEETWIRE_URL"), "http://127.0.0.1:8080"), "/"),
		secretKey: os.Getenv("FLEETWIRE_SECRET_KEY"),
	}}
	flag.StringVar(&c.device, "device", "camera-002", "the device's `id`")
	flag.StringVar(&c.fleet, "fleet", "fleet-northeast", "the `fleet` it belongs to")
	flag.StringVar(&c.token, "token", "", "its `JWT`; without it one is minted with FLEETWIRE_SECRET_KEY")
	flag.DurationVar(&c.interval, "interval", 5*time.Second, "time between motion events")
	flag.IntVar(&c.count, "count", 0, "publish so many events, then only listen; 0: no end")
	flag.Parse()
	if c.token == "" && c.service.secretKey == "" {
		fmt.Fprintln(os.Stderr, "camera: give it a -token, or FLEETWIRE_SECRET_KEY to mint one")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(c.run(ctx))
}

// run keeps the camera connected until ctx ends (0) or the service will not have
// it any more (1).
func (c *camera) run(ctx context.Context) int {
	for {
		c.retryAfter = -1
		err := c.session(ctx)
		if ctx.Err() != nil {
			return 0
		}
		code, reason := 1006, err.Error() // no close frame told why
		if closed := (wsutil.ClosedError{}); errors.As(err, &closed) {
			code, reason = int(closed.Code), closed.Reason
		}
		switch code {
		case 4003, 4012, 4020: // scope too wide, app suspended, disconnected by an operator: stay away
			say("stopped", "code", code, "reason", reason)
			return 1
		case 4001, 4002: // the token is invalid, or has expired
			c.token = ""
			if c.service.secretKey == "" {
				say("stopped", "code", code, "reason", reason+" (start again with a new -token)")
				return 1
			}
		}
		// Jitter: a fleet that lost its node must not come back as one wave.
		delay := rand.N(min(30*time.Second, 500*time.Millisecond<<min(c.failures, 8)))
		if c.retryAfter >= 0 {
			delay = c.retryAfter
		}
		c.failures++
		say("disconnected", "code", code, "reason", reason, "retryInMs", delay.Milliseconds())
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return 0
		}
	}
}

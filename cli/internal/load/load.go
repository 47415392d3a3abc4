// Package load puts a short load on a deployment, as devices and an ingester would, and
// measures what comes of it.
package load

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"fleetwire/clients/go/client"
)

// Options say what load it is.
type Options struct {
	Service  *client.REST
	Prefix   string // begins all channels
	Devices  int
	Rate     float64 // messages a second, of each device
	Size     int     // bytes of data
	Duration time.Duration
}

// Result is what came of it.
type Result struct {
	Devices   int           `json:"devices"`
	Connected time.Duration `json:"-"` // until all were
	Sent      int           `json:"sent"`
	Refused   int           `json:"refused"` // or failed
	Received  int           `json:"received"`
	Took      time.Duration `json:"-"`
	Ack       Latency       `json:"ackMs"`      // from publishing until the ack
	Delivery  Latency       `json:"deliveryMs"` // from publishing until the ingester has it
	LastError error         `json:"-"`
}

// Latency is of a list of times.
type Latency struct {
	P50 float64 `json:"p50"` // ms
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// settle is for how long the last messages are waited for.
const settle = 5 * time.Second

// message is what devices send.
type message struct {
	Run  string `json:"run"`  // which load it belongs to
	Sent int64  `json:"sent"` // ns since the load began
	Fill string `json:"fill"`
}

// run is one load.
type run struct {
	Options
	id        string
	began     time.Time
	mu        sync.Mutex
	acks      []time.Duration
	delivered []time.Duration
	refused   int
	last      error
}

// Run connects an ingester and the devices, has them publish, and waits until all has arrived.
func Run(ctx context.Context, opt Options) (Result, error) {
	r := &run{Options: opt, id: rand.Text(), began: time.Now()}
	ingester, err := client.Dial(ctx, client.Options{
		URL:   opt.Service.BaseURL,
		Token: opt.Service.Tokens(client.TokenRequest{Peer: opt.Prefix + "-ingester", Channels: []string{opt.Prefix + "/*"}, Permissions: []string{"subscribe"}}),
	})
	if err != nil {
		return Result{}, fmt.Errorf("the ingester does not connect: %w", err)
	}
	defer ingester.Close()
	if err := ingester.Subscribe(ctx, opt.Prefix+"/*", r.hear); err != nil {
		return Result{}, fmt.Errorf("the ingester does not subscribe: %w", err)
	}
	devices, connected, err := r.connect(ctx)
	defer func() {
		for _, device := range devices {
			if device != nil {
				device.Close()
			}
		}
	}()
	if err != nil {
		return Result{}, err
	}
	began := time.Now()
	r.publish(ctx, devices)
	took := time.Since(began)
	r.wait(ctx)
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return Result{
		Devices: opt.Devices, Connected: connected, Sent: len(r.acks), Refused: r.refused, Received: len(r.delivered),
		Took: took, Ack: latency(r.acks), Delivery: latency(r.delivered), LastError: r.last,
	}, nil
}

// connect connects the devices, some at a time.
func (r *run) connect(ctx context.Context) (devices []*client.Client, took time.Duration, err error) {
	const atOnce = 50
	began := time.Now()
	devices = make([]*client.Client, r.Devices)
	gate := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	var mu sync.Mutex
	failures := 0
	for i := range r.Devices {
		gate <- struct{}{}
		all.Go(func() {
			defer func() { <-gate }()
			device, failed := client.Dial(ctx, client.Options{
				URL: r.Service.BaseURL,
				Token: r.Service.Tokens(client.TokenRequest{
					Peer: fmt.Sprintf("%s-%d", r.Prefix, i+1), Channels: []string{r.channel(i)}, Permissions: []string{"publish"},
				}),
			})
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				failures++
				err = cmp.Or(err, fmt.Errorf("device %d does not connect: %w", i+1, failed))
			}
			devices[i] = device
		})
	}
	all.Wait()
	if failures > 1 {
		err = fmt.Errorf("%w, and %d others", err, failures-1)
	}
	return devices, time.Since(began), err
}

func (r *run) channel(device int) string { return fmt.Sprintf("%s/%d", r.Prefix, device+1) }

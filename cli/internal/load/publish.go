package load

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"fleetwire/clients/go/client"
)

// publish has each device publish at its rate for the duration. Their first messages are spread over
// the first interval. A device that has to wait for an ack longer than an interval falls behind.
func (r *run) publish(ctx context.Context, devices []*client.Client) {
	ctx, cancel := context.WithTimeout(ctx, r.Duration)
	defer cancel()
	interval := time.Duration(float64(time.Second) / r.Rate)
	var all sync.WaitGroup
	for i, device := range devices {
		all.Go(func() {
			next := time.NewTimer(interval * time.Duration(i) / time.Duration(len(devices)))
			defer next.Stop()
			for {
				select {
				case <-next.C:
				case <-ctx.Done():
					return
				}
				next.Reset(interval)
				r.publishOne(device, i)
			}
		})
	}
	all.Wait()
}

// publishTime bounds one message, also one that is under way when the duration is over.
const publishTime = 10 * time.Second

func (r *run) publishOne(device *client.Client, i int) {
	ctx, cancel := context.WithTimeout(context.Background(), publishTime)
	defer cancel()
	m := message{Run: r.id, Sent: int64(time.Since(r.began))}
	m.Fill = strings.Repeat("x", max(0, r.Size-len(`{"run":"","sent":1000000000000,"fill":""}`)-len(r.id)))
	began := time.Now()
	err := device.Publish(ctx, r.channel(i), m)
	took := time.Since(began)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.refused++
		r.last = err
		return
	}
	r.acks = append(r.acks, took)
}

// hear is the ingester.
func (r *run) hear(got client.Message) {
	at := time.Since(r.began)
	var m message
	if json.Unmarshal(got.Data, &m) != nil || m.Run != r.id {
		return // of another program, or of another load
	}
	r.mu.Lock()
	r.delivered = append(r.delivered, at-time.Duration(m.Sent))
	r.mu.Unlock()
}

// wait waits until what was acked has arrived, for a while.
func (r *run) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		r.mu.Lock()
		done := len(r.delivered) >= len(r.acks)
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

func latency(times []time.Duration) Latency {
	if len(times) == 0 {
		return Latency{}
	}
	times = slices.Clone(times)
	slices.Sort(times)
	at := func(share float64) float64 {
		d := times[min(len(times)-1, int(share*float64(len(times))))]
		return float64(d.Microseconds()) / 1000
	}
	return Latency{at(0.5), at(0.99), at(1)}
}

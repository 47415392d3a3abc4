//go:build linux

package scenario

import (
	"errors"
	"time"

	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/wire"
)

const command = "fleets/northeast/commands"

// sampled is every how manieth subscriber's latencies are taken.
const sampled = 20

// audience opens the subscribers of one channel.
func (t *trial) audience(n int) ([]int, error) {
	specs := make([]load.Spec, n)
	for i := range specs {
		specs[i] = t.spec(i, nil, []string{command})
		specs[i].Sample = i%sampled == 0
	}
	return t.open(specs)
}

// fanOut publishes one message, waits until all have it, and publishes the next.
func (z size) fanOut(subscribers, messages int) func(*trial) error {
	return func(t *trial) error {
		audience, err := t.audience(subscribers)
		if err != nil {
			return err
		}
		publish, done, err := t.publisher(command)
		if err != nil {
			return err
		}
		defer done()
		if err := t.expectOne(subscribers, publish); err != nil {
			return err
		}

		before := t.pool.Received(audience)
		total := t.pool.Delivered()
		start := total
		var times []time.Duration
		used, err := t.used(func() error {
			for range messages {
				total += int64(subscribers)
				t.pool.Expect(total)
				began := load.Now()
				if err := publish(began); err != nil {
					return err
				}
				last, err := t.pool.Await(t.ctx, total, stall)
				if errors.Is(err, load.ErrStalled) {
					total = t.pool.Delivered() // the tally tells how many
					continue
				}
				if err != nil {
					return err
				}
				times = append(times, last-began)
			}
			return nil
		})
		if err != nil {
			return err
		}
		t.charge(cpuPerDelivery, used, t.pool.Delivered()-start)
		t.latencies(times) // until the last subscriber has it
		t.tally(audience, each(subscribers, int64(messages)), before)
		return nil
	}
}

func each(n int, value int64) []int64 {
	all := make([]int64, n)
	for i := range all {
		all[i] = value
	}
	return all
}

// burstAt offers so many messages a second on one connection, regardless of answers,
// and waits for the rest.
func (z size) burstAt(rate float64) func(*trial) error {
	return func(t *trial) error {
		audience, err := t.audience(z.few)
		if err != nil {
			return err
		}
		publish, err := t.socket(command, wire.Body(bodySize))
		if err != nil {
			return err
		}
		if err := t.expectOne(z.few, publish); err != nil {
			return err
		}

		messages := int(rate * z.burst.Seconds())
		before := t.pool.Received(audience)
		start := t.pool.Delivered()
		total := start + int64(messages*z.few)
		var began, last, offering time.Duration
		used, err := t.used(func() (err error) {
			t.pool.Expect(total)
			began = load.Now()
			offering, err = load.Offer(t.ctx, messages, rate, func(_ int, due time.Duration) error { return publish(due) })
			if err != nil {
				return err
			}
			last, err = t.awaitAll(total)
			return err
		})
		if err != nil {
			return err
		}
		came := t.pool.Delivered() - start
		t.metric(deliveriesPerSec, "", float64(came)/(last-began).Seconds())
		t.charge(cpuPerDelivery, used, came)
		t.latencies(t.pool.TakeSamples())
		t.metric("offered/s", "", float64(messages)/offering.Seconds())
		t.tally(audience, each(z.few, int64(messages)), before)
		return nil
	}
}

// awaitAll waits until all have come or nothing comes any more, and returns when
// the last came.
func (t *trial) awaitAll(total int64) (time.Duration, error) {
	last, err := t.pool.Await(t.ctx, total, stall)
	if errors.Is(err, load.ErrStalled) {
		return load.Now() - stall, nil
	}
	return last, err
}

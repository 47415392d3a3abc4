//go:build linux

package scenario

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/wire"
)

// window is how many messages are under way at most when ingest is saturated.
const window = 8192

// fleet is devices that publish, and ingesters that are each subscribed to a
// part of what they publish, by a wildcard.
type fleet struct {
	writers   []load.Writer
	messages  []*wire.Message
	ingesters []int
	parts     int
}

// newFleet opens a fleet whose devices lie in so many parts, each with an
// ingester of its own; one part's ingester hears all.
func (t *trial) newFleet(devices, parts int) (*fleet, error) {
	f := &fleet{parts: parts}
	ingesters := make([]load.Spec, parts)
	for i := range ingesters {
		pattern := fmt.Sprintf("sites/site-%04d/*/events", i)
		ingesters[i] = t.spec(500_000+i, nil, []string{pattern})
		ingesters[i].Sample = true
	}
	var err error
	if f.ingesters, err = t.open(ingesters); err != nil {
		return nil, err
	}
	// The ingesters of a set become ready in any order; what each is due goes by number.
	slices.Sort(f.ingesters)
	specs := make([]load.Spec, devices)
	for i := range specs {
		name := fmt.Sprintf("sites/site-%04d/device-%04d/events", i%parts, i)
		specs[i] = t.spec(i, []string{name}, nil)
		f.messages = append(f.messages, t.system.Dialect.Publish(name, wire.Body(bodySize)))
	}
	opened, err := t.open(specs)
	if err != nil {
		return nil, err
	}
	slices.Sort(opened)
	for _, n := range opened {
		f.writers = append(f.writers, t.pool.Writer(n))
	}
	return f, t.expectOne(1, func(stamp time.Duration) error { return f.publish(0, stamp) })
}

// publish sends the nth message: the devices take turns.
func (f *fleet) publish(n int, stamp time.Duration) error {
	i := n % len(f.writers)
	return f.writers[i].Write(f.messages[i], stamp)
}

// due is how many of n messages each ingester is to get.
func (f *fleet) due(n int) []int64 {
	all := make([]int64, f.parts)
	rounds, rest := n/len(f.writers), n%len(f.writers)
	for i := range f.writers {
		share := rounds
		if i < rest {
			share++
		}
		all[i%f.parts] += int64(share)
	}
	return all
}

func (z size) ingest(t *trial) error { return z.saturate(t, 1) }

func (z size) wildcards(patterns int) func(*trial) error {
	return func(t *trial) error { return z.saturate(t, patterns) }
}

// saturate has devices publish as fast as what they publish arrives.
func (z size) saturate(t *trial, parts int) error {
	f, err := t.newFleet(z.devices, parts)
	if err != nil {
		return err
	}
	before := t.pool.Received(f.ingesters)
	start := t.pool.Delivered()
	began := load.Now()
	sent := 0
	var last time.Duration
	used, err := t.used(func() error {
		for load.Now()-began < z.load {
			if under := int64(sent) - (t.pool.Delivered() - start); under >= window {
				half := start + int64(sent-window/2)
				t.pool.Expect(half)
				if _, err := t.pool.Await(t.ctx, half, stall); errors.Is(err, load.ErrStalled) {
					break // lost: the tally tells how many
				} else if err != nil {
					return err
				}
			}
			for range 64 {
				if err := f.publish(sent, load.Now()); err != nil {
					return err
				}
				sent++
			}
		}
		total := start + int64(sent)
		t.pool.Expect(total)
		last, err = t.awaitAll(total)
		return err
	})
	if err != nil {
		return err
	}
	came := t.pool.Delivered() - start
	t.metric(messagesPerSec, "", float64(came)/(last-began).Seconds())
	t.charge(cpuPerMessage, used, came)
	t.tally(f.ingesters, f.due(sent), before)
	return nil
}

// steadyIngest has devices publish at a steady rate.
func (z size) steadyIngest(t *trial) error {
	f, err := t.newFleet(z.devices, 1)
	if err != nil {
		return err
	}
	messages := int(z.steadyRate * z.load.Seconds())
	before := t.pool.Received(f.ingesters)
	start := t.pool.Delivered()
	used, err := t.used(func() error {
		if _, err := load.Offer(t.ctx, messages, z.steadyRate, f.publish); err != nil {
			return err
		}
		total := start + int64(messages)
		t.pool.Expect(total)
		_, err := t.awaitAll(total)
		return err
	})
	if err != nil {
		return err
	}
	t.charge(cpuPerMessage, used, t.pool.Delivered()-start)
	t.latencies(t.pool.TakeSamples())
	t.tally(f.ingesters, f.due(messages), before)
	return nil
}

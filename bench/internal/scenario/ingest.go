//go:build linux

package scenario

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/system"
	"fleetwire/bench/internal/wire"
)

const (
	// window is how many messages are under way at most when ingest is saturated.
	window    = 8192
	unbounded = math.MaxInt
	// linkPatience is how long the first message may take from node to node.
	linkPatience = 500 * time.Millisecond
)

// fleet is devices that publish, and ingesters that are each subscribed to a
// part of what they publish, by a wildcard. If there are several nodes, the devices
// are on the first and the ingesters on the last.
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
		ingesters[i] = t.spec(500_000+i, nil, []string{t.eventsOf(i, "*")})
		ingesters[i].Address = t.system.Addresses[len(t.system.Addresses)-1]
		ingesters[i].Sample = true
		if t.remembering == system.Grouped {
			keeper := t.system.Dialect.(wire.Keeper)
			ingesters[i].Opening = keeper.Ingest(fmt.Sprintf("ingester-%d", i), system.Grouped+"/**", system.Group)
			ingesters[i].Answer = keeper.Acks(system.Group)
		}
	}
	var err error
	if f.ingesters, err = t.open(ingesters); err != nil {
		return nil, err
	}
	// The ingesters of a set become ready in any order; what each is due goes by number.
	slices.Sort(f.ingesters)
	specs := make([]load.Spec, devices)
	for i := range specs {
		name := t.eventsOf(i%parts, fmt.Sprintf("device-%04d", i))
		specs[i] = t.spec(i, []string{name}, nil)
		specs[i].Address = t.system.Addresses[0]
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
	first := func(stamp time.Duration) error { return f.publish(0, stamp) }
	if err := awaitLinks(func() (time.Duration, error) {
		total := t.pool.Delivered() + 1
		t.pool.Expect(total)
		if err := first(load.Now()); err != nil {
			return 0, err
		}
		return t.pool.Await(t.ctx, total, linkPatience)
	}); err != nil {
		return nil, err
	}
	return f, t.expectOne(1, first)
}

// eventsOf is the channel that a device of a site publishes to, or the pattern that
// means all of them.
func (t *trial) eventsOf(site int, device string) string {
	separator := "/"
	if _, bare := t.system.Dialect.(wire.Centrifugo); bare {
		device = "all" // it has no wildcards: the devices share a channel
		separator = ":"
	}
	name := fmt.Sprintf("sites/site-%04d/%s/events", site, device)
	if t.remembering != "" {
		name = t.remembering + separator + name
	}
	return name
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

func (z size) ingest(t *trial) error { return z.saturate(t, 1, window) }

// remember is ingest into channels that remember, as systems are configured for names that
// begin so.
func remember(prefix string, ingest func(*trial) error) func(*trial) error {
	return func(t *trial) error {
		t.remembering = prefix
		return ingest(t)
	}
}

func (z size) flood(t *trial) error { return z.saturate(t, 1, unbounded) }

func (z size) wildcards(patterns int) func(*trial) error {
	return func(t *trial) error { return z.saturate(t, patterns, window) }
}

// saturate has devices publish as fast as what they publish arrives, with so many
// messages under way at most.
func (z size) saturate(t *trial, parts int, window int64) error {
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
				half := start + int64(sent) - window/2
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
	t.latencies(t.pool.TakeSamples())
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

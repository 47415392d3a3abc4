//go:build linux

package scenario

import (
	"slices"
	"time"

	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/stats"
	"fleetwire/bench/internal/wire"
)

// Bytes for the slow one beside the others' messages: so many that a server's
// buffer for it soon passes every bound.
const (
	footage     = "cameras/7/footage"
	footageBody = 32 << 10
	footageRate = 50 // a second
)

// slowReader publishes at a steady rate to an audience, and much more to one
// member of it: first to one who reads, then to one who does not.
func (z size) slowReader(t *trial) error {
	audience, err := t.audience(z.few)
	if err != nil {
		return err
	}
	publish, err := t.socket(command, wire.Body(bodySize))
	if err != nil {
		return err
	}
	flood, err := t.socket(footage, wire.Body(footageBody))
	if err != nil {
		return err
	}
	if err := t.expectOne(z.few, publish); err != nil {
		return err
	}
	before := t.pool.Received(audience)

	spec := t.spec(z.few, nil, []string{footage})
	spec.ReceiveBuffer = 2 * footageBody
	reader, err := t.open([]load.Spec{spec})
	if err != nil {
		return err
	}
	without, err := z.steady(t, publish, flood, true)
	if err != nil {
		return err
	}
	t.pool.Hang(reader[0])
	with, err := z.steady(t, publish, flood, false)
	if err != nil {
		return err
	}
	t.metric("p99 without", "ms", milliseconds(without.p99))
	t.metric("p99 with", "ms", milliseconds(with.p99))
	t.metric(slowRatio, "", float64(with.p99)/float64(max(without.p99, 1)))
	t.metric(slowMemory, "MiB", float64(with.memory-without.memory)/(1<<20))
	t.tally(audience, each(z.few, int64(2*z.slowMessages())), before)

	// How it was parted from, if it was: it reads what there is for it.
	t.pool.Listen(reader[0])
	if err := t.sleep(z.settle); err != nil {
		return err
	}
	fate := summary(t.pool.Problems())
	if fate == "" {
		fate = "still connected"
	}
	t.note("the slow one: %s", fate)
	return nil
}

func (z size) slowMessages() int { return int(z.slowRate * z.slow.Seconds()) }

// stretch is what was measured while messages came at a steady rate.
type stretch struct {
	p99    time.Duration // of the audience
	memory int64         // the most that the servers had
}

// steady publishes for a while. heard says whether the flood is read.
func (z size) steady(t *trial, publish, flood func(time.Duration) error, heard bool) (s stretch, err error) {
	t.pool.TakeSamples()
	total := t.pool.Delivered() + int64(z.slowMessages()*z.few)
	every := max(1, int(z.slowRate)/footageRate)
	_, err = load.Offer(t.ctx, z.slowMessages(), z.slowRate, func(i int, due time.Duration) error {
		if i%every == 0 {
			if heard {
				total++
			}
			if err := flood(due); err != nil {
				return err
			}
		}
		if i%10 == 0 {
			servers, _, err := t.system.Memory()
			if err != nil {
				return err
			}
			s.memory = max(s.memory, servers)
		}
		return publish(due)
	})
	if err != nil {
		return s, err
	}
	t.pool.Expect(total)
	if _, err := t.awaitAll(total); err != nil {
		return s, err
	}
	samples := t.pool.TakeSamples()
	slices.Sort(samples)
	s.p99 = stats.Percentile(samples, 99)
	return s, nil
}

//go:build linux

package scenario

import (
	"fmt"
	"slices"
	"time"

	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/stats"
	"fleetwire/bench/internal/wire"
)

const (
	hostile = "hostile-" // begins the names of these scenarios
	// frameRate is how many frames a second the hostile device sends. Its
	// connection may send 100.
	frameRate = 95
	// bystanderRate is how many messages a second the bystander gets. Every fourth
	// is published right behind a hostile frame.
	bystanderRate = 400
)

// beside has one device of another app send frames of one kind, and compares what
// the servers use and how long a bystander's messages take with how it was before.
func (z size) beside(n nuisance) func(*trial) error {
	return func(t *trial) error {
		bystander, err := t.audience(1)
		if err != nil {
			return err
		}
		publish, err := t.socket(command, wire.Body(bodySize))
		if err != nil {
			return err
		}
		if err := t.expectOne(1, publish); err != nil {
			return err
		}
		frames := n.frames(t.system.Hostile)
		device, err := t.hostileDevice(n, frames)
		if err != nil {
			return err
		}
		if err := t.sleep(z.hostile); err != nil { // what its coming has caused is over
			return err
		}

		before := t.pool.Received(bystander)
		alone, err := z.watch(t, publish, func(int) error { return nil })
		if err != nil {
			return err
		}
		with, err := z.watch(t, publish, func(i int) error { return device.Send(frames[i%len(frames)].Send) })
		if err != nil {
			return err
		}
		t.metric(nodeShare, "%", with.node-alone.node)
		t.metric(redisShare, "%", with.redis-alone.redis)
		t.metric("p50 alone", "ms", milliseconds(alone.p50))
		t.metric(p50, "ms", milliseconds(with.p50))
		t.metric("p99 alone", "ms", milliseconds(alone.p99))
		t.metric(p99, "ms", milliseconds(with.p99))
		t.metric(besideRatio, "", float64(with.p99)/float64(max(alone.p99, 1)))
		t.tally(bystander, each(1, int64(2*z.bystanderMessages())), before)
		return nil
	}
}

func (z size) bystanderMessages() int { return int(bystanderRate * z.hostile.Seconds()) }

// hostileDevice opens the others of its app, and then the device. Its first
// frames must be answered as they are meant to be.
func (t *trial) hostileDevice(n nuisance, frames []wire.Step) (w load.Writer, err error) {
	specs := make([]load.Spec, n.others)
	for i := range specs {
		specs[i] = t.spec(i, nil, nil)
		specs[i].Opening = t.system.Hostile.Open(fmt.Sprintf("other-%05d", i), nil, []string{hostileCrowd})
	}
	if _, err := t.open(specs); err != nil {
		return w, err
	}
	spec := t.spec(0, nil, nil)
	spec.Refusal = "\x00" // errors are what some of its frames are for
	spec.Opening = t.system.Hostile.OpenWith(n.token(t.system.Hostile), n.subscribes)
	spec.Opening.Steps = append(spec.Opening.Steps, frames[:min(len(frames), 8)]...)
	opened, err := t.open([]load.Spec{spec})
	if err != nil {
		return w, err
	}
	return t.pool.Writer(opened[0]), nil
}

// felt is what was measured while a bystander got messages.
type felt struct {
	node, redis float64 // percent of a core
	p50, p99    time.Duration
}

// watch publishes to the bystander at a steady rate, and calls send frameRate times
// a second in between.
func (z size) watch(t *trial, publish func(time.Duration) error, send func(i int) error) (f felt, err error) {
	t.pool.TakeSamples()
	messages, sent := z.bystanderMessages(), 0
	total := t.pool.Delivered() + int64(messages)
	var took time.Duration
	used, err := t.used(func() (err error) {
		t.pool.Expect(total)
		took, err = load.Offer(t.ctx, messages, bystanderRate, func(i int, due time.Duration) error {
			for ; sent*bystanderRate < i*frameRate; sent++ {
				if err := send(sent); err != nil {
					return err
				}
			}
			return publish(due)
		})
		if err != nil {
			return err
		}
		_, err = t.awaitAll(total)
		return err
	})
	if err != nil {
		return f, err
	}
	samples := t.pool.TakeSamples()
	slices.Sort(samples)
	percent := func(d time.Duration) float64 { return 100 * float64(d) / float64(took) }
	return felt{percent(used.servers), percent(used.redis), stats.Percentile(samples, 50), stats.Percentile(samples, 99)}, nil
}

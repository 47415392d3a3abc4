//go:build linux

package scenario

import (
	"errors"
	"fmt"

	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/wire"
	"fleetwire/clients/go/protocol"
)

// recoveredEach is how many messages each device recovers.
const recoveredEach = 10

// recoverAll has each device's channel remember messages, and all devices connect at the
// same moment and recover them, by the position before the first.
func (z size) recoverAll(t *trial) error {
	since := make([]protocol.Position, z.recovering)
	_, err := t.open(t.recoverySpecs(z.recovering, func(f wire.Fleetwire, i int, device, channel string) wire.Opening {
		return f.Remember(device, channel, wire.Body(bodySize), recoveredEach, func(last protocol.Position) {
			since[i] = protocol.Position{Epoch: last.Epoch, Offset: last.Offset - recoveredEach}
		})
	}))
	if err != nil {
		return err
	}
	t.pool.Drop()
	if err := t.sleep(settling); err != nil {
		return err
	}
	specs := t.recoverySpecs(z.recovering, func(f wire.Fleetwire, i int, device, channel string) wire.Opening {
		return f.Recover(device, channel, since[i])
	})
	due := int64(z.recovering) * recoveredEach
	total := t.pool.Delivered() + due
	t.pool.Expect(total)
	var opened load.Opened
	began := load.Now()
	used, err := t.used(func() error {
		if opened, err = t.pool.Open(t.ctx, specs, len(specs)); err != nil {
			return err
		}
		if opened.Failed > 0 {
			return fmt.Errorf("%d of %d devices did not recover: %s", opened.Failed, len(specs), summary(opened.Problems))
		}
		last, err := t.pool.Await(t.ctx, total, stall)
		if errors.Is(err, load.ErrStalled) {
			return nil // what was lost is counted
		}
		t.metric(untilRecovered, "s", (last - began).Seconds())
		return err
	})
	if err != nil {
		return err
	}
	t.metric(untilAll, "s", opened.Took.Seconds())
	t.charge(cpuPerConnection, used, int64(len(opened.Ready)))
	t.tally(opened.Ready, each(len(opened.Ready), recoveredEach), each(len(opened.Ready), 0))
	return nil
}

// recoverySpecs are connections of devices, each with a channel that remembers.
func (t *trial) recoverySpecs(n int, opening func(f wire.Fleetwire, i int, device, channel string) wire.Opening) []load.Spec {
	specs := make([]load.Spec, n)
	for i := range specs {
		specs[i] = t.spec(i, nil, nil)
		specs[i].Opening = opening(t.system.Dialect.(wire.Fleetwire), i, fmt.Sprintf("device-%06d", i), fmt.Sprintf("remembered/device-%06d", i))
	}
	return specs
}

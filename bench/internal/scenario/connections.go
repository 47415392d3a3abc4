//go:build linux

package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fleetwire/bench/internal/load"
)

// warmConnects are opened before anything is measured: the first ones cost more.
const warmConnects = 50

// connectsAtOnce is how many connections are being opened while connecting is
// measured.
const connectsAtOnce = 32

// settling is how long the work that a connect leaves behind may take.
const settling = 500 * time.Millisecond

// deviceSpecs are devices that each listen to a channel of their own.
func (t *trial) deviceSpecs(from, n int) []load.Spec {
	specs := make([]load.Spec, n)
	for i := range specs {
		specs[i] = t.spec(from+i, nil, []string{deviceChannel(from + i)})
	}
	return specs
}

func deviceChannel(i int) string { return fmt.Sprintf("devices/device-%06d/commands", i) }

// connect opens connections, 32 at a time.
func (z size) connect(t *trial) error {
	if _, err := t.open(t.deviceSpecs(0, warmConnects)); err != nil {
		return err
	}
	specs := t.deviceSpecs(warmConnects, z.connects)
	var opened load.Opened
	used, err := t.used(func() (err error) {
		if opened, err = t.pool.Open(t.ctx, specs, connectsAtOnce); err != nil {
			return err
		}
		return t.sleep(settling)
	})
	if err != nil {
		return err
	}
	t.charge(cpuPerConnection, used, int64(len(opened.Ready)))
	t.metric("connections/s", "", float64(len(opened.Ready))/opened.Took.Seconds())
	t.failures(opened)
	return nil
}

// failures reports what did not connect, and why.
func (t *trial) failures(o load.Opened) {
	t.metric(errorCount, "", float64(o.Failed))
	if o.Failed > 0 {
		t.problem("%s", summary(o.Problems))
	}
	t.tell(t.pool.Problems())
}

// idleMemory is what the servers' memory grows by for each connection.
func (z size) idleMemory(t *trial) error {
	if _, err := t.open(t.deviceSpecs(0, warmConnects)); err != nil {
		return err
	}
	if err := t.sleep(settling); err != nil {
		return err
	}
	serversBefore, redisBefore, err := t.system.Memory()
	if err != nil {
		return err
	}
	if _, err := t.open(t.deviceSpecs(warmConnects, z.idle)); err != nil {
		return err
	}
	if err := t.sleep(z.settle); err != nil {
		return err
	}
	servers, redis, err := t.system.Memory()
	if err != nil {
		return err
	}
	kibibytes := func(growth int64) float64 { return float64(growth) / float64(z.idle) / 1024 }
	t.metric(memory, "KiB", kibibytes(servers-serversBefore))
	if redis > 0 {
		t.metric("Redis's", "KiB", kibibytes(redis-redisBefore))
	}
	t.tell(t.pool.Problems())
	return nil
}

// fleetReconnect has all devices connected, drops them, and has all of them
// connect again at the same moment.
func (z size) fleetReconnect(t *trial) error {
	specs := t.deviceSpecs(0, z.fleet)
	if _, err := t.open(specs); err != nil {
		return err
	}
	if err := t.sleep(settling); err != nil {
		return err
	}
	t.pool.Drop()
	limited, cancel := context.WithTimeout(t.ctx, z.fleetLimit)
	defer cancel()
	var opened load.Opened
	used, err := t.used(func() (err error) {
		opened, err = t.pool.Open(limited, specs, len(specs))
		if errors.Is(err, context.DeadlineExceeded) && t.ctx.Err() == nil {
			t.problem("%v", err)
			opened.Failed = len(specs) - len(opened.Ready)
			opened.Took = z.fleetLimit
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	t.metric(untilAll, "s", opened.Took.Seconds())
	t.metric("back", "", float64(len(opened.Ready)))
	t.charge(cpuPerConnection, used, int64(len(opened.Ready)))
	t.failures(opened)
	return nil
}

func (t *trial) sleep(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-t.ctx.Done():
		return t.ctx.Err()
	}
}

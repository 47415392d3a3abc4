//go:build linux

package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fleetwire/bench/internal/crowd"
	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/stats"
	"fleetwire/bench/internal/wire"
)

const (
	usualDevices = 90_000
	leastNodes   = 5
	// devicesPerProcess is what a node and a process of the load generator hold each:
	// a process may often open 20,000 files and no more.
	devicesPerProcess = 18_000
	// memoryPerDevice is what a device takes with all systems: in the server, in the
	// kernel's two sockets and in the load generator.
	memoryPerDevice = 64 << 10
	// connectsPerProcess is how many connections each process has being opened.
	connectsPerProcess = 64
	// timePerDevice bounds connecting: the slowest system takes a tenth of it.
	timePerDevice = 4 * time.Millisecond
)

// devicesScenario has so many devices, 0: as many as usual. The goals are about the
// names with the usual sizes.
func (z size) devicesScenario(devices int) Scenario {
	named := usualDevices
	if devices > 0 {
		z.everyone, named = devices, devices
	}
	nodes := max(leastNodes, (z.everyone+devicesPerProcess-1)/devicesPerProcess)
	return Scenario{
		fmt.Sprintf("devices-%d", named),
		fmt.Sprintf("%d devices on %d nodes, as many processes of the load generator: one publish to all", z.everyone, nodes),
		withCluster(clusters),
		needs{
			connections: (z.everyone+nodes-1)/nodes + 1, nodes: nodes,
			memory: int64(z.everyone) * memoryPerDevice,
			limit:  measureLimit + time.Duration(z.everyone)*timePerDevice,
		},
		z.reachEveryone(nodes),
	}
}

// reachEveryone connects all devices, and publishes one message at a time to all.
func (z size) reachEveryone(processes int) func(*trial) error {
	return func(t *trial) error {
		all, err := crowd.Start(processes)
		if err != nil {
			return err
		}
		defer all.Close()
		if err := z.connectEveryone(t, all); err != nil {
			return err
		}
		publish, err := t.socket(command, wire.Body(bodySize))
		if err != nil {
			return err
		}
		once := func() (time.Duration, error) { return reach(t.ctx, all, publish) }
		if err := awaitLinks(once); err != nil {
			return err
		}
		return z.publishToEveryone(t, all, once)
	}
}

// connectEveryone opens the connections of all devices, all of which must become ready.
func (z size) connectEveryone(t *trial, all *crowd.Crowd) error {
	specs := make([]load.Spec, z.everyone)
	for i := range specs {
		specs[i] = t.spec(i, nil, []string{command})
	}
	if err := all.Prepare(t.ctx, specs); err != nil {
		return err
	}
	serversBefore, redisBefore, err := t.system.Memory()
	if err != nil {
		return err
	}
	var opened load.Opened
	used, err := t.used(func() (err error) {
		if opened, err = all.Open(t.ctx, connectsPerProcess, time.Duration(z.everyone)*timePerDevice+stall); err != nil {
			return err
		}
		return t.sleep(settling)
	})
	if err != nil {
		return err
	}
	if opened.Failed > 0 {
		return fmt.Errorf("%d of %d devices did not connect: %s", opened.Failed, z.everyone, summary(opened.Problems))
	}
	servers, redis, err := t.system.Memory()
	if err != nil {
		return err
	}
	t.metric(allConnected, "s", opened.Took.Seconds())
	t.metric(cpuPerConnection, "µs", float64((used.servers+used.redis).Microseconds())/float64(z.everyone))
	t.metric(memory, "KiB", float64(servers-serversBefore+redis-redisBefore)/float64(z.everyone)/1024)
	return nil
}

// reach publishes a message and returns how long it took until the last device had it.
func reach(ctx context.Context, all *crowd.Crowd, publish func(time.Duration) error) (time.Duration, error) {
	if err := all.Expect(ctx, 1); err != nil {
		return 0, err
	}
	began := load.Now()
	if err := publish(began); err != nil {
		return 0, err
	}
	last, err := all.Await(ctx, stall)
	return last - load.MachineTime(began), err
}

func (z size) publishToEveryone(t *trial, all *crowd.Crowd, once func() (time.Duration, error)) error {
	before, _, err := all.Count(t.ctx)
	if err != nil {
		return err
	}
	var times []time.Duration
	used, err := t.used(func() error {
		for range z.publishes {
			took, err := once()
			if errors.Is(err, load.ErrStalled) {
				continue // what was lost is counted
			}
			if err != nil {
				return err
			}
			times = append(times, took)
		}
		return nil
	})
	if err != nil {
		return err
	}
	after, problems, err := all.Count(t.ctx)
	if err != nil {
		return err
	}
	if len(times) > 0 {
		slices.Sort(times)
		t.metric(untilLast, "s", stats.Percentile(times, 50).Seconds())
		t.metric("slowest", "s", times[len(times)-1].Seconds())
	}
	t.charge(cpuPerDelivery, used, sum(after)-sum(before))
	t.compare(after, each(len(after), int64(z.publishes)), before)
	t.tell(problems)
	return nil
}

func sum(all []int64) (total int64) {
	for _, n := range all {
		total += n
	}
	return total
}

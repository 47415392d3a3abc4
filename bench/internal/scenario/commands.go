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

// rounds is how often publishing and commanding take turns where they are compared: what the
// machine does beside them meets both.
const rounds = 6

// answering makes a device answer the commands that it is handed.
func answering(s load.Spec) load.Spec {
	s.Answer = wire.CommandAnswer
	return s
}

// ended is what the answer to a command has when so many devices have obeyed it.
func ended(devices int) []byte {
	return fmt.Appendf(nil, `"succeeded":%d,"failed":0,"rejected":0,"timedOut":0,"missing":0`, devices)
}

// commandOne has one caller send commands to a device, each when the last has ended, and
// publish to the same device, in turns.
func (z size) commandOne(t *trial) error {
	target := t.deviceSpecs(0, 1)
	device, err := t.open([]load.Spec{answering(target[0])})
	if err != nil {
		return err
	}
	name := deviceChannel(0)
	dialect, err := t.backend()
	if err != nil {
		return err
	}
	publish, command := dialect.REST(name, wire.Body(bodySize)), t.commandTo(name)
	var published, commanded []time.Duration
	var used cost
	for range rounds {
		took, err := work(t.system.REST, publish, nil, load.Now()+z.load/rounds)
		if err != nil {
			return err
		}
		published = append(published, took...)
		one, err := t.used(func() (err error) {
			took, err = work(t.system.REST, command, ended(1), load.Now()+z.load/rounds)
			return err
		})
		if err != nil {
			return err
		}
		commanded = append(commanded, took...)
		used.servers, used.redis = used.servers+one.servers, used.redis+one.redis
	}
	t.charge(cpuPerCommand, used, int64(len(commanded)))
	t.latencies(commanded)
	slices.Sort(published)
	slices.Sort(commanded)
	alone := stats.Percentile(published, 50)
	t.metric("p50 of a publish", "ms", milliseconds(alone))
	t.metric(commandRatio, "", float64(stats.Percentile(commanded, 50))/float64(alone))
	t.tally(device, each(1, int64(len(published)+len(commanded))), each(1, 0))
	return nil
}

// commandMany has so many callers send commands, each to a device of its own.
func (z size) commandMany(callers int) func(*trial) error {
	return func(t *trial) error {
		specs := t.deviceSpecs(0, callers)
		for i := range specs {
			specs[i] = answering(specs[i])
		}
		devices, err := t.open(specs)
		if err != nil {
			return err
		}
		times, took, used, err := z.atOnce(t, callers, ended(1), func(i int) *wire.Message { return t.commandTo(deviceChannel(i)) })
		if err != nil {
			return err
		}
		all := slices.Concat(times...)
		t.metric(commandsPerSec, "", float64(len(all))/took.Seconds())
		t.charge(cpuPerCommand, used, int64(len(all)))
		t.latencies(all)
		slices.Sort(devices) // into the order of the callers
		due := make([]int64, callers)
		for i := range times {
			due[i] = int64(len(times[i]))
		}
		t.tally(devices, due, each(callers, 0))
		return nil
	}
}

// commandFleet sends one command at a time to a fleet, whose devices are on all nodes.
func (z size) commandFleet(t *trial) error {
	specs := make([]load.Spec, z.devices)
	for i := range specs {
		specs[i] = answering(t.spec(i, nil, []string{command}))
	}
	devices, err := t.open(specs)
	if err != nil {
		return err
	}
	backend, err := load.DialREST(t.system.REST)
	if err != nil {
		return err
	}
	defer backend.Close()
	backend.Expect = ended(z.devices)
	m := t.commandTo(command)
	if err := backend.Do(m, load.Now()); err != nil { // warms everything up
		return err
	}
	var times []time.Duration
	used, err := t.used(func() error {
		for range z.fleetCommands {
			began := load.Now()
			if err := backend.Do(m, began); err != nil {
				return err
			}
			times = append(times, load.Now()-began)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(times)
	t.metric(untilAnswered, "s", stats.Percentile(times, 50).Seconds())
	t.metric("slowest", "s", times[len(times)-1].Seconds())
	t.charge(cpuPerAnswer, used, int64(z.devices*z.fleetCommands))
	t.tally(devices, each(len(devices), int64(1+z.fleetCommands)), each(len(devices), 0))
	return nil
}

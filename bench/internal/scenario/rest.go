//go:build linux

package scenario

import (
	"errors"
	"slices"
	"sync"
	"time"

	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/wire"
)

// rest has workers publish by HTTP, each the next when the last is answered.
func (z size) rest(workers int) func(*trial) error {
	return func(t *trial) error {
		dialect, err := t.backend()
		if err != nil {
			return err
		}
		audience, err := t.audience(1)
		if err != nil {
			return err
		}
		publish, done, err := t.publisher(command)
		if err != nil {
			return err
		}
		defer done()
		if err := t.expectOne(1, publish); err != nil {
			return err
		}

		before := t.pool.Received(audience)
		start := t.pool.Delivered()
		times, took, used, err := z.atOnce(t, workers, nil, func(int) *wire.Message { return dialect.REST(command, wire.Body(bodySize)) })
		if err != nil {
			return err
		}
		all := slices.Concat(times...)
		if _, err := t.awaitAll(start + int64(len(all))); err != nil {
			return err
		}
		t.metric(requestsPerSec, "", float64(len(all))/took.Seconds())
		t.charge(cpuPerRequest, used, int64(len(all)))
		t.latencies(all) // of the answers
		t.tally(audience, each(1, int64(len(all))), before)
		return nil
	}
}

// atOnce has workers make requests at the same time, each its own (work). It returns how
// long each request of each worker took, and all of it.
func (z size) atOnce(t *trial, workers int, expect []byte, request func(worker int) *wire.Message) (times [][]time.Duration, took time.Duration, used cost, err error) {
	times = make([][]time.Duration, workers)
	failures := make([]error, workers)
	began := load.Now()
	used, err = t.used(func() error {
		var running sync.WaitGroup
		for i := range workers {
			running.Go(func() { times[i], failures[i] = work(t.system.REST, request(i), expect, began+z.load) })
		}
		running.Wait()
		return errors.Join(failures...)
	})
	return times, load.Now() - began, used, err
}

// restFlood has a worker publish by HTTP beside devices that publish as fast as their
// sockets take it.
func (z size) restFlood(t *trial) error {
	dialect, err := t.backend()
	if err != nil {
		return err
	}
	f, err := t.newFleet(z.devices, 1)
	if err != nil {
		return err
	}
	before := t.pool.Received(f.ingesters)
	start := t.pool.Delivered()
	began := load.Now()
	sent, flooded := 0, make(chan error, 1)
	go func() {
		for load.Now()-began < z.load {
			if err := f.publish(sent, load.Now()); err != nil {
				flooded <- err
				return
			}
			sent++
		}
		flooded <- nil
	}()
	times, failed := work(t.system.REST, dialect.REST(command, wire.Body(bodySize)), nil, began+z.load)
	if err := errors.Join(<-flooded, failed); err != nil {
		return err
	}
	total := start + int64(sent)
	t.pool.Expect(total)
	last, err := t.awaitAll(total)
	if err != nil {
		return err
	}
	t.metric(requestsPerSec, "", float64(len(times))/z.load.Seconds())
	t.latencies(times) // of the answers
	t.metric(messagesPerSec, "", float64(t.pool.Delivered()-start)/(last-began).Seconds())
	t.tally(f.ingesters, f.due(sent), before)
	return nil
}

// work makes requests until the time, and returns how long each took. Every answer must
// contain expect.
func work(address string, m *wire.Message, expect []byte, until time.Duration) (times []time.Duration, err error) {
	backend, err := load.DialREST(address)
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	backend.Expect = expect
	for now := load.Now(); now < until; {
		if err := backend.Do(m, now); err != nil {
			return times, err
		}
		answered := load.Now()
		times = append(times, answered-now)
		now = answered
	}
	return times, nil
}

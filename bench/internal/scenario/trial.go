//go:build linux

package scenario

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/report"
	"fleetwire/bench/internal/stats"
	"fleetwire/bench/internal/system"
	"fleetwire/bench/internal/wire"
)

const (
	// bodySize is that of a message's data: a reading or a command. Also what
	// keeps the marker out of MQTT's length byte.
	bodySize = 100
	// stall is how long nothing may come before messages count as lost.
	stall = 3 * time.Second
	// atOnce is how many connections are opened at the same time where that is not
	// what is measured.
	atOnce = 256
)

// trial is one measurement of one system.
type trial struct {
	ctx    context.Context
	rep    int
	system *system.System
	result *report.System
	pool   *load.Pool

	remembering string // what the names of channels begin with; "": they remember nothing
}

func (t *trial) metric(name, unit string, value float64) { t.result.Add(t.rep, name, unit, value) }

func (t *trial) problem(format string, args ...any) {
	t.result.Problems = append(t.result.Problems, report.Remark{Rep: t.rep, Text: fmt.Sprintf(format, args...)})
}

func (t *trial) note(format string, args ...any) {
	t.result.Notes = append(t.result.Notes, report.Remark{Rep: t.rep, Text: fmt.Sprintf(format, args...)})
}

// spec is a connection of a device.
func (t *trial) spec(number int, publishes, subscribes []string) load.Spec {
	return load.Spec{
		Address: t.system.Addresses[number%len(t.system.Addresses)],
		Opening: t.system.Dialect.Open(fmt.Sprintf("device-%06d", number), publishes, subscribes),
		Refusal: t.system.Dialect.Refusal(),
	}
}

// open opens connections, all of which must become ready.
func (t *trial) open(specs []load.Spec) ([]int, error) {
	opened, err := t.pool.Open(t.ctx, specs, atOnce)
	if err == nil && opened.Failed > 0 {
		err = fmt.Errorf("%d of %d connections failed: %s", opened.Failed, len(specs), summary(opened.Problems))
	}
	return opened.Ready, err
}

func summary(problems map[string]int) (text string) {
	for _, why := range slices.Sorted(maps.Keys(problems)) {
		if text != "" {
			text += "; "
		}
		text += fmt.Sprintf("%d × %s", problems[why], why)
	}
	return text
}

// expectOne publishes one message and wants it to arrive exactly so often: it
// proves that messages are counted right, and warms everything up.
func (t *trial) expectOne(times int, publish func(time.Duration) error) error {
	before := t.pool.Delivered()
	for i := range 5 {
		total := before + int64((i+1)*times)
		t.pool.Expect(total)
		if err := publish(load.Now()); err != nil {
			return err
		}
		if _, err := t.pool.Await(t.ctx, total, stall); err != nil {
			return fmt.Errorf("a message to %d subscribers was counted %d times: %w", times, t.pool.Delivered()-before, err)
		}
		if extra := t.pool.Delivered() - total; extra > 0 {
			return fmt.Errorf("a message to %d subscribers was counted %d times too often", times, extra)
		}
	}
	t.pool.TakeSamples()
	return nil
}

// awaitLinks tries until a message reaches all who are subscribed: nodes tell each
// other what is subscribed to on them, and some need a moment. once publishes a
// message and waits for it.
func awaitLinks(once func() (time.Duration, error)) error {
	const tries = 10
	for range tries {
		if _, err := once(); !errors.Is(err, load.ErrStalled) {
			return err
		}
	}
	return fmt.Errorf("no message of %d reached all who are subscribed", tries)
}

// cost is the CPU time that work took.
type cost struct{ servers, redis time.Duration }

// used runs the work and returns what the system used meanwhile.
func (t *trial) used(work func() error) (c cost, err error) {
	servers, redis, err := t.system.CPU()
	if err != nil {
		return c, err
	}
	if err := work(); err != nil {
		return c, err
	}
	c.servers, c.redis, err = t.system.CPU()
	c.servers -= servers
	c.redis -= redis
	return c, err
}

// charge reports the cost for each of so many, Redis's included.
func (t *trial) charge(name string, c cost, n int64) {
	each := func(d time.Duration) float64 {
		return float64(d) / float64(max(n, 1)) / float64(time.Microsecond)
	}
	t.metric(name, "µs", each(c.servers+c.redis))
	if c.redis > 0 {
		t.metric(redisPart, "µs", each(c.redis))
	}
}

// tally compares what each connection got with what it was due, and reports
// what was lost or came twice, and what went wrong on connections.
func (t *trial) tally(connections []int, due, before []int64) {
	t.compare(t.pool.Received(connections), due, before)
	t.tell(t.pool.Problems())
}

// compare reports what was lost or came twice.
func (t *trial) compare(received, due, before []int64) {
	missing, twice := int64(0), int64(0)
	for i, n := range received {
		got := n - before[i]
		missing += max(0, due[i]-got)
		twice += max(0, got-due[i])
	}
	t.metric(lost, "", float64(missing))
	if twice > 0 {
		t.problem("%d messages came more than once", twice)
	}
}

// tell reports what went wrong on connections.
func (t *trial) tell(problems map[string]int) {
	if len(problems) > 0 {
		t.problem("%s", summary(problems))
	}
}

// latencies reports percentiles of times.
func (t *trial) latencies(times []time.Duration) {
	slices.Sort(times)
	t.metric(p50, "ms", milliseconds(stats.Percentile(times, 50)))
	t.metric(p99, "ms", milliseconds(stats.Percentile(times, 99)))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// publisher returns how one message at a time is published: by HTTP where the
// system has an API, else on a connection of its own.
func (t *trial) publisher(channel string) (publish func(time.Duration) error, done func(), err error) {
	body := wire.Body(bodySize)
	if t.system.REST == "" {
		publish, err := t.socket(channel, body)
		return publish, func() {}, err
	}
	dialect, err := t.backend()
	if err != nil {
		return nil, nil, err
	}
	backend, err := load.DialREST(t.system.REST)
	if err != nil {
		return nil, nil, err
	}
	m := dialect.REST(channel, body)
	return func(stamp time.Duration) error { return backend.Do(m, stamp) }, backend.Close, nil
}

// commandTo is the request that commands the receivers of a channel, and waits for the end.
func (t *trial) commandTo(channel string) *wire.Message {
	return t.system.Dialect.(wire.Fleetwire).Command(channel, wire.Body(bodySize))
}

func (t *trial) backend() (wire.Backend, error) {
	dialect, ok := t.system.Dialect.(wire.Backend)
	if !ok || t.system.REST == "" {
		return nil, fmt.Errorf("%s has no HTTP API", t.system.Name)
	}
	return dialect, nil
}

// socket returns how messages are published on a connection of its own.
func (t *trial) socket(channel string, body []byte) (func(time.Duration) error, error) {
	opened, err := t.open([]load.Spec{t.spec(999_999, []string{channel}, nil)})
	if err != nil {
		return nil, err
	}
	w, m := t.pool.Writer(opened[0]), t.system.Dialect.Publish(channel, body)
	return func(stamp time.Duration) error { return w.Write(m, stamp) }, nil
}

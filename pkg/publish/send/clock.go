package send

import (
	"context"
	"net"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// driftPer is how much two clocks may drift apart: one part in so many. NTP slews
// a clock by at most 500 µs a second.
const driftPer = 1000

// clock is what this process knows of Redis's clock. A deadline that it gives is
// never later by Redis's clock than it is here, and earlier by a round trip at
// most. It holds while neither clock is set. If this process was stopped together
// with its own clock (a function between two calls), deadlines come too early,
// until the next answer corrects that: such a batch is refused, and sent again.
type clock struct {
	dials atomic.Int64 // connections to Redis that this process has begun

	known  bool
	dialed int64     // dials when the clock was learned
	least  int64     // microseconds since 1970 that Redis's clock showed at least
	at     time.Time // at this instant here
	server string    // run_id of the Redis it is; "" if it does not say
	ofNode bool      // of a cluster
	node   string    // its id there; "" if it does not say
}

// learn takes what Redis's clock showed at some instant between two of ours.
func (c *clock) learn(sent, received time.Time, shown int64) {
	if expected := c.deadline(received); c.known && expected >= shown {
		if expected <= shown+received.Sub(sent).Microseconds() {
			shown = expected // closer: an answer that came quicker has told it
		} // else Redis's clock was set back
	}
	c.known, c.least, c.at = true, shown, received
}

// deadline is an instant by Redis's clock.
func (c *clock) deadline(t time.Time) int64 {
	ahead := t.Sub(c.at)
	return c.least + (ahead - ahead.Abs()/driftPer).Microseconds()
}

var runID = regexp.MustCompile(`(?m)^run_id:([0-9a-f]+)`)

// isKnown: and no connection was made since.
func (c *clock) isKnown() bool { return c.known && c.dialed == c.dials.Load() }

// ask asks Redis for its time, if it is not known or a connection was made since:
// there may be another Redis behind it. It says whether it did.
func (c *clock) ask(ctx context.Context, rdb redis.UniversalClient) (asked bool, err error) {
	if c.isKnown() {
		return false, nil
	}
	sent := time.Now()
	p := rdb.Pipeline()
	shown, info := p.Time(ctx), p.Info(ctx, "server")
	var node *redis.StringCmd
	if c.ofNode {
		node = p.ClusterMyID(ctx)
	}
	_, _ = p.Exec(ctx) // a Redis that lets us not have INFO is asked again in no other way
	if err := shown.Err(); err != nil {
		return true, err
	}
	c.known, c.server = false, ""
	if found := runID.FindStringSubmatch(info.Val()); found != nil {
		c.server = found[1]
	}
	if c.ofNode {
		c.node = node.Val()
	}
	c.learn(sent, time.Now(), shown.Val().UnixMicro())
	c.dialed = c.dials.Load()
	return true, nil
}

// The clock hooks into a client to see it dial.

// DialHook counts the connections that are begun.
func (c *clock) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c.dials.Add(1)
		return next(ctx, network, addr)
	}
}

// ProcessHook changes nothing.
func (c *clock) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook changes nothing.
func (c *clock) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

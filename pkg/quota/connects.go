package quota

import (
	"context"
	_ "embed"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// connectWindow is the window of connectsPerAddressPerMin (protocol §6).
const connectWindow = 60 * time.Second

var (
	//go:embed connects.lua
	connectsLua    string
	connectsScript = redisconn.NewScript(connectsLua)
)

// connect is one connect that asks to pass.
type connect struct {
	app, address string
	perMinute    int

	passes bool
	wait   time.Duration // until the window ends, if it does not pass
	err    error
}

// AllowConnect counts a connect of a client address towards an app ("" for a
// credential that names no app) and says whether it is within perMinute. When
// it is not, retryAfter says when the address's window ends.
func (l *RateLimiter) AllowConnect(ctx context.Context, appID, address string, perMinute int) (ok bool, retryAfter time.Duration, err error) {
	key := l.keys.ConnectRate(appID, address)
	if l.away(key) {
		return false, 0, errAway
	}
	c := &connect{app: appID, address: address, perMinute: perMinute}
	if err = l.connects.Do(ctx, c); err == nil {
		err = c.err
	}
	l.observe(ctx, key, err)
	if err != nil {
		return false, 0, err
	}
	return c.passes, c.wait, nil
}

// countConnects has all connects to one app counted by one script.
func countConnects(ctx context.Context, rdb redis.UniversalClient, keys rediskeys.Namespace, connects []*connect) error {
	type counter struct {
		call  *redisconn.Call
		at    int   // which of the call's keys
		asked int64 // how many connects of the address
	}
	type address struct{ app, address string }
	var calls []*redisconn.Call
	ofApp := make(map[string]*redisconn.Call, 1)
	counters := make(map[address]*counter, len(connects))
	of := make([]*counter, len(connects))
	place := make([]int64, len(connects)) // among those of its address, from 1
	for i, c := range connects {
		call := ofApp[c.app]
		if call == nil {
			call = &redisconn.Call{Script: connectsScript, Args: []any{connectWindow.Milliseconds()}}
			ofApp[c.app] = call
			calls = append(calls, call)
		}
		one := counters[address{c.app, c.address}]
		if one == nil {
			one = &counter{call: call, at: len(call.Keys)}
			counters[address{c.app, c.address}] = one
			call.Keys = append(call.Keys, keys.ConnectRate(c.app, c.address))
			call.Args = append(call.Args, nil, nil)
		}
		one.asked++
		of[i], place[i] = one, one.asked
		// While an apps document is replaced there may be two limits, of which the
		// lower has the script say how long the window lasts.
		limit := c.perMinute
		if one.asked > 1 {
			limit = min(limit, call.Args[2+2*one.at].(int))
		}
		call.Args[1+2*one.at], call.Args[2+2*one.at] = one.asked, limit
	}
	err := redisconn.Exec(ctx, rdb, calls)
	for i, c := range connects {
		var reply []int64
		if reply, c.err = of[i].call.Reply.Int64Slice(); c.err != nil {
			continue
		}
		count, wait := reply[2*of[i].at], reply[2*of[i].at+1]
		if c.passes = count-of[i].asked+place[i] <= int64(c.perMinute); !c.passes {
			c.wait = time.Duration(wait) * time.Millisecond
		}
	}
	return err
}

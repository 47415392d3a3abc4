package quota

import (
	_ "embed"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// BucketLua is the Lua function
//
//	take(key, asked, rate, burst, now) → given, milliseconds until the next token
//
// of a token bucket, for scripts to begin with: it is the only place that does
// the arithmetic.
//
//go:embed bucket.lua
var BucketLua string

//go:embed rates.lua
var ratesLua string

var ratesScript = redisconn.NewScript(BucketLua + ratesLua)

// Bucket is a token bucket in Redis. It begins full.
type Bucket struct {
	Key    string
	PerSec int // tokens that it gets each second
	Burst  int // tokens that it holds
}

// RESTBucket is the bucket from which each REST request of the key takes one
// token (protocol §6).
func RESTBucket(keys rediskeys.Namespace, key *apps.Key) Bucket {
	return Bucket{
		Key:    keys.RESTRate(key.App.ID, key.ID),
		PerSec: key.App.Limits.RESTPerSec,
		Burst:  key.App.Limits.RESTBurst,
	}
}

// Take is the call that takes up to n tokens out of the bucket; Taken reads what
// it returned.
func (b Bucket) Take(n int) *redisconn.Call {
	return &redisconn.Call{Script: ratesScript, Keys: []string{b.Key}, Args: []any{n, b.PerSec, b.Burst}}
}

// Taken is how many tokens a call that Take made has got, and how long it is
// until the next one can be had.
func Taken(c *redisconn.Call) (n int, next time.Duration, err error) {
	reply, err := c.Reply.Int64Slice()
	if err != nil {
		return 0, 0, err
	}
	return int(reply[0]), time.Duration(reply[1]) * time.Millisecond, nil
}

package quota

import (
	"crypto/rand"
	_ "embed"
	"strconv"
	"time"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// epochCheck is how often a node looks whether Redis still has what it was told.
	epochCheck = 500 * time.Millisecond
	// restateTime is for how long a node that noticed a loss admits no connection:
	// until all others have noticed, and have stated what they hold.
	restateTime = 3 * epochCheck
)

//go:embed epoch.lua
var epochLua string

var epochScript = redisconn.NewScript(epochLua)

// clockSlack is how far Redis's clock may run from the node's own between two looks
// before it counts as set.
const clockSlack = time.Second

// epoch notices that Redis has lost what is in it: it was emptied, restarted
// without its data, or replaced, by a replica too, which may lack the last that nodes
// told the former primary. A key that has no other purpose tells one life of the data from
// the next. It also notices that Redis's clock was set, by which
// leases run out too early, or too late.
type epoch struct {
	known   string    // "": Redis was not asked yet
	noticed time.Time // when a loss was
	clock   clockLook
}

// clockLook is Redis's clock (ms) as it was read between two moments of the node's
// own clock, which no setting of the time moves.
type clockLook struct {
	redis       int64
	sent, heard time.Time
}

// stepped says whether Redis's clock was set between two looks.
func (l clockLook) stepped(last clockLook) bool {
	if last.redis == 0 {
		return false
	}
	passed := time.Duration(l.redis-last.redis) * time.Millisecond
	return passed > l.heard.Sub(last.sent)+clockSlack || passed < l.sent.Sub(last.heard)-clockSlack
}

// call asks Redis for its epoch.
func (e *epoch) call(keys rediskeys.Namespace) *redisconn.Call {
	return &redisconn.Call{Script: epochScript, Keys: []string{keys.Epoch()}, Args: []any{rand.Text()}}
}

// lost says whether the answer to a call that was sent then tells of a loss, or of a
// clock that was set, since the call before.
func (e *epoch) lost(answer *redisconn.Call, sent time.Time) bool {
	reply, err := answer.Reply.StringSlice()
	if err != nil || len(reply) != 2 {
		return false
	}
	clock := clockLook{sent: sent, heard: time.Now()}
	if clock.redis, err = strconv.ParseInt(reply[1], 10, 64); err != nil {
		return false
	}
	first, same := e.known == "", reply[0] == e.known && !clock.stepped(e.clock)
	e.known, e.clock = reply[0], clock
	if first || same {
		return false
	}
	e.noticed = time.Now()
	return true
}

// settled says whether all nodes had the time to restate what they hold.
func (e *epoch) settled() bool { return time.Since(e.noticed) >= restateTime }

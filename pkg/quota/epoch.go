package quota

import (
	"crypto/rand"
	_ "embed"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// epochCheck is how often a node looks whether Redis still has what it was told.
	epochCheck = 500 * time.Millisecond
	// restateTime is for how long a node that noticed a loss admits nobody: until all
	// others have noticed, and have stated what they hold.
	restateTime = 3 * epochCheck
)

//go:embed epoch.lua
var epochLua string

var epochScript = redis.NewScript(epochLua)

// epoch notices that Redis has lost what is in it: it was emptied, restarted
// without its data, or replaced. A key that has no other purpose tells one life
// of the data from the next.
type epoch struct {
	known   string    // "": Redis was not asked yet
	noticed time.Time // when a loss was
}

// call asks Redis for its epoch.
func (e *epoch) call(keys rediskeys.Namespace) *redisconn.Call {
	return &redisconn.Call{Script: epochScript, Keys: []string{keys.Epoch()}, Args: []any{rand.Text()}}
}

// lost says whether the answer tells of a loss since the call before.
func (e *epoch) lost(answer *redisconn.Call) bool {
	is, err := answer.Reply.Text()
	if err != nil || is == e.known {
		return false
	}
	first := e.known == ""
	e.known = is
	if first {
		return false
	}
	e.noticed = time.Now()
	return true
}

// settled says whether all nodes had the time to restate what they hold.
func (e *epoch) settled() bool { return time.Since(e.noticed) >= restateTime }

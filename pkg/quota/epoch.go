package quota

import (
	"crypto/rand"
	_ "embed"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

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
	other   bool      // the last loss was one of data, not a step of the clock
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

// epochs are those of all masters of a Redis Cluster, or the one of one server.
type epochs []epoch

func newEpochs(rdb redis.UniversalClient) epochs {
	if redisconn.IsCluster(rdb) {
		return make(epochs, rediskeys.Epochs)
	}
	return make(epochs, 1)
}

// of is which one is that of a key.
func (all epochs) of(key string) int { return rediskeys.Slot(key) * len(all) / rediskeys.Slots }

// calls ask Redis for some of its epochs.
func (all epochs) calls(keys rediskeys.Namespace, which []int) []*redisconn.Call {
	calls := make([]*redisconn.Call, len(which))
	for i, n := range which {
		key := keys.Epoch()
		if len(all) > 1 {
			key = keys.EpochIn(n * rediskeys.Slots / len(all))
		}
		calls[i] = &redisconn.Call{Script: epochScript, Keys: []string{key}, Args: []any{rand.Text()}}
	}
	return calls
}

// lost are those of what was asked for that are.
func (all epochs) lost(which []int, answers []*redisconn.Call, sent time.Time) (lost []int) {
	for i, n := range which {
		if all[n].lost(answers[i], sent) {
			lost = append(lost, n)
		}
	}
	return lost
}

// settled says whether all nodes had the time to restate what they hold in the key.
func (all epochs) settled(key string) bool {
	return time.Since(all[all.of(key)].noticed) >= restateTime
}

// epochOf is the epoch of the Redis that has the key.
func epochOf(rdb redis.UniversalClient, keys rediskeys.Namespace, key string) string {
	if redisconn.IsCluster(rdb) {
		return keys.EpochIn(rediskeys.Slot(key))
	}
	return keys.Epoch()
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
	first, other := e.known == "", reply[0] != e.known
	same := !other && !clock.stepped(e.clock)
	e.known, e.clock = reply[0], clock
	if first || same {
		return false
	}
	e.noticed, e.other = time.Now(), other
	return true
}

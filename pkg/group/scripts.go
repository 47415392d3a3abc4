package group

import (
	_ "embed"
	"fmt"

	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

var (
	//go:embed append.lua
	appendLua string
	//go:embed waiting.lua
	waitingLua string
	//go:embed pull.lua
	pullLua string
	//go:embed ack.lua
	ackLua string
	//go:embed state.lua
	stateLua string
	//go:embed dead.lua
	deadLua string
	//go:embed sweep.lua
	sweepLua string
	//go:embed drop.lua
	dropLua string
	//go:embed takeoff.lua
	takeOffLua string

	pullScript    = script(pullLua)
	ackScript     = script(ackLua)
	stateScript   = script(stateLua)
	deadScript    = script(deadLua)
	sweepScript   = script(sweepLua)
	dropScript    = script(dropLua)
	takeOffScript = redisconn.NewScript(takeOffLua)
)

// Lua has the functions that have messages wait for groups, for the script of
// pkg/publish/send.
var Lua = fmt.Sprintf("local STREAM, STATE, DUE = %q, %q, %q\n", none.Group(""), none.GroupState(""), none.Due(string(deadline.Groups))) + appendLua

// none makes the parts of keys behind the bucket.
const none rediskeys.Bucket = ""

func script(lua string) *redisconn.Script {
	return redisconn.NewScript(deadline.Lua + waitingLua + lua)
}

// keysOf are KEYS of the scripts of one bucket.
func keysOf(b rediskeys.Bucket, group string) []string {
	return []string{b.Group(group), b.GroupLeases(group), b.GroupDelayed(group), b.GroupState(group), b.GroupDead(group), b.Due(string(deadline.Groups))}
}

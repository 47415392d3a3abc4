package deadline

import (
	_ "embed"
	"time"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// Kind is whose deadline it is. It is part of names in Redis, and must not change.
type Kind string

// The kinds.
const (
	Commands Kind = "commands" // ends of commands and of hand-overs, in the channel's bucket
	Grace    Kind = "grace"    // peers that have gone, in the peer's bucket
	Will     Kind = "will"     // wills, in the peer's bucket
	Forget   Kind = "forget"   // peers that were not seen for long, in their bucket
	History  Kind = "history"  // messages that expire, in the channel's bucket
	Groups   Kind = "groups"   // messages that wait for groups, in the channel's bucket
)

// Lua has the functions that an owner's script calls, for it to begin with:
//
//	due_time(), due_micros()  → Redis's clock, in ms and in µs
//	due_set(key, id, at)      sets or moves the deadline of id, to a time of due_time
//	due_clear(key, id)        drops it, if there is one
//	due_passed(key, id, now)  → whether id has a deadline that is over
//	due_touch(index, touched, member, now, after)  a Touch, for a script that reaches
//	                          the index: rediskeys' DueIndex and DueTouched, and Member
//
// key is what rediskeys.Bucket.Due names.
//
//go:embed deadline.lua
var Lua string

var (
	//go:embed touch.lua
	touchLua string
	//go:embed look.lua
	lookLua string
	//go:embed peek.lua
	peekLua string
	//go:embed settle.lua
	settleLua string

	touchScript  = redisconn.NewScript(Lua + touchLua)
	lookScript   = redisconn.NewScript(Lua + lookLua)
	peekScript   = redisconn.NewScript(Lua + peekLua)
	settleScript = redisconn.NewScript(Lua + settleLua)
)

// Set is a deadline that a script is about to set.
type Set struct {
	Kind   Kind
	Bucket rediskeys.Bucket
	After  time.Duration // how long it is until then; too short does no harm
}

// Touch has nodes look where deadlines are about to be set. It goes before the scripts
// that set them, in the same Exec.
func Touch(keys rediskeys.Namespace, sets ...Set) *redisconn.Call {
	call := &redisconn.Call{
		Script: touchScript, Before: true,
		Keys: []string{keys.DueIndex(), keys.DueTouched()},
		Args: make([]any, 0, 2*len(sets)),
	}
	for _, s := range sets {
		call.Args = append(call.Args, Member(s.Kind, s.Bucket), max(0, s.After.Milliseconds()))
	}
	return call
}

// Member is how the index names a bucket's deadlines of a kind.
func Member(kind Kind, bucket rediskeys.Bucket) string { return string(kind) + " " + string(bucket) }

package group

import (
	_ "embed"

	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// Drop is why a message was dropped that no ingester has acknowledged.
type Drop string

// The reasons.
const (
	DroppedByAge      Drop = "age"      // it was older than maxAgeSec
	DroppedByOverflow Drop = "overflow" // newer ones took its place
)

//go:embed doubt.lua
var doubtLua string

var doubtScript = redisconn.NewScript(deadline.Lua + doubtLua)

// whole begins the ids of deadlines that are about a group in all buckets, before its name.
const whole = "*"

// Doubt has a node look at the whole group. A Touch of the bucket goes before it.
func Doubt(b rediskeys.Bucket, group string) *redisconn.Call {
	return &redisconn.Call{Script: doubtScript, Keys: []string{b.Due(string(deadline.Groups))}, Args: []any{whole + group}}
}

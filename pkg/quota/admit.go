package quota

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
)

//go:embed admit.lua
var admitLua string

//go:embed giveback.lua
var giveBackLua string

var (
	admitScript    = redisconn.NewScript(BucketLua + admitLua)
	giveBackScript = redisconn.NewScript(giveBackLua)
)

// Why Admit does not admit a message.
var (
	ErrOverCap  = errors.New("over the cap of messages")
	ErrOverRate = errors.New("over the rate of requests")
)

// Admit counts one message, and takes a token for it from the bucket unless that is nil.
// Another script then sends the message, in another slot. The cap holds whatever becomes
// of the message. With ErrOverRate nothing was counted, and next is the time until the
// next token. With ErrOverCap the message is refused. After any other error the message
// may or may not have been counted.
func Admit(ctx context.Context, rdb redis.UniversalClient, counter Counter, bucket *Bucket) (next time.Duration, err error) {
	call := &redisconn.Call{
		Script: admitScript, Keys: []string{counter.Key}, Args: []any{counter.Limit, counter.ExpiresAt.Unix()},
	}
	if bucket != nil {
		call.Keys, call.Args = append(call.Keys, bucket.Key), append(call.Args, bucket.PerSec, bucket.Burst)
	}
	if err := redisconn.Exec(ctx, rdb, []*redisconn.Call{call}); err != nil {
		return 0, err
	}
	reply, err := call.Reply.Int64Slice()
	if err != nil {
		return 0, err
	}
	switch reply[0] {
	case 0:
		return 0, nil
	case -1:
		return 0, ErrOverCap
	default:
		return time.Duration(reply[1]) * time.Millisecond, ErrOverRate
	}
}

// GiveBack uncounts a message that was admitted and then not sent.
func (c Counter) GiveBack(ctx context.Context, rdb redis.UniversalClient) error {
	return redisconn.Exec(ctx, rdb, []*redisconn.Call{c.GiveBackCall(1)})
}

// GiveBackCall uncounts messages that were admitted and then not sent.
func (c Counter) GiveBackCall(messages int) *redisconn.Call {
	return &redisconn.Call{Script: giveBackScript, Keys: []string{c.Key}, Args: []any{messages}}
}

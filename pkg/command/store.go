package command

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/idempotency"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

var (
	//go:embed clock.lua
	clockLua string
	//go:embed state.lua
	stateLua string
	//go:embed view.lua
	viewLua string
	//go:embed create.lua
	createLua string
	//go:embed claim.lua
	claimLua string
	//go:embed answer.lua
	answerLua string
	//go:embed end.lua
	endLua string
	//go:embed takeback.lua
	takeBackLua string
	//go:embed read.lua
	readLua string
	//go:embed answers.lua
	answersLua string
	//go:embed list.lua
	listLua string
	//go:embed ofpeer.lua
	ofPeerLua string
	//go:embed forget.lua
	forgetLua string
	//go:embed tell.lua
	tellLua string
	//go:embed pace.lua
	paceLua string
	//go:embed retain.lua
	retainLua string

	retainScript = redisconn.NewScript(deadline.Lua + clockLua + retainLua)
)

// Errors of a Store. Any other means that Redis did not do it, or did not say
// (redisconn.Undone tells which).
var (
	ErrNotFound = errors.New("no such command")
	ErrNobody   = errors.New("nobody is subscribed to the channel, and the command has no TTL")
	ErrFull     = errors.New("too many commands of the channel wait for peers")
	ErrConflict = errors.New("the idempotency key came with another body")
	ErrFinal    = errors.New("the command has ended")
)

// scripts are all scripts, by one clock: that is Lua which stands before state.lua, deadline.Lua
// included.
type scripts struct {
	create, claim, answer, end, takeBack, read, answers, list, ofPeer, forget, tell, pace *redisconn.Script
}

func newScripts(clock string) *scripts {
	script := func(parts ...string) *redisconn.Script {
		text := rediskeys.WildcardsLua + clock + stateLua
		for _, part := range parts {
			text += part
		}
		return redisconn.NewScript(text)
	}
	return &scripts{
		create: script(quota.BucketLua, idempotency.Lua, createLua), claim: script(claimLua), answer: script(answerLua), end: script(viewLua, endLua),
		takeBack: script(takeBackLua), read: script(viewLua, readLua), answers: script(viewLua, answersLua), list: script(viewLua, listLua), ofPeer: script(ofPeerLua), forget: script(forgetLua), tell: script(tellLua), pace: script(paceLua),
	}
}

var byRedisClock = newScripts(deadline.Lua + clockLua)

// Options set a Store up.
type Options struct {
	Redis redis.UniversalClient
	Keys  rediskeys.Namespace
	// Apps is the document in force: it says how many bytes of ended commands are kept.
	Apps *apps.Store
	// Publisher publishes snapshots of commands that have somebody to notify; a Store whose
	// Due is not called needs none.
	Publisher Publisher
	// Ended is called with the status of each command that a call of this process has ended. It must
	// not block, nor call the Store. nil: nothing is.
	Ended func(Status)
	Log   *slog.Logger
}

// Store keeps commands. It is safe for concurrent use.
type Store struct {
	opt     Options
	scripts *scripts
	// inSteps: the app's limits and the index of deadlines lie in other slots than the commands,
	// those of a Redis Cluster.
	inSteps bool

	waits      atomic.Pointer[Waits] // of this process; nil: it has none
	retaining  retaining
	complained atomic.Int64 // when it was said last that retaining fails, in unix seconds
}

// NewStore returns a Store.
func NewStore(opt Options) *Store {
	if opt.Ended == nil {
		opt.Ended = func(Status) {}
	}
	return &Store{opt: opt, scripts: byRedisClock, inSteps: redisconn.IsCluster(opt.Redis)}
}

// exec makes calls in one round trip. Scripts among them may set deadlines in these
// buckets that are not earlier than after.
func (s *Store) exec(ctx context.Context, buckets []rediskeys.Bucket, after time.Duration, calls []*redisconn.Call) error {
	if len(buckets) > 0 {
		sets := make([]deadline.Set, len(buckets))
		for i, b := range buckets {
			sets[i] = deadline.Set{Kind: deadline.Commands, Bucket: b, After: after}
		}
		calls = append([]*redisconn.Call{deadline.Touch(s.opt.Keys, sets...)}, calls...)
	}
	return redisconn.Exec(ctx, s.opt.Redis, calls)
}

// call makes a call of a script of a bucket, with what all scripts are given.
func (s *Store) call(script *redisconn.Script, b rediskeys.Bucket, args ...any) *redisconn.Call {
	return &redisconn.Call{
		Script: script,
		Keys: append(make([]string, 0, 10), b.Command(""), b.CommandPeers(""), b.CommandDue(""), b.CommandQueue(""),
			b.Commands(""), b.CommandsHeld(""), b.Due(string(deadline.Commands)), b.CommandsOf("")),
		Args: append(append(make([]any, 0, 2+len(args)), s.opt.Keys.TopicsIn(b, rediskeys.Messages), s.opt.Keys.WakeTopic(b, "")), args...),
	}
}

// run makes one call, and returns what it replied.
func (s *Store) run(ctx context.Context, b rediskeys.Bucket, call *redisconn.Call) (reply, error) {
	if err := redisconn.Exec(ctx, s.opt.Redis, []*redisconn.Call{call}); err != nil {
		return nil, err
	}
	return s.replied(b, call)
}

// replied reads what a call replied. Every script names first what has ended.
func (s *Store) replied(b rediskeys.Bucket, call *redisconn.Call) (reply, error) {
	all, err := call.Reply.Slice()
	if err != nil {
		return nil, err
	}
	r := reply(all)
	if ended := r.list(0); len(ended) > 0 {
		s.retain(b, ended)
	}
	return r[1:], nil
}

// reply is what a script returned. A missing element, or one of another type, reads
// as empty: scripts and their readers stand side by side.
type reply []any

func (r reply) text(i int) string {
	if i < len(r) {
		switch v := r[i].(type) {
		case string:
			return v
		case int64:
			return fmt.Sprint(v)
		}
	}
	return ""
}

func (r reply) list(i int) reply {
	if i < len(r) {
		if l, ok := r[i].([]any); ok {
			return l
		}
	}
	return nil
}

func (r reply) number(i int) int64 {
	if i < len(r) {
		switch v := r[i].(type) {
		case int64:
			return v
		case string:
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

package members

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/presence"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

var (
	//go:embed change.lua
	changeLua    string
	changeScript = redisconn.NewScript(rediskeys.WildcardsLua + changeLua)

	//go:embed lease.lua
	leaseLua    string
	leaseScript = redisconn.NewScript(leaseLua)
)

var errNotRun = errors.New("what came before it failed")

// store is presence in Redis. It is safe for concurrent use.
type store struct {
	redis    redis.UniversalClient
	keys     rediskeys.Namespace
	reapMore func(ctx context.Context, identity string, bucket rediskeys.Bucket) error // nil: nothing more
}

// changeCall is one run of change.lua: what one identity changes in one bucket.
type changeCall struct {
	redisconn.Call
	bucket   rediskeys.Bucket
	channels []string // that it changes
	changes  int
	bytes    int // of peers and metadata, as far as is known here
}

// An announcement is at most 1 MiB: changes that leave may bring metadata of 4 KiB
// each that is not known here. Redis should be through with a run in a millisecond.
const (
	changesInCall = 200
	bytesInCall   = 64 << 10
)

// isFull says whether no further change fits into the call.
func (c *changeCall) isFull() bool { return c.changes >= changesInCall || c.bytes >= bytesInCall }

func (s *store) newChange(bucket rediskeys.Bucket, node string) *changeCall {
	// Room for what mostly comes: one channel, with one change of three.
	return &changeCall{bucket: bucket, Call: redisconn.Call{
		Script: changeScript,
		Keys:   append(make([]string, 0, 4), bucket.Joined(node)),
		Args:   append(make([]any, 0, 9), node, s.keys.TopicsIn(bucket, rediskeys.Presence), time.Now().UnixMicro()),
	}}
}

// channel begins the changes of one channel of the bucket; n is their number.
func (c *changeCall) channel(name, has string, n int) {
	c.about(name)
	c.Args = append(c.Args, name, has, n)
}

func (c *changeCall) about(name string) {
	c.channels = append(c.channels, name)
	c.Keys = append(c.Keys, c.bucket.Members(name), c.bucket.MemberIndex(name), c.bucket.LastJoined(name))
}

func (c *changeCall) join(m presence.Member) { c.change("+", m.Peer, m.Metadata) }
func (c *changeCall) leave(peer string)      { c.change("-", peer, "") }

func (c *changeCall) change(what, peer, metadata string) {
	c.changes++
	c.bytes += len(peer) + len(metadata)
	c.Args = append(c.Args, what, peer, metadata)
}

// reapChannel has some of the node's members leave the call's only channel: those
// behind the cursor.
func (c *changeCall) reapChannel(name, cursor string) {
	c.about(name)
	c.Args = append(c.Args, name, "=", "*", cursor)
}

// versions reads the reply: what each channel's version is now, in the order of
// the calls of channel.
func (c *changeCall) versions() ([]presence.Version, error) {
	if c.Reply == nil {
		return nil, errNotRun
	}
	reply, err := c.Reply.StringSlice()
	if err != nil {
		return nil, err
	}
	if len(reply) != len(c.channels) {
		return nil, fmt.Errorf("change.lua returned %d values for %d channels", len(reply), len(c.channels))
	}
	versions := make([]presence.Version, len(c.channels))
	for i := range versions {
		if s := reply[i]; s != "" {
			if versions[i], err = presence.ParseVersion(s); err != nil {
				return nil, err
			}
		}
	}
	return versions, nil
}

// change runs the calls. Each has its own outcome; the error is the first of them.
func (s *store) change(ctx context.Context, changes []*changeCall) error {
	calls := make([]*redisconn.Call, len(changes))
	for i, c := range changes {
		calls[i] = &c.Call
	}
	return redisconn.Exec(ctx, s.redis, calls)
}

// leaseRequest is the arguments of lease.lua.
type leaseRequest struct {
	node    string
	begin   bool
	former  string    // what the node was before, if the caller reaps that
	reap    int       // how many dead identities the caller would reap
	renewed time.Time // when the caller renewed last; zero: it begins
}

// lease begins or renews the lease of an identity. held is false if there was
// none to renew. dead are identities that the caller has to reap.
func (s *store) lease(ctx context.Context, times times, request leaseRequest) (held bool, dead []string, err error) {
	begin := 0
	if request.begin {
		begin = 1
	}
	ago := int64(-1)
	if !request.renewed.IsZero() {
		ago = time.Since(request.renewed).Milliseconds()
	}
	call := &redisconn.Call{
		Script: leaseScript,
		Keys:   []string{s.keys.Leases(), s.keys.DeadLeases()},
		Args:   []any{request.node, times.lease.Milliseconds(), begin, request.reap, times.reap.Milliseconds(), request.former, ago},
	}
	if err := redisconn.Exec(ctx, s.redis, []*redisconn.Call{call}); err != nil {
		return false, nil, err
	}
	reply, err := call.Reply.StringSlice()
	if err != nil {
		return false, nil, err
	}
	return reply[0] == "1", reply[1:], nil
}

// enter notes that the identity has, or is about to have, members in these buckets.
func (s *store) enter(ctx context.Context, node string, buckets []rediskeys.Bucket) error {
	if len(buckets) == 0 {
		return nil
	}
	all := make([]any, len(buckets))
	for i, b := range buckets {
		all[i] = string(b)
	}
	return s.redis.SAdd(ctx, s.keys.LeaseBuckets(node), all...).Err()
}

package redisconn

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// A command whose slot is moving is sent again after leastPause, and after twice as long
	// each time, up to mostPause, until ioTimeout has passed.
	leastPause = 5 * time.Millisecond
	mostPause  = 50 * time.Millisecond
	// topologyAge is after how long a client asks again which node has which slots, if
	// nothing gave it a reason before.
	topologyAge = 30 * time.Second
	// topologyPatience bounds how long one node is asked, since the next may answer.
	topologyPatience = 300 * time.Millisecond
)

// IsCluster says whether rdb is a client of a Redis Cluster.
func IsCluster(rdb redis.UniversalClient) bool {
	_, is := rdb.(*redis.ClusterClient)
	return is
}

// newCluster returns a client of the Redis Cluster that the addresses are nodes of.
func newCluster(addrs []string, opt *redis.Options) *redis.ClusterClient {
	return NewCluster(&redis.ClusterOptions{
		Addrs: addrs, ClientName: opt.ClientName, Dialer: opt.Dialer, Protocol: opt.Protocol, Username: opt.Username, Password: opt.Password,
		DialTimeout: opt.DialTimeout, DialerRetries: opt.DialerRetries,
		ReadTimeout: opt.ReadTimeout, WriteTimeout: opt.WriteTimeout, ContextTimeoutEnabled: opt.ContextTimeoutEnabled,
		MaxConcurrentDials: opt.MaxConcurrentDials, PoolFIFO: opt.PoolFIFO, PoolSize: opt.PoolSize, PoolTimeout: opt.PoolTimeout,
		MinIdleConns: opt.MinIdleConns, MaxIdleConns: opt.MaxIdleConns, MaxActiveConns: opt.MaxActiveConns,
		ConnMaxIdleTime: opt.ConnMaxIdleTime, ConnMaxLifetime: opt.ConnMaxLifetime, ConnMaxLifetimeJitter: opt.ConnMaxLifetimeJitter,
		PipelinePoolSize: opt.PipelinePoolSize, PipelineReadBufferSize: opt.PipelineReadBufferSize, PipelineWriteBufferSize: opt.PipelineWriteBufferSize,
		TLSConfig: opt.TLSConfig, DisableIdentity: opt.DisableIdentity, MaintNotificationsConfig: opt.MaintNotificationsConfig,
	})
}

// NewCluster returns a client of a Redis Cluster. Pipelines of callers that wait for the same
// node at the same time share round trips.
//
// go-redis would send a command again whose answer was lost, and all of a pipeline of which
// one command was refused: a message would be published twice. So it sends everything once
// here. The hook redirects sends a command again if a node refused it because of its slot.
func NewCluster(opt *redis.ClusterOptions) *redis.ClusterClient {
	opt.MaxRedirects, opt.MaxRetries = -1, -1
	// Routing policies would ask Redis for all of COMMAND, and refuse PING and DEL in a pipeline.
	opt.DisableRoutingPolicies = true
	opt.ClusterStateReloadInterval = topologyAge
	rdb := redis.NewClusterClient(opt)
	rdb.SetCommandInfoResolver(nil)
	r := &redirects{cluster: rdb}
	rdb.OnNewNode(func(node *redis.Client) {
		r.nodes.Store(node.Options().Addr, node)
		trips := newPipelines()
		trips.ofNode = true
		node.AddHook(trips)
		node.AddHook(handshake{clusterNode})
		node.AddHook(topology{})
	})
	rdb.AddHook(r)
	return rdb
}

// topology is a hook of a node's client that bounds how long it waits for the node's word
// on which node has which slots.
type topology struct{}

func (topology) DialHook(next redis.DialHook) redis.DialHook { return next }

func (topology) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (topology) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "cluster" {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, topologyPatience)
			defer cancel()
		}
		return next(ctx, cmd)
	}
}

// redirects is a hook that sends commands where they belong that a node has refused because
// it has not got their slot, and looks for new masters when one does not answer.
type redirects struct {
	cluster *redis.ClusterClient
	nodes   sync.Map // address → *redis.Client
}

func (r *redirects) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *redirects) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		place(cmd)
		err := next(ctx, cmd)
		if err == nil {
			return nil
		}
		cmd.SetErr(err)
		r.follow(ctx, []redis.Cmder{cmd}, func(ctx context.Context, cmds []redis.Cmder) {
			cmds[0].SetErr(next(ctx, cmds[0]))
		})
		return cmd.Err()
	}
}

func (r *redirects) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			place(cmd)
		}
		err := next(ctx, cmds)
		if err == nil || len(cmds) == 0 || cmds[0].Name() == "multi" {
			return err
		}
		r.follow(ctx, cmds, func(ctx context.Context, cmds []redis.Cmder) { _ = next(ctx, cmds) })
		return firstError(cmds)
	}
}

// place has a PUBLISH go to the master of its topic's slot, where a SUBSCRIBE of one topic
// goes, too. Any node would do; go-redis would take one that may be down.
func place(cmd redis.Cmder) {
	if cmd.Name() == "publish" {
		cmd.SetFirstKeyPos(1)
	}
}

// refusal is a command that a node refused because of its slot, and which node said to have
// it; asks: for now, while the slot moves there. "": the command must wait until it has.
type refusal struct {
	cmd  redis.Cmder
	node string
	asks bool
}

// follow sends those of the commands again that were refused because of their slots, until
// they are not. again has the client choose the node.
func (r *redirects) follow(ctx context.Context, cmds []redis.Cmder, again func(context.Context, []redis.Cmder)) {
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		refused, waits := r.refusals(ctx, cmds)
		if len(refused) == 0 || (waits || pause > leastPause) && !sleep(ctx, pause) {
			return
		}
		byNode := map[string][]refusal{}
		for _, f := range refused {
			if waits { // all of a slot go the same way, so that they stay in order
				f.node = ""
			}
			byNode[f.node] = append(byNode[f.node], f)
		}
		var all sync.WaitGroup
		for node, some := range byNode {
			all.Go(func() { r.send(ctx, node, some, again) })
		}
		all.Wait()
	}
}

// refusals are those of the commands; waits says that some must wait.
func (r *redirects) refusals(ctx context.Context, cmds []redis.Cmder) (refused []refusal, waits bool) {
	stale := false
	for _, cmd := range cmds {
		err := cmd.Err()
		if err == nil || err == redis.Nil {
			continue
		}
		said := words(err)
		kind, rest, _ := strings.Cut(said, " ")
		_, node, _ := strings.Cut(rest, " ")
		switch kind {
		case "MOVED", "ASK":
			refused = append(refused, refusal{cmd, node, kind == "ASK"})
			stale = stale || kind == "MOVED"
		case "TRYAGAIN":
			refused, waits = append(refused, refusal{cmd: cmd}), true
		default:
			stale = stale || Unreachable(err) && !errors.Is(err, errNotSent)
		}
	}
	if stale {
		r.cluster.ReloadState(ctx)
	}
	return refused, waits
}

// send sends refused commands to the node of that address.
func (r *redirects) send(ctx context.Context, address string, refused []refusal, again func(context.Context, []redis.Cmder)) {
	known, ok := r.nodes.Load(address)
	if !ok {
		cmds := make([]redis.Cmder, len(refused))
		for i, f := range refused {
			cmds[i] = f.cmd
		}
		again(ctx, cmds)
		return
	}
	node := known.(*redis.Client)
	if f := refused[0]; len(refused) == 1 && !f.asks { // it may block for longer than a pipeline may
		f.cmd.SetErr(node.Process(ctx, f.cmd))
		return
	}
	p := node.Pipeline()
	for _, f := range refused {
		if f.asks {
			_ = p.Process(ctx, redis.NewCmd(ctx, "asking"))
		}
		_ = p.Process(ctx, f.cmd)
	}
	_, _ = p.Exec(ctx) // each command has its error
}

// sleep waits, and says whether there is time for another try. One that ran out of time would
// leave it unknown what it did.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d+mostPause {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

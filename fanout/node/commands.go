package node

import (
	"context"
	"time"

	"fleetwire/fanout/internal/commands"
	"fleetwire/pkg/command"
	"fleetwire/pkg/rediskeys"
)

// newCommands makes what hands commands to peers of this node.
func (n *Node) newCommands(ticks func() time.Duration) {
	n.store = command.NewStore(command.Options{Redis: n.opt.Redis, Keys: n.opt.Keys, Apps: n.opt.Apps, Publisher: n.publisher, Ended: func(s command.Status) { n.metrics.CommandEnded(string(s)) }, Log: n.opt.Log})
	n.commands = commands.NewDispatcher(commands.Options{Store: n.store, Subscribers: n.hub, Ticks: ticks, Log: n.opt.Log})
	n.hub.Commands(n.commands.Deliver)
}

// Commands keeps commands, and Commander creates them, for a control plane in the same process.
func (n *Node) Commands() *command.Store   { return n.store }
func (n *Node) Commander() command.Creator { return n.commands }

// identified is called with each identity that the node takes.
func (n *Node) identified(identity string) {
	n.receiver.SetIdentity(identity)
	n.recorder.Identified(identity)
	n.commands.SetIdentity(identity)
}

// reap takes out what a dead identity has in a bucket, beside members.
func (n *Node) reap(ctx context.Context, identity string, bucket rediskeys.Bucket) error {
	if err := n.recorder.Reap(ctx, identity, bucket); err != nil {
		return err
	}
	for {
		more, err := n.store.Reap(ctx, bucket, identity)
		if err != nil || !more {
			return err
		}
	}
}

// restored is called when deliveries may have been missed.
func (n *Node) restored() {
	n.watchers.Restored()
	n.history.Doubt()
	n.resyncSessions()
	n.commands.Restored()
}

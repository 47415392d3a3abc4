package node

import (
	"fleetwire/fanout/internal/ingest"
	"fleetwire/pkg/group"
)

// newIngesters makes what delivers messages that wait for groups to connections of this node.
func (n *Node) newIngesters() {
	n.groups = group.NewService(n.GroupOptions(), n.opt.Log)
	n.ingesters = ingest.NewIngesters(n.groups, n.id)
}

// closeIngesters waits until the messages that connections held are given back. It is called
// when all connections have ended.
func (n *Node) closeIngesters() {
	n.ingesters.Close()
	n.groups.Close()
}

// GroupOptions are what keeps messages for groups on this node.
func (n *Node) GroupOptions() group.Options {
	return group.Options{Redis: n.opt.Redis, Keys: n.opt.Keys, Dropped: n.dropped}
}

func (n *Node) dropped(why group.Drop, messages int) {
	n.metrics.GroupDropped(string(why), messages)
}

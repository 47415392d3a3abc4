package node

import (
	"context"
	"time"
)

// When a key is revoked, its connections are closed in lots of closeLot, with
// closePause in between: 10,000 of them take 2 s. All at once they would keep the
// node from its other connections, and come back all at once to wherever they get
// new tokens.
const (
	closeLot   = 100
	closePause = 20 * time.Millisecond
)

// follower is a connection that can follow a new apps document: a session.
type follower interface{ Follow() (closed bool) }

// follow brings all connections into line with the apps document whenever it is
// replaced, until ctx ends. Those that are being admitted meanwhile look for
// themselves once they are registered.
func (n *Node) follow(ctx context.Context) {
	for {
		replaced := n.opt.Apps.Replaced()
		closed := 0
		for i := range keepAliveGroups {
			closed = followAll(ctx, n.sessions.group(i), closed)
		}
		if closed > 0 {
			n.opt.Log.Info("closed the connections of revoked keys and suspended apps", "connections", closed)
		}
		select {
		case <-ctx.Done():
			return
		case <-replaced:
		}
	}
}

// followAll adds to closed how many of the connections it closed.
func followAll[S follower](ctx context.Context, connections []S, closed int) int {
	for _, c := range connections {
		if !c.Follow() {
			continue
		}
		if closed++; closed%closeLot == 0 {
			select {
			case <-ctx.Done():
				return closed
			case <-time.After(closePause):
			}
		}
	}
	return closed
}

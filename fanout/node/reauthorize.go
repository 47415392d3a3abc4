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

// reauthorizer is a connection whose grant can be checked against a new apps document: a
// session.
type reauthorizer interface{ Reauthorize() (closed bool) }

// reauthorize brings all connections into line with the apps document whenever it is
// replaced, until ctx ends. Those that are being admitted meanwhile look for
// themselves once they are registered.
func (n *Node) reauthorize(ctx context.Context) {
	for {
		replaced := n.opt.Apps.Replaced()
		closed := 0
		for i := range keepAliveGroups {
			closed = reauthorizeAll(ctx, n.sessions.group(i), closed)
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

// reauthorizeAll adds to closed how many of the connections it closed.
func reauthorizeAll[S reauthorizer](ctx context.Context, connections []S, closed int) int {
	for _, c := range connections {
		if !c.Reauthorize() {
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

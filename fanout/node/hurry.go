package node

import (
	"context"
	"time"
)

// pause waits for d, or until the drain is cut short.
func (n *Node) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-n.opt.Hurry:
	}
}

// unlessHurried ends after limit, or when the drain is cut short.
func (n *Node) unlessHurried(limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	go func() {
		select {
		case <-ctx.Done():
		case <-n.opt.Hurry:
			cancel()
		}
	}()
	return ctx, cancel
}

package registry

import (
	"context"
	"slices"

	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// scanned is how many peers one step of a script through a bucket looks at, roughly.
const scanned = 100

// Reap ends the connections of an identity that is dead in a bucket
// (members.Options). Those of this node's own former identities end once they are
// stated anew.
func (r *Recorder) Reap(ctx context.Context, identity string, b rediskeys.Bucket) error {
	_, appID, err := r.opt.Keys.ParseBucket(string(b))
	if err != nil {
		return err
	}
	if err := r.awaitRestated(ctx, identity); err != nil {
		return err
	}
	lasts := grace(r.settings(appID), CodeLost)
	touch := deadline.Touch(r.opt.Keys, deadline.Set{Kind: deadline.Grace, Bucket: b, After: lasts}, deadline.Set{Kind: deadline.Will, Bucket: b, After: lasts})
	for cursor := "0"; ; {
		call := &redisconn.Call{
			Script: reapScript,
			Keys:   []string{b.Peers(), b.Due(string(deadline.Grace)), b.Wills(), b.Due(string(deadline.Will))},
			Args:   []any{identity, cursor, scanned, CodeLost, string(NodeLost), lasts.Milliseconds()},
		}
		if err := redisconn.Exec(ctx, r.opt.Redis, []*redisconn.Call{touch, call}); err != nil {
			return err
		}
		if cursor, err = call.Reply.Text(); err != nil || cursor == "0" {
			return err
		}
	}
}

func (r *Recorder) awaitRestated(ctx context.Context, identity string) error {
	r.mu.Lock()
	own, restated := slices.Contains(r.formers, identity), r.restated
	r.mu.Unlock()
	if !own {
		return nil
	}
	select {
	case <-restated:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

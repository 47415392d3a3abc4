package registry

import (
	"context"
	"errors"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// settings are those of an app, or the usual ones if the document has it no more.
func (r *Recorder) settings(appID string) apps.PeerSettings {
	if app, ok := r.opt.Directory().App(appID); ok {
		return app.Peers
	}
	return apps.DefaultPeerSettings()
}

// Handlers are for the deadlines of peers.
func (r *Recorder) Handlers() map[deadline.Kind]deadline.Handler {
	return map[deadline.Kind]deadline.Handler{deadline.Grace: r.graces, deadline.Will: r.wills, deadline.Forget: r.forget}
}

// graces says of peers whose grace is over that they are offline.
func (r *Recorder) graces(ctx context.Context, due []deadline.Due) error {
	calls := make([]*redisconn.Call, 1, len(due)+1)
	for _, d := range due {
		calls = append(calls, r.offline(d))
	}
	calls[0] = r.forgets(due...)
	err := redisconn.Exec(ctx, r.opt.Redis, calls)
	for i, d := range due {
		r.countOffline(d, calls[1+i])
	}
	return err
}

// forgets has nodes look for peers to forget that are about to be offline.
func (r *Recorder) forgets(due ...deadline.Due) *redisconn.Call {
	sets := make([]deadline.Set, len(due))
	for i, d := range due {
		sets[i] = deadline.Set{Kind: deadline.Forget, Bucket: d.Bucket, After: r.settings(d.App).Remember}
	}
	return deadline.Touch(r.opt.Keys, sets...)
}

// offline has the peers be offline whose graces are over.
func (r *Recorder) offline(d deadline.Due) *redisconn.Call {
	call := &redisconn.Call{
		Script: offlineScript,
		Keys:   []string{d.Bucket.Peers(), d.Bucket.PeerIndex(), d.Bucket.Due(string(deadline.Grace)), d.Bucket.Due(string(deadline.Forget)), d.Bucket.PeersOnline(), d.Bucket.Wills()},
		Args:   []any{r.settings(d.App).Remember.Milliseconds(), r.opt.Keys.TopicsIn(d.Bucket, rediskeys.Messages), random(8)},
	}
	for _, peer := range d.IDs {
		call.Args = append(call.Args, peer, channel.ConnectivityName(peer))
	}
	return call
}

// countOffline takes how many peers the bucket has then.
func (r *Recorder) countOffline(d deadline.Due, call *redisconn.Call) {
	n, err := call.Reply.Int64()
	if app, ok := r.opt.Directory().App(d.App); ok && err == nil {
		r.counted(app, n)
	}
}

// forget forgets the peers of buckets that were not seen for too long.
func (r *Recorder) forget(ctx context.Context, due []deadline.Due) (failed error) {
	for _, d := range due {
		failed = errors.Join(failed, r.forgetBucket(ctx, d))
	}
	return failed
}

func (r *Recorder) forgetBucket(ctx context.Context, d deadline.Due) error {
	remember := r.settings(d.App).Remember
	// The next look is soon if peers were not seen for nearly as long.
	touch := deadline.Touch(r.opt.Keys, deadline.Set{Kind: deadline.Forget, Bucket: d.Bucket, After: time.Second})
	cursor, oldest := "0", "0"
	for {
		call := &redisconn.Call{
			Script: forgetScript,
			Keys:   []string{d.Bucket.Peers(), d.Bucket.PeerIndex(), d.Bucket.Due(string(deadline.Forget)), d.Bucket.Wills()},
			Args:   []any{remember.Milliseconds(), cursor, scanned, oldest},
		}
		if err := redisconn.Exec(ctx, r.opt.Redis, []*redisconn.Call{touch, call}); err != nil {
			return err
		}
		reply, err := call.Reply.StringSlice()
		if err != nil || len(reply) != 2 {
			return err
		}
		if cursor, oldest = reply[0], reply[1]; cursor == "0" {
			return nil
		}
	}
}

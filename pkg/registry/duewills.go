package registry

import (
	"context"
	"errors"
	"sync"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn"
)

// Publisher is the door for messages: publish.Service.
type Publisher interface {
	Submit(publish.Message, publish.Completion) *protocol.Error
}

const (
	// willTaken is for how long a node has a will that it takes. If it says nothing until
	// then it has died, and the will is lost: it may have been published.
	willTaken = time.Minute
	// willAgain is when a will is due again that Redis did not take.
	willAgain = 2 * time.Second
)

// wills publishes the wills of peers that are not back when they are due. A peer is said
// to be offline first, if it is still to be said.
func (r *Recorder) wills(ctx context.Context, due []deadline.Due) (failed error) {
	for _, d := range due {
		if ctx.Err() != nil {
			return errors.Join(failed, ctx.Err()) // the others come again
		}
		failed = errors.Join(failed, r.willsOf(ctx, d))
	}
	return failed
}

// willsOf does so for one bucket: a node takes them, publishes them, and says so.
func (r *Recorder) willsOf(ctx context.Context, d deadline.Due) error {
	offline, take := r.offline(d), r.dueCall(d, "take", willTaken, d.IDs)
	if err := redisconn.Exec(ctx, r.opt.Redis, []*redisconn.Call{r.forgets(d), offline, take}); err != nil {
		return err
	}
	r.countOffline(d, offline)
	taken, err := take.Reply.StringSlice()
	if err != nil || len(taken) == 0 {
		return err
	}
	done, back := r.publishWills(d.App, taken)
	// Which were published is told, however long that took.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	var calls []*redisconn.Call
	if len(done) > 0 {
		calls = append(calls, r.dueCall(d, "done", 0, done))
	}
	if len(back) > 0 {
		touch := deadline.Touch(r.opt.Keys, deadline.Set{Kind: deadline.Will, Bucket: d.Bucket, After: willAgain})
		calls = append(calls, touch, r.dueCall(d, "back", willAgain, back))
	}
	return redisconn.Exec(ctx, r.opt.Redis, calls)
}

func (r *Recorder) dueCall(d deadline.Due, what string, wait time.Duration, peers []string) *redisconn.Call {
	call := &redisconn.Call{
		Script: dueScript,
		Keys:   []string{d.Bucket.Peers(), d.Bucket.PeerIndex(), d.Bucket.Wills(), d.Bucket.Due(string(deadline.Will))},
		Args:   []any{what, wait.Milliseconds(), r.settings(d.App).Remember.Milliseconds()},
	}
	for _, peer := range peers {
		call.Args = append(call.Args, peer)
	}
	return call
}

// publishWills publishes wills, given as due.lua does, all at a time. It returns the peers
// whose wills are over, and those whose wills were not published since Redis did not
// take them.
func (r *Recorder) publishWills(appID string, taken []string) (done, back []string) {
	all := make([]*dueWill, 0, len(taken)/2)
	var under sync.WaitGroup
	for ; len(taken) >= 2; taken = taken[2:] {
		w := &dueWill{app: appID, peer: taken[0], under: &under}
		all = append(all, w)
		under.Add(1)
		r.publishWill(w, taken[1])
	}
	under.Wait()
	for _, w := range all {
		if e := w.result.Err; e != nil && e.Code == protocol.BackendError && e.Outcome != protocol.OutcomeUnknown {
			back = append(back, w.peer)
			continue
		}
		done = append(done, w.peer)
		r.tellWill(w)
	}
	return done, back
}

// dueWill is a will that is being published (publish.Completion).
type dueWill struct {
	app, peer, channel string
	result             publish.Result
	under              *sync.WaitGroup
}

// Published says what became of it.
func (w *dueWill) Published(result publish.Result) {
	w.result = result
	w.under.Done()
}

// Flush does nothing: nothing waits for several answers.
func (w *dueWill) Flush() {}

func (w *dueWill) refuse(err *protocol.Error) { w.Published(publish.Result{Err: err}) }

// publishWill publishes a will if its credential still lets it: what a token claims was
// checked when the will was set.
func (r *Recorder) publishWill(d *dueWill, text string) {
	w, err := parseWill(text)
	if err != nil {
		d.refuse(protocol.Errorf(protocol.InternalError, "%v", err))
		return
	}
	d.channel = w.Channel
	key, ok := r.opt.Directory().Key(w.Key)
	switch {
	case !ok || key.App.ID != d.app || key.Role == apps.RoleViewer:
		d.refuse(protocol.Errorf(protocol.Unauthorized, "key %s is gone", w.Key))
		return
	case key.App.Suspended:
		d.refuse(protocol.Errorf(protocol.AccountSuspended, "the app is suspended"))
		return
	}
	g := auth.KeyGrant(key, d.peer, w.Metadata)
	g.IssuedAt = w.IssuedAt
	if key.Publishable() {
		r.submitWill(d, g, w)
		return
	}
	r.opt.Revoked(g, func(revoked bool, err error) {
		switch {
		case err != nil:
			d.refuse(protocol.Errorf(protocol.BackendError, "Redis does not say whether the token was revoked: %v", err))
		case revoked:
			d.refuse(protocol.Errorf(protocol.Unauthorized, "the token was revoked"))
		default:
			r.submitWill(d, g, w)
		}
	})
}

func (r *Recorder) submitWill(d *dueWill, g *auth.Grant, w *Will) {
	m := publish.Message{Grant: g, Channel: w.Channel, From: d.peer, FromMetadata: w.Metadata, Data: w.Data}
	if refused := r.opt.Publisher.Submit(m, d); refused != nil {
		d.refuse(refused)
	}
}

// tellWill counts a will that is over, and logs one that was not published.
func (r *Recorder) tellWill(w *dueWill) {
	if w.result.Err == nil {
		r.opt.WillDue("ok")
		return
	}
	r.opt.WillDue(string(w.result.Err.Code))
	r.opt.Log.Info("a will was not published", "app", w.app, "peer", w.peer, "channel", w.channel, "err", w.result.Err)
}

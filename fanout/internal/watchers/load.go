package watchers

import (
	"context"
	"time"

	"fleetwire/pkg/batch"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/redisconn"
)

const (
	// loaders is how many apps' views are loaded at the same time, so that an app with
	// a large channel holds up no other.
	loaders = 4
	// loadedAtOnce bounds the channels of one load.
	loadedAtOnce = 100
	// loadLimit bounds a load, loadRetry is the pause after one that failed.
	loadLimit = 10 * time.Second
	loadRetry = 200 * time.Millisecond
)

// loadRequest is a view to load, as it was when that was requested.
type loadRequest struct {
	view  *view
	round int
}

// lost is a view that Redis has lost, and until when it settles.
type lost struct {
	view  *view
	until time.Time
}

// loadQueue has the views to load: those of each app, and the apps that have some,
// the next one first. An app is loaded by one loader at a time. It is no batch.Batcher,
// since apps take turns, and one that has had too much read waits.
type loadQueue struct {
	views  map[string][]*view
	apps   []string
	loaded map[string]bool // by a loader just now
}

func newLoadQueue() loadQueue {
	return loadQueue{views: map[string][]*view{}, loaded: map[string]bool{}}
}

func (q *loadQueue) add(v *view) {
	if v.queued {
		return
	}
	v.queued = true
	app := v.id.App
	if len(q.views[app]) == 0 {
		q.apps = append(q.apps, app)
	}
	q.views[app] = append(q.views[app], v)
}

// next takes views of the app, and sends it to the end of the queue if it has more. A
// view that is lent comes back into the queue when it is not any more.
func (q *loadQueue) next(app string) (requests []loadRequest) {
	views := q.views[app]
	for _, v := range batch.Take(&views, loadedAtOnce) {
		v.queued = false
		if v.requested && !v.lent() {
			requests = append(requests, loadRequest{v, v.round})
		}
	}
	if len(views) == 0 {
		delete(q.views, app)
		return requests
	}
	q.views[app] = views
	q.apps = append(q.apps, app)
	return requests
}

// runLoads loads views, and sees to those that need another try.
func (ws *Watchers) runLoads(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-ws.loading:
		}
		wait := ws.loadAll(ctx)
		if wait > 0 {
			timer.Reset(wait)
		}
	}
}

// loadAll loads the views that need it, and returns in how long to look again; 0:
// when signalled.
func (ws *Watchers) loadAll(ctx context.Context) (wait time.Duration) {
	for {
		requests, wait := ws.takeLoads()
		if len(requests) == 0 {
			return sooner(wait, ws.retries())
		}
		err := ws.loadViews(ctx, requests)
		ws.mu.Lock()
		delete(ws.toLoad.loaded, requests[0].view.id.App)
		ws.mu.Unlock()
		ws.loading.Set() // the app may have more
		if err != nil {
			return loadRetry
		}
	}
}

// loadViews loads views of one app. A channel that Redis refuses to read is tried
// again later; an error means that Redis did not answer.
func (ws *Watchers) loadViews(ctx context.Context, requests []loadRequest) error {
	ids := make([]presence.ChannelID, len(requests))
	for i, a := range requests {
		ids[i] = a.view.id
	}
	limited, cancel := context.WithTimeout(ctx, loadLimit)
	states, err := ws.opt.Load(limited, ids)
	cancel()
	refused := err != nil && !redisconn.Unreachable(err) && ctx.Err() == nil
	if refused && len(requests) > 1 { // one of them is
		for i := range requests {
			if err := ws.loadViews(ctx, requests[i:i+1]); err != nil {
				ws.putBack(requests[i+1:])
				return err
			}
		}
		return nil
	}
	if err != nil {
		if ctx.Err() == nil {
			ws.opt.Log.Warn("who is in channels could not be read from redis, trying again", "channels", len(ids), "err", err)
		}
		if !refused {
			ws.putBack(ws.replaceRead(requests, states))
			return err
		}
		ws.mu.Lock()
		defer ws.mu.Unlock()
		if requests[0].view.round == requests[0].round {
			ws.refused = append(ws.refused, requests[0].view)
			ws.retryRefused = time.Now().Add(loadRetry)
		}
		return nil
	}
	ws.replaceRead(requests, states)
	return nil
}

// replaceRead replaces the views that were read, and returns the others: on a cluster, one
// master may not answer.
func (ws *Watchers) replaceRead(requests []loadRequest, states []presence.State) (others []loadRequest) {
	for i, a := range requests {
		if i >= len(states) || states[i].Err != nil {
			others = append(others, a)
			continue
		}
		ws.spendRead(a.view.id.App, readBytes(&states[i]))
		ws.replace(a, &states[i])
	}
	return others
}

func (ws *Watchers) spendRead(app string, bytes int) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.reads.spend(app, bytes, time.Now())
}

// takeLoads takes views of the next app. Those of an app that has had too much read
// stay; wait is for how long, 0 if there are none.
func (ws *Watchers) takeLoads() (requests []loadRequest, wait time.Duration) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	now := time.Now()
	q := &ws.toLoad
	for range len(q.apps) {
		app := q.apps[0]
		q.apps = q.apps[1:]
		owes := ws.reads.owes(app, now)
		if owes > 0 || q.loaded[app] {
			q.apps = append(q.apps, app)
			wait = sooner(wait, owes)
			continue
		}
		if requests = q.next(app); len(requests) > 0 {
			q.loaded[app] = true
			if len(q.apps) > 0 {
				ws.loading.Set() // another loader
			}
			return requests, 0
		}
	}
	return nil, wait
}

// sooner is the shorter of two waits, of which 0 means none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// putBack has the views loaded again, unless that is no longer requested.
func (ws *Watchers) putBack(requests []loadRequest) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, a := range requests {
		if a.view.round == a.round {
			ws.toLoad.add(a.view)
		}
	}
}

// retries asks again for announcements that could not be asked for, and has views
// loaded that Redis refused to read, or whose time to settle is over. It returns when
// to look again, or 0.
func (ws *Watchers) retries() (wait time.Duration) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if left := time.Until(ws.retryRefused); left > 0 {
		wait = left
	} else if len(ws.refused) > 0 {
		for _, v := range ws.refused {
			ws.toLoad.add(v)
		}
		ws.refused = nil
		wait = 1 // at once
	}
	unsure := ws.unsure
	ws.unsure = nil
	for _, v := range unsure {
		if v.watched() && !v.heard {
			ws.want(v)
		}
	}
	if len(ws.unsure) > 0 {
		wait = sooner(wait, loadRetry)
	}
	for len(ws.lost) > 0 {
		next := ws.lost[0]
		if left := time.Until(next.until); left > 0 {
			wait = sooner(wait, left)
			break
		}
		ws.lost = ws.lost[1:]
		if next.view.heard && next.view.settled.Equal(next.until) { // it was not put off
			ws.load(next.view)
			wait = 1 // at once
		}
	}
	return wait
}

package watchers

import (
	"context"
	"time"

	"fleetwire/pkg/presence"
)

const (
	// loadedAtOnce bounds the channels of one load.
	loadedAtOnce = 100
	// loadLimit bounds a load, loadRetry is the pause after one that failed.
	loadLimit = 10 * time.Second
	loadRetry = 200 * time.Millisecond
)

// loadAsked is a view to be loaded, as it was when that was asked.
type loadAsked struct {
	view  *view
	round int
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
		asked, wait := ws.takeLoads()
		if len(asked) == 0 {
			return sooner(wait, ws.retries())
		}
		ids := make([]presence.ChannelID, len(asked))
		for i, a := range asked {
			ids[i] = a.view.id
		}
		limited, cancel := context.WithTimeout(ctx, loadLimit)
		states, err := ws.opt.Load(limited, ids)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				ws.opt.Log.Warn("who is in channels could not be read from redis, trying again", "channels", len(ids), "err", err)
			}
			ws.putBack(asked)
			return loadRetry
		}
		ws.mu.Lock()
		for i, a := range asked {
			ws.reads.spend(a.view.id.App, readBytes(&states[i]), time.Now())
			if a.view.round == a.round {
				a.view.asked = false
				ws.replace(a.view, states[i])
			}
		}
		ws.mu.Unlock()
	}
}

// takeLoads takes the views that are to be loaded now. Those of an app that has had too
// much read stay; wait is for how long, 0 if there are none.
func (ws *Watchers) takeLoads() (asked []loadAsked, wait time.Duration) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	now := time.Now()
	var stay []*view
	for len(ws.toLoad) > 0 && len(asked) < loadedAtOnce {
		v := ws.toLoad[0]
		ws.toLoad = ws.toLoad[1:]
		if owes := ws.reads.owes(v.id.App, now); v.asked && owes > 0 {
			stay = append(stay, v)
			wait = sooner(wait, owes)
			continue
		}
		v.queued = false
		if v.asked {
			asked = append(asked, loadAsked{v, v.round})
		}
	}
	ws.toLoad = append(stay, ws.toLoad...)
	if len(ws.toLoad) == 0 {
		ws.toLoad = nil
	}
	return asked, wait
}

// sooner is the shorter of two waits, of which 0 means none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func (ws *Watchers) putBack(asked []loadAsked) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, a := range asked {
		if a.view.round == a.round && !a.view.queued {
			a.view.queued = true
			ws.toLoad = append(ws.toLoad, a.view)
		}
	}
}

// retries asks again for announcements that could not be asked for, and has views
// loaded whose time to settle is over. It returns when to look again, or 0.
func (ws *Watchers) retries() (wait time.Duration) {
	ws.mu.Lock()
	unsure := ws.unsure
	ws.unsure = nil
	for _, v := range unsure {
		if v.watched() && !v.heard {
			ws.want(v)
		}
	}
	if len(ws.unsure) > 0 {
		wait = loadRetry
	}
	for len(ws.lost) > 0 {
		v := ws.lost[0]
		if left := time.Until(v.settled); left > 0 {
			if wait == 0 || left < wait {
				wait = left
			}
			break
		}
		ws.lost = ws.lost[1:]
		if v.heard {
			ws.load(v)
			wait = 1 // at once
		}
	}
	ws.mu.Unlock()
	return wait
}

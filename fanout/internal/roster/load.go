package roster

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
func (r *Roster) runLoads(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.loading:
		}
		wait := r.loadAll(ctx)
		if wait > 0 {
			timer.Reset(wait)
		}
	}
}

// loadAll loads what is to be loaded, and returns when to look again, 0 if there
// is nothing to look for.
func (r *Roster) loadAll(ctx context.Context) (wait time.Duration) {
	for {
		asked := r.takeLoads()
		if len(asked) == 0 {
			return r.retries()
		}
		ids := make([]presence.ChannelID, len(asked))
		for i, a := range asked {
			ids[i] = a.view.id
		}
		limited, cancel := context.WithTimeout(ctx, loadLimit)
		states, err := r.opt.Load(limited, ids)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				r.opt.Log.Warn("who is in channels could not be read from redis, trying again", "channels", len(ids), "err", err)
			}
			r.putBack(asked)
			return loadRetry
		}
		r.mu.Lock()
		for i, a := range asked {
			if a.view.round == a.round {
				a.view.asked = false
				r.replace(a.view, states[i])
			}
		}
		r.mu.Unlock()
	}
}

func (r *Roster) takeLoads() (asked []loadAsked) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.toLoad) > 0 && len(asked) < loadedAtOnce {
		v := r.toLoad[0]
		r.toLoad = r.toLoad[1:]
		v.queued = false
		if v.asked {
			asked = append(asked, loadAsked{v, v.round})
		}
	}
	if len(r.toLoad) == 0 {
		r.toLoad = nil
	}
	return asked
}

func (r *Roster) putBack(asked []loadAsked) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range asked {
		if a.view.round == a.round && !a.view.queued {
			a.view.queued = true
			r.toLoad = append(r.toLoad, a.view)
		}
	}
}

// retries asks again for announcements that could not be asked for, and has views
// loaded whose time to settle is over. It returns when to look again, or 0.
func (r *Roster) retries() (wait time.Duration) {
	r.mu.Lock()
	unsure := r.unsure
	r.unsure = nil
	for _, v := range unsure {
		if v.watched() && !v.heard {
			r.want(v)
		}
	}
	if len(r.unsure) > 0 {
		wait = loadRetry
	}
	for len(r.lost) > 0 {
		v := r.lost[0]
		if left := time.Until(v.settled); left > 0 {
			if wait == 0 || left < wait {
				wait = left
			}
			break
		}
		r.lost = r.lost[1:]
		if v.heard {
			r.load(v)
			wait = 1 // at once
		}
	}
	r.mu.Unlock()
	return wait
}

package watchers

import (
	"context"
	"slices"
	"sync"
	"time"
)

// open opens the view's window, if it is not open. It is called with ws.mu held.
func (ws *Watchers) open(v *view) {
	if !v.open {
		v.open = true
		ws.closeAt(v, time.Now().Add(window))
		ws.flushing.Set()
	}
}

// closeAt has the view's window close then.
func (ws *Watchers) closeAt(v *view, at time.Time) {
	v.closes = at
	i := len(ws.due)
	for i > 0 && ws.due[i-1].closes.After(at) {
		i--
	}
	ws.due = slices.Insert(ws.due, i, v)
}

// openFor opens the view's window for newcomers. The first waits for no one,
// and in a small channel they must not: see few.
func (ws *Watchers) openFor(v *view) {
	if (v.open || len(v.watchers) > 0) && (len(v.members) > few || !v.canWelcome()) {
		ws.open(v)
		return
	}
	if v.postponed {
		return
	}
	if v.open {
		i := slices.Index(ws.due, v)
		if i < 0 {
			return // it is about to be closed
		}
		ws.due = slices.Delete(ws.due, i, i+1)
	}
	v.open = true
	ws.now = append(ws.now, v)
	ws.flushing.Set()
}

// canWelcome says whether some newcomer can have its snapshot.
func (v *view) canWelcome() bool {
	return slices.ContainsFunc(v.newcomers, func(entry *watching) bool { return entry.ready && v.reached(entry) })
}

// Run closes windows and loads views until ctx ends.
func (ws *Watchers) Run(ctx context.Context) {
	var loads sync.WaitGroup
	for range loaders {
		loads.Go(func() { ws.runLoads(ctx) })
	}
	ws.runWindows(ctx)
	loads.Wait()
}

func (ws *Watchers) runWindows(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var spare []Watcher // becomes ws.dirty
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-ws.flushing:
		}
		for {
			ws.mu.Lock()
			v, wait := ws.nextDue()
			if v != nil {
				ws.close(v)
			}
			spare = ws.flushAndUnlock(spare)
			if v == nil {
				if wait > 0 {
					timer.Reset(wait)
				}
				break
			}
			ws.catchUp(v)
		}
	}
}

// flushAndUnlock writes what was appended, without the lock. spare becomes ws.dirty,
// and what that was is returned empty.
func (ws *Watchers) flushAndUnlock(spare []Watcher) []Watcher {
	dirty := ws.dirty
	ws.dirty = spare
	ws.mu.Unlock()
	for i, w := range dirty {
		w.Flush()
		dirty[i] = nil
	}
	return dirty[:0]
}

// nextDue takes the next view whose window must close, or says in how long there
// will be one; 0: there is none. Windows of an app that was sent too much
// stay open for longer.
func (ws *Watchers) nextDue() (v *view, wait time.Duration) {
	now := time.Now()
	for {
		switch {
		case len(ws.now) > 0:
			v, ws.now = ws.now[0], ws.now[1:]
		case len(ws.due) == 0:
			ws.now, ws.due = nil, nil
			return nil, 0
		default:
			if wait = ws.due[0].closes.Sub(now); wait > 0 {
				ws.now = nil
				return nil, wait
			}
			v, ws.due = ws.due[0], ws.due[1:]
		}
		owes := ws.budget.owes(v.id.App, now)
		if owes == 0 {
			return v, 0
		}
		v.postponed = true
		ws.closeAt(v, now.Add(max(owes, window)))
	}
}

// Package tally counts what each app does on a node since the node started: GET /v1/nodes
// (protocol §5) shows it to that app. Metrics count for the operator, over all apps.
package tally

import (
	"iter"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Tally has the counters of all apps. It is safe for concurrent use.
type Tally struct{ apps sync.Map } // app id → *App

// App is what one app has done on the node.
type App struct {
	ID          string
	Connections atomic.Int64  // open
	Messages    atomic.Uint64 // published, channels and peers alike
	Deliveries  atomic.Uint64 // messages handed to connections

	mu                        sync.Mutex
	dropped, closes, refusals map[string]uint64
}

// Of returns the counters of an app, which callers may keep. Apps are those of documents, so
// they are few.
func (t *Tally) Of(app string) *App {
	if a, ok := t.apps.Load(app); ok {
		return a.(*App)
	}
	app = strings.Clone(app) // it may be a part of a message
	a, _ := t.apps.LoadOrStore(app, &App{ID: app, dropped: map[string]uint64{}, closes: map[string]uint64{}, refusals: map[string]uint64{}})
	return a.(*App)
}

// Apps are the counters of all apps that have done something.
func (t *Tally) Apps() iter.Seq[*App] {
	return func(yield func(*App) bool) {
		t.apps.Range(func(_, a any) bool { return yield(a.(*App)) })
	}
}

// Deliveries are those of all apps.
func (t *Tally) Deliveries() (all uint64) {
	for a := range t.Apps() {
		all += a.Deliveries.Load()
	}
	return all
}

// Published counts a message by its outcome: "ok", or the error code of one that was not published.
func (a *App) Published(result string) {
	if result == "ok" {
		a.Messages.Add(1)
		return
	}
	a.count(a.dropped, result)
}

// Dropped is how many messages were not published.
func (a *App) Dropped() (all uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range a.dropped {
		all += n
	}
	return all
}

// Connected counts a connection that begins.
func (a *App) Connected() { a.Connections.Add(1) }

// Closed counts its end by its close code. Those that peers make up count together.
func (a *App) Closed(by string, code int) {
	a.Connections.Add(-1)
	name := strconv.Itoa(code)
	if by == "peer" && code >= 3000 {
		name = "other"
	}
	a.count(a.closes, name)
}

// Refused counts a connection that got no welcome, by its close code, or 429.
func (a *App) Refused(code int) { a.count(a.refusals, strconv.Itoa(code)) }

func (a *App) count(in map[string]uint64, name string) {
	a.mu.Lock()
	in[name]++
	a.mu.Unlock()
}

// Shown is the counters as they are shown.
type Shown struct {
	Connections int64             `json:"connections"`
	Messages    uint64            `json:"messages"`
	Deliveries  uint64            `json:"deliveries"`
	Dropped     map[string]uint64 `json:"dropped"`
	Closes      map[string]uint64 `json:"closes"`
	Refusals    map[string]uint64 `json:"refusals"`
}

// Shown reads the counters.
func (a *App) Shown() Shown {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Shown{a.Connections.Load(), a.Messages.Load(), a.Deliveries.Load(), maps.Clone(a.dropped), maps.Clone(a.closes), maps.Clone(a.refusals)}
}

package batch

import "sync"

// Events are functions that callers leave to the one goroutine that owns what they change.
// They are safe for concurrent use.
type Events struct {
	Signal // set when some were added

	mu    sync.Mutex
	added []func()
}

// NewEvents returns Events of which there are none.
func NewEvents() *Events { return &Events{Signal: NewSignal()} }

// Add leaves a function to the goroutine. It never blocks.
func (e *Events) Add(event func()) {
	e.mu.Lock()
	e.added = append(e.added, event)
	e.mu.Unlock()
	e.Set()
}

// Run calls the functions that were added, in that order, and says whether there were any.
// Functions that are added meanwhile wait for the next Run.
func (e *Events) Run() bool {
	e.mu.Lock()
	added := e.added
	e.added = nil
	e.mu.Unlock()
	for _, event := range added {
		event()
	}
	return len(added) > 0
}

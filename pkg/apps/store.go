package apps

import (
	"sync"
	"sync/atomic"
	"time"
)

// Store holds the directory in force. Reading it takes no lock. A
// request that reads it once works with one document to its end.
type Store struct {
	current atomic.Pointer[Directory]
	stale   atomic.Pointer[Stale]

	mu       sync.Mutex
	replaced chan struct{} // closed by the next Replace
}

// Stale is why the directory in force is not that of the newest document.
type Stale struct {
	Since time.Time // when that was first seen
	Why   string    // what is wrong with the newest; no secret is in it
}

// NewStore is a store in which d is in force.
func NewStore(d *Directory) *Store {
	s := &Store{replaced: make(chan struct{})}
	s.Replace(d)
	return s
}

// Current is the directory in force.
func (s *Store) Current() *Directory { return s.current.Load() }

// Replace puts d in force. d must not be nil.
func (s *Store) Replace(d *Directory) {
	if d == nil {
		panic("apps: Replace needs a directory")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.Store(d)
	close(s.replaced)
	s.replaced = make(chan struct{})
}

// Replaced is closed when the directory in force is next replaced. A caller that
// takes it before Current sees every directory that was the newest when it looked.
func (s *Store) Replaced() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replaced
}

// Stale is nil while the directory in force is that of the newest document.
func (s *Store) Stale() *Stale { return s.stale.Load() }

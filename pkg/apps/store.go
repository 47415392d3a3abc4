package apps

import "sync/atomic"

// Store holds the directory in force. Reading it takes no lock; whoever reads
// it once works with one document to the end of the request.
type Store struct{ current atomic.Pointer[Directory] }

// NewStore is a store in which d is in force.
func NewStore(d *Directory) *Store {
	s := new(Store)
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
	s.current.Store(d)
}

package session

import (
	"slices"
	"sync/atomic"
	"time"
)

// Shown is what is told of a live connection.
type Shown struct {
	Client        Client
	ConnectedAt   time.Time
	Subscriptions []string // channels and patterns, sorted
}

// Shown tells of the connection.
func (s *Session) Shown() Shown {
	c := &s.scope
	c.mu.Lock()
	names := make([]string, len(c.subscriptions))
	for i, one := range c.subscriptions {
		names[i] = one.name
	}
	c.mu.Unlock()
	slices.Sort(names)
	return Shown{s.client, s.opt.Now().Add(s.began - s.opt.Conn.Ticks()), names}
}

// Epoch is the peer's epoch that the connection has (pkg/registry), which Redis tells.
func (s *Session) Epoch() *atomic.Uint64 { return &s.epoch }

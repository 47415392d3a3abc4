package door

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"fleetwire/pkg/auth"
)

// openedLines is how many connects of a second are told one by one: a fleet that
// comes back would fill the log.
const openedLines = 10

// openedLog tells who connects: the first of each second one by one, and how many
// others there were. At level debug it tells all.
type openedLog struct {
	log *slog.Logger

	mu     sync.Mutex
	lines  int // in the second that runs
	others int
	second *time.Timer // nil: none runs
}

func (c *openedLog) tell(connection uint64, grant *auth.Grant, address string) {
	level := slog.LevelInfo
	if !c.first() {
		level = slog.LevelDebug
	}
	c.log.LogAttrs(context.Background(), level, "connection opened",
		slog.String("app", grant.App.ID), slog.String("peer", grant.Peer), slog.String("key", grant.Key.ID),
		slog.Uint64("connection", connection), slog.String("address", address))
}

// first says whether a connect is among the first of its second.
func (c *openedLog) first() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.second == nil {
		c.second = time.AfterFunc(time.Second, c.sum)
	}
	if c.lines < openedLines {
		c.lines++
		return true
	}
	c.others++
	return false
}

// sum ends a second.
func (c *openedLog) sum() {
	c.mu.Lock()
	others := c.others
	c.lines, c.others, c.second = 0, 0, nil
	c.mu.Unlock()
	if others > 0 {
		c.log.Info("more connections opened in the same second; level debug tells each", "connections", others)
	}
}

// end tells at once what is left to tell.
func (c *openedLog) end() {
	c.mu.Lock()
	runs := c.second != nil && c.second.Stop()
	c.mu.Unlock()
	if runs {
		c.sum()
	}
}

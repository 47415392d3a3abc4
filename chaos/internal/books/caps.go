package books

import (
	"fmt"
	"time"
)

// A Cap is what an app may use, and what it was let use.
type Cap struct {
	b                     *Books
	App                   string
	Messages, Connections int
	acked, unknown        int
	over                  int // refused because the cap was reached
	open, most            int
}

// Cap opens the books of an app with a cap on messages and on connections.
func (b *Books) Cap(app string, messages, connections int) *Cap {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &Cap{b: b, App: app, Messages: messages, Connections: connections}
	b.caps = append(b.caps, c)
	return c
}

// Sent records what became of a message: over says that it was dropped over the cap.
func (c *Cap) Sent(o Outcome, over bool) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	switch {
	case over:
		c.over++
	case o == Acked:
		c.acked++
	case o == Unknown:
		c.unknown++
	}
}

// Opened records a connection that got its welcome, Ended its end.
func (c *Cap) Opened() {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.open++
	c.most = max(c.most, c.open)
}

// Ended records the end of a connection.
func (c *Cap) Ended() {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.open--
}

// Judge finds what the cap was passed by, and whether used, the service's own count of all
// attempts, is right. lost says that Redis may have lost counts: then the app may begin at 0
// once more.
func (c *Cap) Judge(at time.Time, used int, lost bool) (found []Finding) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if over := c.acked - c.Messages; over > 0 {
		found = append(found, Finding{Kind: Overrun, At: at, Allowed: lost && over <= c.Messages,
			Text: fmt.Sprintf("app %s: %d messages were accepted, over the cap of %d", c.App, c.acked, c.Messages), Count: over})
	}
	if short := c.Messages - c.acked - c.unknown; c.over > 0 && short > 0 {
		found = append(found, Finding{Kind: Underrun, At: at, Allowed: lost,
			Text: fmt.Sprintf("app %s: messages were dropped over the cap of %d, and only %d were accepted (%d unknown)", c.App, c.Messages, c.acked, c.unknown), Count: short})
	}
	if attempts := c.acked + c.over; used < attempts || used > attempts+c.unknown {
		found = append(found, Finding{Kind: Miscount, At: at, Allowed: lost,
			Text: fmt.Sprintf("app %s: messagesUsed is %d after %d attempts (and %d of which nothing is known)", c.App, used, attempts, c.unknown)})
	}
	if over := c.most - c.Connections; over > 0 {
		found = append(found, Finding{Kind: Overrun, At: at,
			Text: fmt.Sprintf("app %s: %d connections at once, over the cap of %d", c.App, c.most, c.Connections), Count: over})
	}
	return found
}

// Said is what the app used, for a reader.
func (c *Cap) Said() string {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return fmt.Sprintf("%d of %d accepted, %d unknown, %d over; at most %d of %d connections", c.acked, c.Messages, c.unknown, c.over, c.most, c.Connections)
}

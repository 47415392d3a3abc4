package client

import (
	"fmt"

	"fleetwire/clients/go/protocol"
)

// A Position is a place in what a channel remembers (protocol §9). Offsets count a channel's
// messages from 1, within an epoch.
type Position = protocol.Position

// A Gap says that messages of a channel did not come to a subscription.
type Gap struct {
	Channel string
	After   Position // the last message that came, or what Since began with
	// Until is the newest position when the gap was found: messages up to there may be
	// missing, and those that are still remembered follow. It is zero if the channel
	// remembers nothing any more.
	Until Position
}

// Last begins a subscription by name with the newest n messages of a channel that remembers,
// 1 to 1000, or as many as there are. The first time alone: after a reconnect the
// subscription goes on where it was.
func Last(n int) SubscribeOption {
	return func(s *subscription) {
		if s.last, s.place.at = n, nil; n == 0 {
			s.last = -1 // which is refused
		}
	}
}

// Since begins a subscription by name behind a position, such as that of the last message
// that a program has dealt with before it was started anew. Options.OnGap hears if not
// everything after it is still remembered.
func Since(p Position) SubscribeOption {
	return func(s *subscription) { s.last, s.place.at = 0, &p }
}

// A place is where a subscription by name stands in a channel that remembers.
type place struct {
	at *Position // the last message that came; nil: it is not known
	on *link     // the connection whose messages move it
	// owed is how many messages before at were asked for, and may not have come.
	owed uint64
}

// after is the position after which messages are missing.
func (p *place) after() Position { return Position{Epoch: p.at.Epoch, Offset: p.at.Offset - p.owed} }

// start are the fields of a subscribe that say where it begins. goesOn tells whether it goes on where
// the subscription was.
func (c *Client) start(s *subscription) (fields string, goesOn bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.place.on = nil
	switch {
	case s.pattern != nil:
		return "", false
	case s.place.at != nil:
		after := s.place.after()
		return fmt.Sprintf(`,"since":{"epoch":%q,"offset":%d}`, after.Epoch, after.Offset), true
	default: // also 0: the service tells of gaps those alone that ask where they begin
		return fmt.Sprintf(`,"last":%d`, s.last), false
	}
}

// placed takes what the ack of a subscribe on l says; goesOn is what start said of that subscribe:
// another ack may have come since. gap is what can't be recovered. c.mu is held.
func (s *subscription) placed(l *link, a ack, goesOn bool) (gap *Gap) {
	if s.pattern != nil {
		return nil
	}
	p := &s.place
	p.on = l
	if p.at == nil || !goesOn {
		if p.at = a.at; p.at != nil {
			p.owed = min(uint64(s.last), p.at.Offset)
		}
		return nil
	}
	after, owed := p.after(), p.owed
	unchanged := a.at != nil && *a.at == *p.at
	p.owed = 0
	if a.recovered {
		p.at = &after
		return nil
	}
	// The messages that are still remembered follow, if there are any. If the connection ends
	// before they come, they are in the gap, too.
	p.at = a.at
	if owed > 0 && unchanged {
		return nil // fewer were there than were asked for
	}
	gap = &Gap{Channel: s.channel, After: after}
	if a.at != nil {
		gap.Until = *a.at
	}
	return gap
}

// came notes a message, and returns the channel's epoch; "": it is not known.
func (c *Client) came(l *link, channel string, offset uint64) (epoch string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.subs[channel]
	if s == nil || s.place.at == nil || s.place.on != l {
		return ""
	}
	s.place.at = &Position{Epoch: s.place.at.Epoch, Offset: offset}
	s.place.owed = 0
	return s.place.at.Epoch
}

// gap takes the service's word that messages up to a position can't be delivered.
func (c *Client) gap(l *link, channel string, until *Position) {
	c.mu.Lock()
	s := c.subs[channel]
	if s == nil || s.place.on != l || until == nil {
		c.mu.Unlock()
		return
	}
	gap := Gap{Channel: channel, Until: *until}
	if s.place.at != nil {
		gap.After = s.place.after()
	}
	s.place.at, s.place.owed = until, 0
	c.mu.Unlock()
	c.missed(gap)
}

func (c *Client) missed(gap Gap) {
	c.opt.Log.Warn("messages of a channel are missing", "channel", gap.Channel, "after", gap.After, "until", gap.Until)
	if c.opt.OnGap != nil {
		c.queue.put(item{gap: &gap})
	}
}

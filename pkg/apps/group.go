package apps

import (
	"slices"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
)

const (
	maxGroups        = 16
	maxGroupPatterns = 100
	maxAckTimeoutSec = 12 * 3600
	maxDeliver       = 100
	minGroupBytes    = 1 << 20
	maxGroupBytes    = 1 << 40
	minGroupAgeSec   = 60
	maxGroupAgeSec   = 30 * 24 * 3600
)

// Group is a group of ingesters: messages that match wait for them until one
// acknowledges each (protocol §10).
type Group struct {
	Name       string             // 1–64 of [A-Za-z0-9_-]: it becomes part of Redis keys
	Patterns   []*channel.Pattern // 1 to 100
	AckTimeout time.Duration      // until a message that was not acknowledged is delivered again
	MaxDeliver int                // deliveries of a message, before it is a dead letter
	MaxBytes   int64              // that all its messages take
	MaxAge     time.Duration      // of a message
	// DropOldest has the oldest messages make room for new ones. Else messages that have
	// no room are refused.
	DropOldest bool
	// Sink is where the messages are delivered to; nil: ingesters pull them.
	Sink *Sink
}

// Matches tells whether messages to the channel wait for the group.
func (g *Group) Matches(channelName string) bool {
	return slices.ContainsFunc(g.Patterns, func(p *channel.Pattern) bool { return p.Match(channelName) })
}

// GroupsOf are the groups that messages to the channel wait for, in the order of the
// document. It does not allocate if there are none.
func (a *App) GroupsOf(channelName string) (groups []*Group) {
	for _, g := range a.Groups {
		if g.Matches(channelName) {
			groups = append(groups, g)
		}
	}
	return groups
}

// Group is the group with this name, or nil.
func (a *App) Group(name string) *Group {
	for _, g := range a.Groups {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// sameGroups tells whether two documents say the same of the app's groups.
func (a *App) sameGroups(other *App) bool {
	same := func(x, y *Group) bool {
		samePattern := func(p, q *channel.Pattern) bool { return p.String() == q.String() }
		return slices.EqualFunc(x.Patterns, y.Patterns, samePattern) && x.Name == y.Name && x.AckTimeout == y.AckTimeout &&
			x.MaxDeliver == y.MaxDeliver && x.MaxBytes == y.MaxBytes && x.MaxAge == y.MaxAge && x.DropOldest == y.DropOldest &&
			x.Sink.Equal(y.Sink)
	}
	return slices.EqualFunc(a.Groups, other.Groups, same)
}

func readGroups(o object, app *App) {
	groups, ok := o.get("groups")
	if !ok {
		return
	}
	list, _ := groups.atMost(maxGroups, "groups")
	for _, item := range list {
		readGroup(item, app)
	}
}

func readGroup(v value, app *App) {
	o, ok := v.object("name", "patterns", "ackTimeoutSec", "maxDeliver", "maxBytes", "maxAgeSec", "overflow", "sink")
	if !ok {
		return
	}
	group := &Group{AckTimeout: 30 * time.Second, MaxDeliver: 10, MaxBytes: 256 << 20, MaxAge: 24 * time.Hour}
	if name, ok := o.need("name", "a group needs a name, such as ingest"); ok {
		group.Name = readGroupName(name, app)
	}
	if patterns, ok := o.need("patterns", `an array of the channels whose messages wait for the group, such as ["devices/*/events"]`); ok {
		readGroupPatterns(patterns, group)
	}
	if sink, ok := o.get("sink"); ok {
		group.Sink = readSink(sink)
	}
	if seconds, ok := o.get("ackTimeoutSec"); ok {
		n, ok := seconds.whole(1, maxAckTimeoutSec)
		group.AckTimeout = time.Duration(n) * time.Second
		if ok && group.Sink != nil && group.AckTimeout < minSinkAckTimeout {
			seconds.addf("must be at least %d in a group with a sink, as a delivery may take 15 s; got %d", int(minSinkAckTimeout.Seconds()), n)
		}
	}
	if most, ok := o.get("maxDeliver"); ok {
		n, _ := most.whole(1, maxDeliver)
		group.MaxDeliver = int(n)
	}
	if bytes, ok := o.get("maxBytes"); ok {
		group.MaxBytes, _ = bytes.whole(minGroupBytes, maxGroupBytes)
	}
	if seconds, ok := o.get("maxAgeSec"); ok {
		n, _ := seconds.whole(minGroupAgeSec, maxGroupAgeSec)
		group.MaxAge = time.Duration(n) * time.Second
	}
	if overflow, ok := o.get("overflow"); ok {
		group.DropOldest = readOverflow(overflow)
	}
	app.Groups = append(app.Groups, group)
}

func readGroupName(v value, app *App) string {
	name, ok := v.text()
	if !ok {
		return ""
	}
	switch {
	case !ValidGroupName(name):
		v.addf("must be 1–%d characters of A–Z, a–z, 0–9, _ and -", protocol.MaxGroupNameBytes)
		return ""
	case app.Group(name) != nil:
		v.addf("is the name of another group of the app; names of groups are unique")
	}
	return name
}

// ValidGroupName tells whether a group may have the name.
func ValidGroupName(name string) bool {
	return name != "" && len(name) <= protocol.MaxGroupNameBytes && every(name, isWord)
}

func readGroupPatterns(v value, group *Group) {
	list, ok := v.atMost(maxGroupPatterns, "patterns")
	if ok && len(list) == 0 {
		v.addf("must have at least one pattern, such as devices/*/events")
	}
	for _, item := range list {
		text, ok := item.text()
		if !ok {
			continue
		}
		pattern, err := channel.Compile(text)
		switch {
		case err != nil:
			item.addf("%v", err)
		case channel.IsReserved(text):
			item.addf("begins with a reserved prefix; messages under _metered/, _internal/ and _system/ wait for no group")
		default:
			group.Patterns = append(group.Patterns, pattern)
		}
	}
}

// readOverflow tells whether the oldest messages make room.
func readOverflow(v value) bool {
	text, ok := v.text()
	if ok && text != "refuse" && text != "drop_oldest" {
		v.addf(`must be "refuse" or "drop_oldest"`)
	}
	return text == "drop_oldest"
}

package apps

import (
	"slices"
	"time"

	"fleetwire/clients/go/channel"
)

const (
	maxHistoryRules = 100
	// MaxHistorySize is how many messages a channel may remember at most.
	MaxHistorySize   = 1000
	maxHistoryTTLSec = 30 * 24 * 3600
)

// MinHistoryBytes and DefaultHistoryBytes are the least App.HistoryBytes, and that of an
// app whose document names none.
const (
	MinHistoryBytes     = 1 << 20
	DefaultHistoryBytes = 256 << 20
)

// HistoryRule has the channels that match remember their last messages (protocol §9).
type HistoryRule struct {
	Pattern *channel.Pattern
	Size    int           // messages, 1 to MaxHistorySize
	TTL     time.Duration // of each message for itself
}

// HistoryOf is the rule of a channel: the first that matches. nil: the channel remembers
// nothing.
func (a *App) HistoryOf(channelName string) *HistoryRule {
	for i := range a.History {
		if r := &a.History[i]; r.Pattern.Match(channelName) {
			return r
		}
	}
	return nil
}

// sameHistory tells whether two documents have the app's channels remember the same.
func (a *App) sameHistory(other *App) bool {
	same := func(x, y HistoryRule) bool {
		return x.Pattern.String() == y.Pattern.String() && x.Size == y.Size && x.TTL == y.TTL
	}
	return a.HistoryBytes == other.HistoryBytes && slices.EqualFunc(a.History, other.History, same)
}

func readHistory(o object, app *App) {
	if bound, ok := o.get("historyBytes"); ok {
		app.HistoryBytes, _ = bound.whole(MinHistoryBytes, maxPlanNumber)
	}
	rules, ok := o.get("history")
	if !ok {
		return
	}
	list, _ := rules.atMost(maxHistoryRules, "entries")
	for _, item := range list {
		readHistoryRule(item, app)
	}
}

func readHistoryRule(v value, app *App) {
	o, ok := v.object("pattern", "size", "ttlSec")
	if !ok {
		return
	}
	var rule HistoryRule
	if pattern, ok := o.need("pattern", "the channels that remember, such as devices/*/state"); ok {
		rule.Pattern = readHistoryPattern(pattern)
	}
	if size, ok := o.need("size", "how many messages a channel remembers, 1 to 1000"); ok {
		n, _ := size.whole(1, MaxHistorySize)
		rule.Size = int(n)
	}
	if ttl, ok := o.need("ttlSec", "for how many seconds each message is remembered, 1 to 2592000"); ok {
		n, _ := ttl.whole(1, maxHistoryTTLSec)
		rule.TTL = time.Duration(n) * time.Second
	}
	app.History = append(app.History, rule)
}

func readHistoryPattern(v value) *channel.Pattern {
	text, ok := v.text()
	if !ok {
		return nil
	}
	pattern, err := channel.Compile(text)
	switch {
	case err != nil:
		v.addf("%v", err)
	case channel.IsReserved(text):
		v.addf("begins with a reserved prefix; channels under _metered/, _internal/ and _system/ remember nothing")
	}
	return pattern
}

package send

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/history"
	"fleetwire/pkg/idempotency"
	"fleetwire/pkg/protocol"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// special says that send.lua publishes the message: its channel remembers, or it has an
// idempotency key.
func (o *Outgoing) special() bool { return o.rule != nil || o.IdempotencyKey != "" }

// asks says that the message has an idempotency key or a condition.
func (o *Outgoing) asks() bool { return o.IdempotencyKey != "" || o.IfOffset != nil }

// group is channels that remember as many messages for as long.
type group struct {
	size   int // 0: they do not remember
	ttl    time.Duration
	topics []any
	last   []string // the keys of where they are
}

// appendSpecial appends what send.lua takes for messages of an app. at is where it runs
// (history.PlaceOf).
func (sender *Sender) appendSpecial(app *apps.App, messages []*Outgoing, at rediskeys.Bucket, keys []string, args []any) ([]string, []any) {
	args = sender.epochs.AppendSetup(args, sender.keys, app, at)
	groups := sender.group(messages)
	args = append(args, len(groups))
	first := make([]int, len(groups)) // number of the group's first channel, from 1
	channels := 1
	for i, g := range groups {
		args = append(append(args, len(g.topics), g.size, g.ttl.Milliseconds()), g.topics...)
		keys = append(keys, g.last...)
		first[i] = channels
		channels += len(g.topics)
	}
	for _, o := range messages {
		number := 0
		if o.special() {
			number = first[o.group] + o.inGroup
		}
		switch {
		case number == 0:
			args = append(args, o.topic, o.payload)
		case !o.asks():
			args = append(args, number, o.payload)
		default:
			args = append(args, -number, o.payload)
			keys, args = o.appendAsked(sender.keys, keys, args)
		}
	}
	return keys, args
}

// group puts the channels of the messages that are special into groups. A channel is there once: if its rule has
// changed between two messages, that of the first counts.
func (sender *Sender) group(messages []*Outgoing) (groups []group) {
	// A channel may have come to remember, or ceased to, between two messages.
	type remembering struct {
		topic string
		so    bool
	}
	type place struct{ group, inGroup int }
	known := make(map[remembering]place, len(messages))
	for _, o := range messages {
		if !o.special() {
			continue
		}
		c := remembering{o.topic, o.rule != nil}
		at, ok := known[c]
		if !ok {
			at.group, groups = groupOf(groups, o.rule, len(messages))
			g := &groups[at.group]
			at.inGroup = len(g.topics)
			g.topics = append(g.topics, o.topic)
			g.last = append(g.last, sender.keys.Bucket(o.app, o.name).Last(o.name))
			known[c] = at
		}
		o.group, o.inGroup = at.group, at.inGroup
	}
	return groups
}

// groupOf is where the group of a rule is, which may be a new one with room for so many channels.
func groupOf(groups []group, rule *apps.HistoryRule, room int) (int, []group) {
	size, ttl := 0, time.Duration(0)
	if rule != nil {
		size, ttl = rule.Size, rule.TTL
	}
	i := slices.IndexFunc(groups, func(g group) bool { return g.size == size && g.ttl == ttl })
	if i < 0 {
		i = len(groups)
		groups = append(groups, group{size: size, ttl: ttl, topics: make([]any, 0, room), last: make([]string, 0, room)})
	}
	return i, groups
}

// appendAsked appends what send.lua takes for a message with a key or a condition.
func (o *Outgoing) appendAsked(names rediskeys.Namespace, keys []string, args []any) ([]string, []any) {
	in := names.Bucket(o.app, o.name)
	offset := ""
	if o.IfOffset != nil {
		offset = strconv.FormatUint(*o.IfOffset, 10)
	}
	key, nodes := 0, 0
	if o.IdempotencyKey != "" {
		keys = append(keys, in.Idempotency(idempotency.ID(o.name, o.IdempotencyKey, "publish")))
		key = len(keys)
		if o.CountSubscribers {
			keys = append(keys, in.SubscriberNodes())
			nodes = len(keys)
		}
	}
	return keys, append(args, offset, o.IfEpoch, o.Fingerprint, key, nodes, o.name, in.Subscribers(""))
}

// read reads an outcome that is a text (send.lua).
func (o *Outgoing) read(outcome string) error {
	kind, rest := "", outcome
	if len(outcome) > 1 && outcome[1] == ',' {
		kind, rest = outcome[:1], outcome[2:]
	}
	subscribers := int64(0)
	if kind == "p" || kind == "s" || kind == "r" {
		count, position, _ := strings.Cut(rest, ",")
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil {
			return fmt.Errorf("send.lua returned %q for a message", outcome)
		}
		subscribers, rest = n, position
	}
	epoch, offset, _ := strings.Cut(rest, ",")
	n, err := strconv.ParseUint(offset, 10, 64)
	if err != nil || epoch == "" {
		return fmt.Errorf("send.lua returned %q for a message", outcome)
	}
	if epoch != "-" { // a channel that does not remember
		o.Position = protocol.Position{Epoch: epoch, Offset: n}
	}
	switch kind {
	case "":
		o.Accepted, o.nodes = true, 1
	case "p":
		o.Accepted, o.nodes = true, subscribers
	case "s":
		o.Accepted, o.Subscribers = true, subscribers
	case "r":
		o.Repeated, o.Subscribers = true, subscribers
	case "m":
		o.Mismatch = true
	default:
		return fmt.Errorf("send.lua returned %q for a message", outcome)
	}
	return nil
}

// note is what send.lua says besides the outcomes.
type note struct{ kind, text string }

// notice reads the notes. Those about messages are filled in at once.
func notice(messages []*Outgoing, extra []any) (notes []note) {
	for _, e := range extra {
		text, _ := e.(string)
		kind, text, _ := strings.Cut(text, " ")
		if kind != "c" {
			notes = append(notes, note{kind, text})
			continue
		}
		number, kept, _ := strings.Cut(text, " ")
		i, err := strconv.Atoi(number)
		if err != nil || i < 1 || i > len(messages) {
			continue
		}
		o := messages[i-1]
		if m, err := history.ParseMessage([]byte(kept), o.Position.Offset); err == nil {
			o.Current = &m
		}
	}
	return notes
}

// heed does what the notes of a place ask for.
func (sender *Sender) heed(ctx context.Context, notes []note, at rediskeys.Bucket, sent time.Time) {
	var sets []deadline.Set
	for _, n := range notes {
		switch n.kind {
		case "g":
			sender.epochs.Learn(at, n.text, sent)
		case "d":
			if n, err := strconv.Atoi(n.text); err == nil && sender.Evicted != nil {
				sender.Evicted(history.EvictedBySize, n)
			}
		case "t":
			ms, bucket, _ := strings.Cut(n.text, " ")
			after, _ := strconv.ParseInt(ms, 10, 64)
			sets = append(sets, deadline.Set{Kind: deadline.History, Bucket: rediskeys.Bucket(bucket), After: time.Duration(after) * time.Millisecond})
		}
	}
	if len(sets) > 0 {
		// If it fails, the next channel that a bucket gets does it.
		_ = redisconn.Exec(ctx, sender.redis, []*redisconn.Call{deadline.Touch(sender.keys, sets...)})
	}
}

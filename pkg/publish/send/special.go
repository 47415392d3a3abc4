package send

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/group"
	"fleetwire/pkg/history"
	"fleetwire/pkg/idempotency"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// special says that send.lua publishes the message: its channel remembers, it has an
// idempotency key, or it waits for groups.
func (o *Outgoing) special() bool { return o.opens() || len(o.Groups) > 0 }

// opens says that send.lua has to know the channel of the message.
func (o *Outgoing) opens() bool { return o.rule != nil || o.IdempotencyKey != "" }

// asks says that the message has an idempotency key or a condition.
func (o *Outgoing) asks() bool { return o.IdempotencyKey != "" || o.IfOffset != nil }

// ruled is channels that remember as many messages for as long.
type ruled struct {
	size   int // 0: they do not remember
	ttl    time.Duration
	topics []any
	last   []string // the keys of where they are
}

// appendSpecial appends what send.lua takes for messages of an app. at is where it runs
// (history.PlaceOf).
func (sender *Sender) appendSpecial(app *apps.App, messages []*Outgoing, at rediskeys.Bucket, keys []string, args []any) ([]string, []any) {
	args = sender.epochs.AppendSetup(args, sender.keys, app, at)
	all := sender.ruled(messages)
	args = append(args, len(all))
	first := make([]int, len(all)) // number of its first channel, from 1
	channels := 1
	for i, g := range all {
		args = append(append(args, len(g.topics), g.size, g.ttl.Milliseconds()), g.topics...)
		keys = append(keys, g.last...)
		first[i] = channels
		channels += len(g.topics)
	}
	for _, o := range messages {
		number := 0
		if o.opens() {
			number = first[o.ruled] + o.inRuled
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

// ruled puts channels of the messages that open theirs together that have the same rule. A channel is there once: if its rule has
// changed between two messages, that of the first counts.
func (sender *Sender) ruled(messages []*Outgoing) (all []ruled) {
	// A channel may have come to remember, or ceased to, between two messages.
	type remembering struct {
		topic string
		so    bool
	}
	type place struct{ ruled, inRuled int }
	known := make(map[remembering]place, len(messages))
	for _, o := range messages {
		if !o.opens() {
			continue
		}
		c := remembering{o.topic, o.rule != nil}
		at, ok := known[c]
		if !ok {
			at.ruled, all = ruledBy(all, o.rule, len(messages))
			g := &all[at.ruled]
			at.inRuled = len(g.topics)
			g.topics = append(g.topics, o.topic)
			g.last = append(g.last, sender.keys.Bucket(o.app, o.name).Last(o.name))
			known[c] = at
		}
		o.ruled, o.inRuled = at.ruled, at.inRuled
	}
	return all
}

// ruledBy is where the channels of a rule are, which may be new ones with room for so many.
func ruledBy(all []ruled, rule *apps.HistoryRule, room int) (int, []ruled) {
	size, ttl := 0, time.Duration(0)
	if rule != nil {
		size, ttl = rule.Size, rule.TTL
	}
	i := slices.IndexFunc(all, func(g ruled) bool { return g.size == size && g.ttl == ttl })
	if i < 0 {
		i = len(all)
		all = append(all, ruled{size: size, ttl: ttl, topics: make([]any, 0, room), last: make([]string, 0, room)})
	}
	return i, all
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

// heed does what the notes of a place ask for. of is the batch that they are of, and waiting
// which groups its messages wait for.
func (sender *Sender) heed(ctx context.Context, of *sending, waiting *group.Batch, notes []note, at rediskeys.Bucket, sent time.Time) {
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
			sets = append(sets, lookAt(deadline.History, n.text))
		case "w":
			sets = append(sets, lookAt(deadline.Groups, n.text))
		case "x":
			if n, err := strconv.Atoi(n.text); err == nil && sender.Dropped != nil {
				sender.Dropped(group.DroppedByOverflow, n)
			}
		case "f":
			of.freed = append(of.freed, readFreed(of.app, waiting, n.text)...)
		}
	}
	more, calls := sender.doubt(of, sent)
	if sets = append(sets, more...); len(sets) > 0 {
		// If it fails, the next message that a bucket gets does it.
		_ = redisconn.Exec(ctx, sender.redis, append([]*redisconn.Call{deadline.Touch(sender.keys, sets...)}, calls...))
	}
}

// lookAt reads MS BUCKET.
func lookAt(kind deadline.Kind, text string) deadline.Set {
	ms, bucket, _ := strings.Cut(text, " ")
	after, _ := strconv.ParseInt(ms, 10, 64)
	return deadline.Set{Kind: kind, Bucket: rediskeys.Bucket(bucket), After: time.Duration(after) * time.Millisecond}
}

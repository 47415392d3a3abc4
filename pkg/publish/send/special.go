package send

import (
	"context"
	"fmt"
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

// appendSpecial appends what send.lua takes for messages of an app. at is where it runs
// (history.PlaceOf).
func (sender *Sender) appendSpecial(app *apps.App, messages []*Outgoing, at rediskeys.Bucket, keys []string, args []any) ([]string, []any) {
	args = sender.epochs.AppendSetup(args, sender.keys, app, at)
	counted := len(args)
	args = append(args, 0)
	// A channel may have come to remember, or ceased to, between two messages.
	type remembering struct {
		topic string
		so    bool
	}
	channels := map[remembering]int{} // its number
	for _, o := range messages {
		c := remembering{o.topic, o.rule != nil}
		if !o.special() || channels[c] > 0 {
			continue
		}
		channels[c] = len(channels) + 1
		keys = append(keys, sender.keys.Bucket(o.app, o.name).Last(o.name))
		size, ttl := 0, int64(0)
		if o.rule != nil {
			size, ttl = o.rule.Size, o.rule.TTL.Milliseconds()
		}
		args = append(args, o.topic, size, ttl)
	}
	args[counted] = len(channels)
	for _, o := range messages {
		switch number := channels[remembering{o.topic, o.rule != nil}]; {
		case !o.special():
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
func (o *Outgoing) read(outcome string) (err error) {
	fields := strings.Split(outcome, ",")
	number := func(i int) (n int64) {
		if err == nil {
			n, err = strconv.ParseInt(fields[i], 10, 64)
		}
		return n
	}
	// position reads EPOCH and OFFSET, or "-" and 0 of a channel that does not remember.
	position := func(i int) (p protocol.Position) {
		if offset := number(i + 1); fields[i] != "-" {
			p = protocol.Position{Epoch: fields[i], Offset: uint64(offset)}
		}
		return p
	}
	switch {
	case fields[0] == "p" && len(fields) == 4:
		o.Accepted, o.nodes, o.Position = true, number(1), position(2)
	case fields[0] == "s" && len(fields) == 4:
		o.Accepted, o.Subscribers, o.Position = true, number(1), position(2)
	case fields[0] == "r" && len(fields) == 4:
		o.Repeated, o.Subscribers, o.Position = true, number(1), position(2)
	case fields[0] == "m" && len(fields) == 3:
		o.Mismatch, o.Position = true, position(1)
	default:
		err = fmt.Errorf("send.lua returned %q for a message", outcome)
	}
	return err
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

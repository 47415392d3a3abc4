package group

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
)

const (
	// bucketsAtOnce is how many buckets one round trip pulls from.
	bucketsAtOnce = 8
	// bucketBytes is what a bucket gets at least of the bytes of a pull. A bucket gives one
	// message in any case, and none is much larger.
	bucketBytes = 64 << 10
	// bucketMessages bounds what one run of pull.lua leases: it names all to Redis at once.
	bucketMessages = 1000
	// MinPullBytes is the least Pull.MaxBytes.
	MinPullBytes = bucketBytes
)

// Pull is what an ingester wants of a group.
type Pull struct {
	App      *apps.App
	Group    *apps.Group
	Consumer string
	Max      int // messages, at least 1
	MaxBytes int // of channels, senders and data, at least MinPullBytes
}

// Pull leases messages of a group to a consumer: the oldest of each channel first. Buckets that
// are served to another consumer are left out. Pull may return an error, and messages that it leased
// before. After an error it may have leased others that it does not return: they are delivered again
// when their leases end.
func (s *Store) Pull(ctx context.Context, p Pull) ([]Message, error) {
	count, err := s.opt.count(ctx, p.App.ID, p.Group.Name)
	if err != nil {
		return nil, err
	}
	open := slices.DeleteFunc(count.buckets, func(b bucket) bool { return b.bytes == 0 })
	rand.Shuffle(len(open), func(i, j int) { open[i], open[j] = open[j], open[i] })
	pulling := &pulling{Pull: p, store: s, room: p.MaxBytes}
	for len(open) > 0 && len(pulling.got) < p.Max && (len(pulling.got) == 0 || pulling.room >= bucketBytes) {
		n := min(len(open), bucketsAtOnce, max(1, pulling.room/bucketBytes), p.Max-len(pulling.got))
		more, err := pulling.from(ctx, open[:n])
		if err != nil {
			return pulling.got, err
		}
		open = append(open[n:], more...)
	}
	return pulling.got, nil
}

// pulling is a Pull under way.
type pulling struct {
	Pull
	store *Store
	got   []Message
	room  int // bytes
}

// from pulls from some buckets in one round trip, and returns those that have more.
func (p *pulling) from(ctx context.Context, some []bucket) (more []bucket, err error) {
	s, g := p.store, p.Group
	calls := make([]*redisconn.Call, len(some))
	most, room := min(bucketMessages, max(1, (p.Max-len(p.got))/len(some))), p.room/len(some)
	for i, b := range some {
		calls[i] = &redisconn.Call{
			Script: pullScript, Keys: keysOf(b.Bucket, g.Name),
			Args: []any{p.Consumer, most, room, g.AckTimeout.Milliseconds(), g.MaxAge.Milliseconds(), g.MaxDeliver, g.Name},
		}
	}
	failed := redisconn.Exec(ctx, s.opt.Redis, calls)
	var freed []Freed
	var touch []deadline.Set
	for i, b := range some {
		reply, err := calls[i].Reply.Slice()
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		numbers, messages, err := readPulled(g.Name, b, reply)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		for _, m := range messages {
			p.room -= len(m.Channel) + len(m.From) + len(m.FromMetadata) + len(m.Data)
		}
		p.got = append(p.got, messages...)
		freed = append(freed, s.opt.aged(Freed{App: p.App.ID, Group: g.Name, Tag: b.tag, Bytes: numbers[2]}, numbers[4]))
		if numbers[5] == 1 {
			touch = append(touch, deadline.Set{Kind: deadline.Groups, Bucket: b.Bucket, After: time.Second})
		}
		if numbers[1] == 1 {
			more = append(more, b)
		}
	}
	s.opt.takeOff(ctx, freed)
	s.touch(ctx, touch)
	return more, failed
}

// readPulled reads what pull.lua returned.
func readPulled(group string, b bucket, reply []any) (numbers [6]int64, messages []Message, err error) {
	if len(reply) < len(numbers) || (len(reply)-len(numbers))%4 != 0 {
		return numbers, nil, fmt.Errorf("pull.lua returned %d values", len(reply))
	}
	for i := range numbers {
		numbers[i], _ = reply[i].(int64)
	}
	mark := mark(group)
	messages = make([]Message, 0, (len(reply)-len(numbers))/4)
	for rest := reply[len(numbers):]; len(rest) > 0; rest = rest[4:] {
		member, _ := rest[0].(string)
		at, _ := rest[1].(string)
		m := Message{AckID: ackID(b.tag, member, mark)}
		m.Channel, _ = rest[2].(string)
		_, attempt, ok := parseMember(member)
		if at == "" {
			at, _, _ = strings.Cut(member, "-")
		}
		ms, wrong := strconv.ParseInt(at, 10, 64)
		if !ok || wrong != nil {
			return numbers, nil, fmt.Errorf("pull.lua returned the message %q of %q", member, at)
		}
		m.Attempt, m.PublishedAt = attempt, ms
		kept, _ := rest[3].(string)
		if m.Content, err = envelope.ParseContent([]byte(kept)); err != nil {
			return numbers, nil, fmt.Errorf("message %s of channel %s: %w", member, m.Channel, err)
		}
		messages = append(messages, m)
	}
	return numbers, messages, nil
}

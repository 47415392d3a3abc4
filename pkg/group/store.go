package group

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// Options set a Store up.
type Options struct {
	Redis redis.UniversalClient
	Keys  rediskeys.Namespace
	// Dropped is told how many messages were found to be too old. nil: nothing is.
	Dropped func(why Drop, messages int)
}

// Store gives ingesters the messages that wait for groups. It is safe for concurrent use.
type Store struct {
	opt Options
}

// NewStore returns a Store.
func NewStore(opt Options) *Store {
	if opt.Dropped == nil {
		opt.Dropped = func(Drop, int) {}
	}
	return &Store{opt: opt}
}

// bucket is a bucket in which a group may have something.
type bucket struct {
	rediskeys.Bucket
	tag   string
	bytes int64 // as the group's count says
}

// count is what a group takes.
type count struct {
	buckets []bucket // in which it has something
	bytes   int64
	dropped map[Drop]int64 // messages
}

// count reads what a group takes.
func (opt *Options) count(ctx context.Context, app, group string) (c count, err error) {
	fields, err := opt.Redis.HGetAll(ctx, opt.Keys.GroupBytes(app, group)).Result()
	if err != nil {
		return c, err
	}
	c.dropped = map[Drop]int64{}
	for field, text := range fields {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			continue
		}
		if b, ok := opt.Keys.BucketOf(app, field); ok {
			c.buckets = append(c.buckets, bucket{b, field, n})
		} else if field == "all" {
			c.bytes = n
		} else {
			c.dropped[Drop(field)] = n
		}
	}
	return c, nil
}

// takeOff takes what scripts have freed off the group's count. If that fails, a Sweeper does it.
func (opt *Options) takeOff(ctx context.Context, freed []Freed) {
	if calls := TakeOff(opt.Keys, freed...); len(calls) > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tripTime)
		defer cancel()
		_ = redisconn.Exec(ctx, opt.Redis, calls)
	}
}

// aged notes that messages among those that are freed were too old.
func (opt *Options) aged(f Freed, messages int64) Freed {
	if messages > 0 {
		f.Why, f.Messages = DroppedByAge, messages
		opt.Dropped(DroppedByAge, int(messages))
	}
	return f
}

// tripTime bounds what has to be told to Redis whether or not the caller still waits.
const tripTime = 1500 * time.Millisecond

// Message is a message that an ingester got.
type Message struct {
	AckID       string
	Channel     string
	PublishedAt int64 // unix ms, by Redis's clock
	Attempt     int   // 1, or more if it was delivered before
	envelope.Content
}

// ErrAckID reports that an Ack named a message by something that is not an ackId.
var ErrAckID = errors.New("not an id of a message of a group")

// ackID makes the id of a lease: the bucket's tag, what its script calls the lease, and the
// group's mark. A message that waits for several groups has the same lease in each.
func ackID(tag, member, mark string) string {
	var room, coded [96]byte // on the stack, unless they are longer
	text := append(append(append(room[:0], tag...), member...), mark...)
	return string(base64.RawURLEncoding.AppendEncode(coded[:0], text))
}

// mark tells the groups of an app apart.
func mark(group string) string {
	return string(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(group))))
}

// parseAckID undoes ackID.
func parseAckID(id string) (tag, member, mark string, err error) {
	text, err := ackIDs.DecodeString(id)
	if err != nil || len(text) < 8 {
		return "", "", "", ErrAckID
	}
	whole := string(text)
	end := len(whole) - 4
	tag, member = whole[:3], whole[3:end]
	if _, _, valid := parseMember(member); !valid || !rediskeys.IsTag(tag) {
		return "", "", "", ErrAckID
	}
	return tag, member, whole[end:], nil
}

var ackIDs = base64.RawURLEncoding.Strict()

// parseMember reads ID:BYTES:ATTEMPT.
func parseMember(member string) (bytes int64, attempt int, ok bool) {
	id, rest, _ := strings.Cut(member, ":")
	size, times, _ := strings.Cut(rest, ":")
	n, ok1 := parseNumber(size)
	m, ok2 := parseNumber(times)
	return int64(n), int(m), ok1 && ok2 && n > 0 && n <= math.MaxInt64 && m > 0 && m <= math.MaxInt && isStreamID(id)
}

// isStreamID tells whether Redis calls entries of a stream like this.
func isStreamID(id string) bool {
	ms, sequence, _ := strings.Cut(id, "-")
	_, ok1 := parseNumber(ms)
	_, ok2 := parseNumber(sequence)
	return ok1 && ok2
}

// parseNumber reads a number as scripts write it.
func parseNumber(s string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && (s[0] != '0' || len(s) == 1)
}

// ID names the message, also when it is delivered again. No other message has it, of any group
// and app. A dead letter that is redriven gets another.
func (m *Message) ID(app, group string) string {
	text, err := base64.RawURLEncoding.DecodeString(m.AckID)
	if err != nil || len(text) < 8 {
		return m.AckID
	}
	id, _, _ := strings.Cut(string(text[3:]), ":")
	return fmt.Sprintf("%08x-%s-%s", crc32.ChecksumIEEE([]byte(app+"/"+group)), text[:3], id)
}

// Nack has a message delivered again.
type Nack struct {
	AckID string
	Delay time.Duration
	// Uncounted has the message delivered again at once, as if it had not been delivered now: its
	// attempt stays, and it becomes no dead letter. The next lease then has the same ackId.
	Uncounted bool
}

// Ack acknowledges messages of a group, and has others delivered again. It returns of each,
// acknowledged ones first, whether its lease was still held. The error is ErrAckID if an ackId is
// invalid: then Ack did nothing. After another error some may be done.
func (s *Store) Ack(ctx context.Context, app *apps.App, group *apps.Group, ackIDs []string, nacks []Nack) ([]bool, error) {
	calls := map[string]*redisconn.Call{} // by the bucket's tag
	var order []*redisconn.Call
	var in []bucket
	type place struct {
		call *redisconn.Call // nil: the id is of another group, which holds no lease here
		at   int             // in its reply
	}
	places := make([]place, 0, len(ackIDs)+len(nacks))
	ours := mark(group.Name)
	add := func(id string, delay any) error {
		tag, member, of, err := parseAckID(id)
		if err != nil {
			return err
		}
		if of != ours {
			places = append(places, place{})
			return nil
		}
		call := calls[tag]
		if call == nil {
			b, _ := s.opt.Keys.BucketOf(app.ID, tag)
			call = &redisconn.Call{Script: ackScript, Keys: keysOf(b, group.Name), Args: []any{group.MaxDeliver, group.MaxAge.Milliseconds()}}
			calls[tag], order, in = call, append(order, call), append(in, bucket{Bucket: b, tag: tag})
		}
		places = append(places, place{call, 2 + (len(call.Args)-2)/2})
		call.Args = append(call.Args, member, delay)
		return nil
	}
	for _, id := range ackIDs {
		if err := add(id, ""); err != nil {
			return nil, err
		}
	}
	for _, n := range nacks {
		var after any = n.Delay.Milliseconds()
		if n.Uncounted {
			after = "back"
		}
		if err := add(n.AckID, after); err != nil {
			return nil, err
		}
	}
	failed := redisconn.Exec(ctx, s.opt.Redis, order)
	var freed []Freed
	replies := map[*redisconn.Call][]int64{}
	for i, call := range order {
		reply, err := call.Reply.Int64Slice()
		if err == nil && len(reply) != 2+(len(call.Args)-2)/2 {
			err = fmt.Errorf("ack.lua returned %d numbers for %d arguments", len(reply), len(call.Args))
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		replies[call] = reply
		freed = append(freed, Freed{App: app.ID, Group: group.Name, Tag: in[i].tag, Bytes: reply[0]})
	}
	s.opt.takeOff(ctx, freed)
	if failed != nil {
		return nil, failed
	}
	held, again := make([]bool, len(places)), false
	for i, p := range places {
		held[i] = p.call != nil && replies[p.call][p.at] == 1
		again = again || held[i] && i >= len(ackIDs) && nacks[i-len(ackIDs)].Delay == 0 && !nacks[i-len(ackIDs)].Uncounted
	}
	if again {
		s.Wake(ctx, app, group)
	}
	return held, nil
}

// Wake has ingesters and sinks that wait for messages of the group look again. If it fails, they do
// so within a few seconds (lookAgain, and pkg/sink).
func (s *Store) Wake(ctx context.Context, app *apps.App, group *apps.Group) {
	_ = s.opt.Redis.Publish(ctx, s.opt.Keys.GroupTopic(app.ID, group.Name), "").Err()
}

// touch has nodes look into buckets. If it fails, whatever touches them next does it.
func (s *Store) touch(ctx context.Context, sets []deadline.Set) {
	if len(sets) > 0 {
		_ = redisconn.Exec(ctx, s.opt.Redis, []*redisconn.Call{deadline.Touch(s.opt.Keys, sets...)})
	}
}

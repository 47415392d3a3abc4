package group

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
)

// deadAtOnce bounds how many dead letters of a bucket one script moves or deletes.
const deadAtOnce = 100

// DeadLetter is a message that was delivered too often.
type DeadLetter struct {
	ID          string
	Channel     string
	PublishedAt int64 // unix ms, by Redis's clock
	BuriedAt    int64 // likewise: when it was delivered for the last time without success
	Attempts    int   // deliveries
	Reason      Reason
	envelope.Content
}

// Reason is why a message became a dead letter.
type Reason string

// The reasons.
const (
	ReasonTimeout Reason = "timeout" // the last lease ended without an acknowledgement
	ReasonNack    Reason = "nack"    // the consumer refused the last delivery, or its connection ended
)

// ErrDeadID reports that a text is not the id of a dead letter.
var ErrDeadID = errors.New("not an id of a dead letter")

// deadPlace is where a dead letter lies. All are ordered by when they were buried.
type deadPlace struct {
	bucket
	ms, sequence uint64
}

func (p deadPlace) entry() string { return fmt.Sprintf("%d-%d", p.ms, p.sequence) }

func (p deadPlace) id() string {
	return base64.RawURLEncoding.EncodeToString([]byte(p.tag + p.entry()))
}

func (p deadPlace) compare(q deadPlace) int {
	return cmp.Or(cmp.Compare(p.ms, q.ms), cmp.Compare(p.sequence, q.sequence), cmp.Compare(p.tag, q.tag))
}

func placeOf(b bucket, entry string) (p deadPlace, ok bool) {
	if !isStreamID(entry) {
		return p, false
	}
	ms, sequence, _ := strings.Cut(entry, "-")
	p.bucket = b
	p.ms, _ = strconv.ParseUint(ms, 10, 64)
	p.sequence, _ = strconv.ParseUint(sequence, 10, 64)
	return p, true
}

func (s *Store) parseDeadID(app, id string) (deadPlace, error) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(text) < 4 {
		return deadPlace{}, ErrDeadID
	}
	in, ok := s.opt.Keys.BucketOf(app, string(text[:3]))
	p, valid := placeOf(bucket{Bucket: in, tag: string(text[:3])}, string(text[3:]))
	if !ok || !valid {
		return deadPlace{}, ErrDeadID
	}
	return p, nil
}

// Dead lists dead letters behind the one with an id ("": from the first), the longest dead
// first. next is the id to go on behind; "": there are no more.
func (s *Store) Dead(ctx context.Context, app *apps.App, group *apps.Group, after string, limit int) (letters []DeadLetter, next string, err error) {
	var behind deadPlace
	if after != "" {
		if behind, err = s.parseDeadID(app.ID, after); err != nil {
			return nil, "", err
		}
	}
	places, err := s.deadPlaces(ctx, app, group, after != "", behind, limit+1)
	if err != nil {
		return nil, "", err
	}
	if len(places) > limit {
		places = places[:limit]
		next = places[limit-1].id()
	}
	letters, err = s.readDead(ctx, group, places)
	if n := fitting(letters); n < len(letters) {
		letters = letters[:n]
		next = letters[n-1].ID
	}
	return letters, next, err
}

// maxDeadBytes is what a page of several dead letters takes at most.
const maxDeadBytes = 512 << 10

// fitting is how many of the letters a page takes.
func fitting(letters []DeadLetter) int {
	bytes := 0
	for i, l := range letters {
		bytes += len(l.Channel) + len(l.From) + len(l.FromMetadata) + len(l.Data)
		if i > 0 && bytes > maxDeadBytes {
			return i
		}
	}
	return len(letters)
}

// deadPlaces finds where the first dead letters lie.
func (s *Store) deadPlaces(ctx context.Context, app *apps.App, group *apps.Group, more bool, behind deadPlace, limit int) ([]deadPlace, error) {
	count, err := s.opt.count(ctx, app.ID, group.Name)
	if err != nil {
		return nil, err
	}
	buckets := count.buckets
	calls := make([]*redisconn.Call, len(buckets))
	for i, b := range buckets {
		start := "-"
		switch {
		case more && b.tag > behind.tag:
			start = behind.entry()
		case more:
			start = "(" + behind.entry()
		}
		calls[i] = s.deadCall(b, group, app, "list", start, limit)
	}
	if err := redisconn.Exec(ctx, s.opt.Redis, calls); err != nil {
		return nil, err
	}
	var places []deadPlace
	for i, call := range calls {
		found, err := readDeadCall(call)
		if err != nil {
			return nil, err
		}
		for _, entry := range found.entries {
			if p, ok := placeOf(buckets[i], entry); ok {
				places = append(places, p)
			}
		}
	}
	slices.SortFunc(places, deadPlace.compare)
	return places[:min(limit, len(places))], nil
}

// readDead reads dead letters. Those that are gone by now are left out.
func (s *Store) readDead(ctx context.Context, group *apps.Group, places []deadPlace) ([]DeadLetter, error) {
	letters := make([]DeadLetter, 0, len(places))
	if len(places) == 0 {
		return letters, nil
	}
	p := s.opt.Redis.Pipeline()
	reads := make([]*redis.XMessageSliceCmd, len(places))
	for i, at := range places {
		reads[i] = p.XRange(ctx, at.GroupDead(group.Name), at.entry(), at.entry())
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, err
	}
	for i, at := range places {
		for _, m := range reads[i].Val() {
			l := DeadLetter{ID: at.id(), BuriedAt: int64(at.ms), Channel: text(m, "c"), Reason: Reason(text(m, "r"))}
			l.Attempts, _ = strconv.Atoi(text(m, "a"))
			l.PublishedAt, _ = strconv.ParseInt(text(m, "p"), 10, 64)
			var err error
			if l.Content, err = envelope.ParseContent([]byte(text(m, "m"))); err != nil {
				return nil, fmt.Errorf("dead letter %s of channel %s: %w", l.ID, l.Channel, err)
			}
			letters = append(letters, l)
		}
	}
	return letters, nil
}

func text(m redis.XMessage, field string) string {
	s, _ := m.Values[field].(string)
	return s
}

// Redrive has dead letters delivered again, as if for the first time; without ids all. It
// returns how many. A message then is the newest of its channel.
func (s *Store) Redrive(ctx context.Context, app *apps.App, group *apps.Group, ids []string) (int, error) {
	return s.eachDead(ctx, app, group, "redrive", ids)
}

// DeleteDead deletes dead letters; without ids all. It returns how many.
func (s *Store) DeleteDead(ctx context.Context, app *apps.App, group *apps.Group, ids []string) (int, error) {
	return s.eachDead(ctx, app, group, "delete", ids)
}

func (s *Store) eachDead(ctx context.Context, app *apps.App, group *apps.Group, what string, ids []string) (int, error) {
	if len(ids) == 0 {
		return s.allDead(ctx, app, group, what)
	}
	of := map[bucket][]any{}
	for _, id := range ids {
		p, err := s.parseDeadID(app.ID, id)
		if err != nil {
			return 0, err
		}
		of[p.bucket] = append(of[p.bucket], p.entry())
	}
	var buckets []bucket
	var calls []*redisconn.Call
	for b, entries := range of {
		buckets, calls = append(buckets, b), append(calls, s.deadCall(b, group, app, what, entries...))
	}
	done, _, err := s.runDead(ctx, app, group, buckets, calls)
	return done, err
}

// allDead goes through the buckets until they have no more.
func (s *Store) allDead(ctx context.Context, app *apps.App, group *apps.Group, what string) (int, error) {
	count, err := s.opt.count(ctx, app.ID, group.Name)
	open, total := count.buckets, 0
	for err == nil && len(open) > 0 {
		calls := make([]*redisconn.Call, len(open))
		for i, b := range open {
			calls[i] = s.deadCall(b, group, app, what, deadAtOnce)
		}
		var done int
		done, open, err = s.runDead(ctx, app, group, open, calls)
		total += done
	}
	return total, err
}

func (s *Store) deadCall(b bucket, group *apps.Group, app *apps.App, what string, args ...any) *redisconn.Call {
	first := []any{what, group.MaxAge.Milliseconds(), group.Name, s.opt.Keys.GroupTopic(app.ID, group.Name)}
	return &redisconn.Call{Script: deadScript, Keys: keysOf(b.Bucket, group.Name), Args: append(first, args...)}
}

// deadFound is what dead.lua says.
type deadFound struct {
	freed   int64
	look    bool
	entries []string
}

func readDeadCall(call *redisconn.Call) (found deadFound, err error) {
	reply, err := call.Reply.Slice()
	if err != nil || len(reply) < 2 {
		return found, fmt.Errorf("dead.lua returned %d values: %w", len(reply), err)
	}
	found.freed, _ = reply[0].(int64)
	found.look = reply[1] == int64(1)
	for _, id := range reply[2:] {
		id, _ := id.(string)
		found.entries = append(found.entries, id)
	}
	return found, nil
}

// runDead runs calls that change dead letters, and returns how many those were, and the buckets
// that may have more.
func (s *Store) runDead(ctx context.Context, app *apps.App, group *apps.Group, buckets []bucket, calls []*redisconn.Call) (done int, more []bucket, failed error) {
	failed = redisconn.Exec(ctx, s.opt.Redis, calls)
	var freed []Freed
	var touch []deadline.Set
	for i, b := range buckets {
		found, err := readDeadCall(calls[i])
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		done += len(found.entries)
		freed = append(freed, Freed{App: app.ID, Group: group.Name, Tag: b.tag, Bytes: found.freed})
		if found.look {
			touch = append(touch, deadline.Set{Kind: deadline.Groups, Bucket: b.Bucket, After: time.Second})
		}
		if len(found.entries) == deadAtOnce {
			more = append(more, b)
		}
	}
	s.opt.takeOff(ctx, freed)
	s.touch(ctx, touch)
	return done, more, failed
}

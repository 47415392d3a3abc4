package group

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
)

// Sweeper drops messages that are too old, or have no room, and puts counts right.
type Sweeper struct {
	opt Options
	// directory is the apps document in force.
	directory func() *apps.Directory
}

// NewSweeper returns a Sweeper.
func NewSweeper(opt Options, directory func() *apps.Directory) *Sweeper {
	return &Sweeper{opt: NewStore(opt).opt, directory: directory}
}

// place is a group of an app.
type place struct{ app, group string }

// Due sees to deadlines of the kind deadline.Groups: it is their handler.
func (s *Sweeper) Due(ctx context.Context, due []deadline.Due) error {
	looks := map[place][]bucket{}
	wholes := map[place][]bucket{}
	for _, d := range due {
		for _, id := range d.IDs {
			b := bucket{Bucket: d.Bucket, tag: d.Bucket.Tag()}
			if name, ok := strings.CutPrefix(id, whole); ok {
				at := place{d.App, name}
				wholes[at] = append(wholes[at], b)
			} else {
				at := place{d.App, id}
				looks[at] = append(looks[at], b)
			}
		}
	}
	var failed error
	for at, buckets := range wholes {
		failed = errors.Join(failed, s.whole(ctx, at, buckets))
	}
	for at, buckets := range looks {
		failed = errors.Join(failed, s.look(ctx, at, buckets))
	}
	return failed
}

// group is the group in the document; one that is not there any more keeps nothing.
func (s *Sweeper) group(at place) *apps.Group {
	if app, ok := s.directory().App(at.app); ok {
		return app.Group(at.group)
	}
	return nil
}

// look looks after some buckets.
func (s *Sweeper) look(ctx context.Context, at place, buckets []bucket) error {
	// The counts of the buckets are read after the group's. So a message that is
	// counted and appended meanwhile makes the count look too low, and not too high: the
	// next look sees that it is not.
	counted := map[string]int64{}
	count, err := s.opt.count(ctx, at.app, at.group)
	if err != nil {
		return err
	}
	for _, b := range count.buckets {
		counted[b.tag] = b.bytes
	}
	g, life := s.group(at), int64(0)
	if g != nil {
		life = g.MaxAge.Milliseconds()
	}
	calls := make([]*redisconn.Call, len(buckets))
	for i, b := range buckets {
		calls[i] = &redisconn.Call{Script: sweepScript, Keys: keysOf(b.Bucket, at.group), Args: []any{at.group, life, counted[b.tag]}}
	}
	failed := redisconn.Exec(ctx, s.opt.Redis, calls)
	var freed []Freed
	for i, b := range buckets {
		reply, err := calls[i].Reply.Int64Slice()
		if err == nil && len(reply) != 3 {
			err = fmt.Errorf("sweep.lua returned %d numbers", len(reply))
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if g == nil {
			reply[0] = counted[b.tag]
		}
		freed = append(freed, s.opt.aged(Freed{App: at.app, Group: at.group, Tag: b.tag, Bytes: reply[0]}, reply[1]))
	}
	s.opt.takeOff(ctx, freed)
	s.keepCount(ctx, at, g)
	return failed
}

// keepCount has the group's count live as long as what it counts.
func (s *Sweeper) keepCount(ctx context.Context, at place, g *apps.Group) {
	if g != nil {
		_ = s.opt.Redis.PExpire(ctx, s.opt.Keys.GroupBytes(at.app, g.Name), g.MaxAge+2*day).Err()
	}
}

const day = 24 * time.Hour

// whole has all buckets looked at in which the group has something, and drops what has no room.
func (s *Sweeper) whole(ctx context.Context, at place, asked []bucket) error {
	count, err := s.opt.count(ctx, at.app, at.group)
	if err != nil {
		return err
	}
	g := s.group(at)
	if g != nil && g.DropOldest && count.bytes > g.MaxBytes {
		if err := s.trim(ctx, at, g, count); err != nil {
			return err
		}
	}
	var sets []deadline.Set
	var calls []*redisconn.Call
	for _, b := range count.buckets {
		sets = append(sets, deadline.Set{Kind: deadline.Groups, Bucket: b.Bucket})
		calls = append(calls, &redisconn.Call{Script: doubtScript, Keys: keysOf(b.Bucket, "")[dueKey:], Args: []any{at.group}})
	}
	if len(sets) > 0 {
		if err := redisconn.Exec(ctx, s.opt.Redis, append([]*redisconn.Call{deadline.Touch(s.opt.Keys, sets...)}, calls...)); err != nil {
			return err
		}
	}
	p := s.opt.Redis.Pipeline()
	for _, b := range asked {
		p.ZRem(ctx, b.Due(string(deadline.Groups)), whole+at.group)
	}
	_, err = p.Exec(ctx)
	return err
}

const (
	dueKey = 5 // of keysOf
	// A group that takes too much is trimmed by a hundredth more.
	trimShare = 100
)

// oldest is a bucket and when its oldest message was published.
type oldest struct {
	bucket
	at int64 // unix ms
}

// trim drops the oldest messages of all buckets until the group has room: in each round those
// of half of the buckets that are older than all messages of the others.
func (s *Sweeper) trim(ctx context.Context, at place, g *apps.Group, count count) error {
	excess := count.bytes - g.MaxBytes + g.MaxBytes/trimShare
	open := make([]oldest, len(count.buckets))
	for i, b := range count.buckets {
		open[i] = oldest{b, 0}
	}
	// The first round drops nothing: it finds the oldest.
	open, _, err := s.drop(ctx, at, open, -1, 0)
	for err == nil && excess > 0 && len(open) > 0 {
		slices.SortFunc(open, func(a, b oldest) int { return cmp.Compare(a.at, b.at) })
		half := max(1, len(open)/2)
		cutoff := int64(1<<53 - 1)
		if half < len(open) {
			cutoff = max(open[0].at, open[half].at-1)
		}
		var left []oldest
		var freed int64
		left, freed, err = s.drop(ctx, at, open[:half], cutoff, excess/int64(half)+1)
		open = append(left, open[half:]...)
		excess -= freed
	}
	return err
}

// drop drops messages up to a time from some buckets, so many bytes of each at most. It returns
// the buckets that have more.
func (s *Sweeper) drop(ctx context.Context, at place, some []oldest, cutoff, most int64) (left []oldest, freed int64, failed error) {
	calls := make([]*redisconn.Call, len(some))
	for i, b := range some {
		calls[i] = &redisconn.Call{Script: dropScript, Keys: keysOf(b.Bucket, at.group), Args: []any{cutoff, most}}
	}
	failed = redisconn.Exec(ctx, s.opt.Redis, calls)
	var all []Freed
	for i, b := range some {
		reply, err := calls[i].Reply.Int64Slice()
		if err == nil && len(reply) != 3 {
			err = fmt.Errorf("drop.lua returned %d numbers", len(reply))
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		freed += reply[0]
		f := Freed{App: at.app, Group: at.group, Tag: b.tag, Bytes: reply[0]}
		if reply[1] > 0 {
			f.Why, f.Messages = DroppedByOverflow, reply[1]
			s.opt.Dropped(DroppedByOverflow, int(reply[1]))
		}
		if reply[2] > 0 {
			left = append(left, oldest{b.bucket, reply[2]})
		}
		all = append(all, f)
	}
	s.opt.takeOff(ctx, all)
	return left, freed, failed
}

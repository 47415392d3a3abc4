package send

import (
	"fmt"
	"time"

	"fleetwire/pkg/deadline"
	"fleetwire/pkg/group"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// doubtPause is between two looks at a group that is full.
const doubtPause = time.Second

// waiting is what messages of an app wait for; nil: for nothing.
func waiting(app string, messages []*Outgoing) *group.Batch {
	var all []group.Waiting
	for i, o := range messages {
		if len(o.Groups) > 0 {
			all = append(all, group.Waiting{Number: i + 1, Groups: o.Groups, Channel: o.name, Bytes: o.groupBytes()})
		}
	}
	return group.NewBatch(app, all)
}

func (o *Outgoing) groupBytes() int64 { return group.Bytes(len(o.name) + len(o.payload)) }

// freed is what the groups of a message got, and do not keep.
func (o *Outgoing) freed(names rediskeys.Namespace) (all []group.Freed) {
	tag := ""
	for _, g := range o.Groups {
		if tag == "" {
			tag = names.Bucket(o.app, o.name).Tag()
		}
		all = append(all, group.Freed{App: o.app, Group: g.Name, Tag: tag, Bytes: o.groupBytes()})
	}
	return all
}

// readOver reads by how many bytes groups take too much, in notes 'o GROUP BYTES'.
func (s *sending) readOver() (over map[string]int64) {
	for _, n := range s.notes {
		number, bytes := 0, int64(0)
		if n.kind != "o" {
			continue
		}
		if _, err := fmt.Sscanf(n.text, "%d %d", &number, &bytes); err == nil {
			if over == nil {
				over = map[string]int64{}
			}
			over[s.waiting.Name(number)] = bytes
		}
	}
	return over
}

// readFreed reads GROUP TAG BYTES N.
func readFreed(app string, waiting *group.Batch, text string) []group.Freed {
	f, number := group.Freed{App: app, Why: group.DroppedByOverflow}, 0
	if _, err := fmt.Sscanf(text, "%d %s %d %d", &number, &f.Tag, &f.Bytes, &f.Messages); err != nil {
		return nil
	}
	f.Group = waiting.Name(number)
	return []group.Freed{f}
}

// doubt has a node look whether groups are really full that had no room for messages: a
// process may have died that had counted some, and not appended them.
func (sender *Sender) doubt(of *sending, now time.Time) (sets []deadline.Set, calls []*redisconn.Call) {
	if of.waiting == nil {
		return nil, nil
	}
	for _, o := range of.Messages {
		for _, g := range o.Groups {
			key := of.app + " " + g.Name
			if !o.Full || now.Sub(sender.doubted[key]) < doubtPause {
				continue
			}
			if sender.doubted == nil || len(sender.doubted) > 1024 {
				sender.doubted = map[string]time.Time{}
			}
			sender.doubted[key] = now
			in := sender.keys.Bucket(o.app, o.name)
			sets = append(sets, deadline.Set{Kind: deadline.Groups, Bucket: in})
			calls = append(calls, group.Doubt(in, g.Name))
		}
	}
	return sets, calls
}

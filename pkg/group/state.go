package group

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
)

// State is what waits for a group.
type State struct {
	Lag         int64 // messages that wait to be delivered, again or for the first time
	Pending     int64 // messages that are delivered and not acknowledged
	Dead        int64 // dead letters
	Bytes       int64 // that all of those take
	OldestAgeMs int64 // of those that are no dead letters; 0: there are none
	Consumers   []Consumer
	// How many messages were dropped that no ingester has acknowledged, since the group was
	// empty for long.
	DroppedByAge, DroppedByOverflow int64
}

// Consumer has pulled messages that are not acknowledged.
type Consumer struct {
	Name    string
	Pending int64
}

// State tells what waits for a group. It looks at one bucket after the other, and so is not
// of one moment.
func (s *Store) State(ctx context.Context, app *apps.App, group *apps.Group) (State, error) {
	of := State{Consumers: []Consumer{}}
	count, err := s.opt.count(ctx, app.ID, group.Name)
	if err != nil {
		return of, err
	}
	of.Bytes = max(0, count.bytes)
	of.DroppedByAge, of.DroppedByOverflow = count.dropped[DroppedByAge], count.dropped[DroppedByOverflow]
	calls := make([]*redisconn.Call, len(count.buckets))
	for i, b := range count.buckets {
		calls[i] = &redisconn.Call{Script: stateScript, Keys: keysOf(b.Bucket, group.Name)}
	}
	if err := redisconn.Exec(ctx, s.opt.Redis, calls); err != nil {
		return of, err
	}
	consumers := map[string]int64{}
	for _, call := range calls {
		reply, err := call.Reply.Slice()
		if err != nil || len(reply) != 6 {
			return of, fmt.Errorf("state.lua returned %d values: %w", len(reply), err)
		}
		n := func(i int) int64 { v, _ := reply[i].(int64); return v }
		of.Pending += n(1)
		of.Lag += max(0, n(0)-n(1))
		of.Dead += n(2)
		if oldest := n(3); oldest > 0 {
			of.OldestAgeMs = max(of.OldestAgeMs, n(4)-oldest)
		}
		if name, _ := reply[5].(string); n(1) > 0 {
			consumers[name] += n(1)
		}
	}
	for name, pending := range consumers {
		of.Consumers = append(of.Consumers, Consumer{name, pending})
	}
	slices.SortFunc(of.Consumers, func(a, b Consumer) int { return cmp.Compare(a.Name, b.Name) })
	return of, nil
}

package members

import (
	"context"
	"fmt"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// reapedAtOnce bounds the buckets that are read in one command, and the channels
// of one round trip.
const reapedAtOnce = 50

// Answers of change.lua for a channel that it reaps, instead of a cursor.
const (
	reapedWhole = "whole" // in one step, in which the channel was also taken out of the node's
	reapedEnd   = "end"   // in several steps, of which this was the last
)

// reap takes everything that a dead identity had out of Redis, in steps that each
// keep Redis busy for about a millisecond at most. Several may do that at the same
// time; what one has done the others find done.
func (s *store) reap(ctx context.Context, node string) error {
	for {
		buckets, err := s.redis.SRandMemberN(ctx, s.keys.LeaseBuckets(node), reapedAtOnce).Result()
		if err != nil {
			return err
		}
		if len(buckets) == 0 {
			break
		}
		done := make([]any, 0, len(buckets))
		var failed error
		for _, text := range buckets {
			bucket, _, err := s.keys.ParseBucket(text)
			if err == nil {
				err = s.reapBucket(ctx, node, bucket)
			}
			if err != nil && !redisconn.IsCluster(s.redis) {
				return err
			}
			if err != nil { // other buckets may be at masters that answer
				failed = err
				continue
			}
			done = append(done, text)
		}
		if len(done) == 0 {
			return failed
		}
		if err := s.redis.SRem(ctx, s.keys.LeaseBuckets(node), done...).Err(); err != nil {
			return err
		}
	}
	p := s.redis.Pipeline()
	p.ZRem(ctx, s.keys.DeadLeases(), node)
	p.ZRem(ctx, s.keys.Leases(), node)
	_, err := p.Exec(ctx)
	return err
}

func (s *store) reapBucket(ctx context.Context, node string, bucket rediskeys.Bucket) error {
	for {
		channels, err := s.redis.SRandMemberN(ctx, bucket.Joined(node), reapedAtOnce).Result()
		if err != nil {
			return err
		}
		if len(channels) == 0 {
			if s.reapMore != nil {
				if err := s.reapMore(ctx, node, bucket); err != nil {
					return err
				}
			}
			return s.reapCounts(ctx, node, bucket)
		}
		cursors, err := s.reapStep(ctx, node, bucket, channels, "0")
		if err != nil {
			return err
		}
		for i, name := range channels {
			if cursors[i] != reapedWhole {
				if err := s.reapLarge(ctx, node, bucket, name, cursors[i]); err != nil {
					return err
				}
			}
		}
	}
}

// reapStep makes one step through each of the channels, and returns how to go on.
func (s *store) reapStep(ctx context.Context, node string, bucket rediskeys.Bucket, channels []string, cursor string) ([]string, error) {
	calls := make([]*changeCall, len(channels))
	for i, name := range channels {
		calls[i] = s.newChange(bucket, node)
		calls[i].reapChannel(name, cursor)
	}
	if err := s.change(ctx, calls); err != nil {
		return nil, err
	}
	cursors := make([]string, len(calls))
	for i, c := range calls {
		reply, err := c.Reply.StringSlice()
		if err != nil {
			return nil, err
		}
		if len(reply) != 2 {
			return nil, fmt.Errorf("change.lua returned %d values for a channel to reap", len(reply))
		}
		cursors[i] = reply[1]
	}
	return cursors, nil
}

// reapLarge goes on with a channel that takes more than one step. Changes
// that the node made late, between the steps, may lie behind the cursor. So the
// channel is scanned once more after it was removed from the node's set. A change
// that is later still puts it back there, and the node has its former identity
// reaped again.
func (s *store) reapLarge(ctx context.Context, node string, bucket rediskeys.Bucket, name, cursor string) error {
	if err := s.reapThrough(ctx, node, bucket, name, cursor); err != nil {
		return err
	}
	if err := s.redis.SRem(ctx, bucket.Joined(node), name).Err(); err != nil {
		return err
	}
	return s.reapThrough(ctx, node, bucket, name, "0")
}

func (s *store) reapThrough(ctx context.Context, node string, bucket rediskeys.Bucket, name, cursor string) error {
	for cursor != reapedWhole && cursor != reapedEnd {
		next, err := s.reapStep(ctx, node, bucket, []string{name}, cursor)
		if err != nil {
			return err
		}
		cursor = next[0]
	}
	return nil
}

// reapCounts takes out how many connections of the node were subscribed to the
// bucket's channels, which fanout/internal/receiver keeps under the same identity.
func (s *store) reapCounts(ctx context.Context, node string, bucket rediskeys.Bucket) error {
	p := s.redis.Pipeline()
	p.Unlink(ctx, bucket.Subscribers(node))
	p.SRem(ctx, bucket.SubscriberNodes(), node)
	_, err := p.Exec(ctx)
	return err
}

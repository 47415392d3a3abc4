package command

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// Queue is a channel's commands that wait for peers.
type Queue struct{ App, Channel string }

// AnyWait says for each channel whether commands may wait for peers. It is far cheaper
// than a Claim. errs has an error for each channel; nil: there are none.
func (s *Store) AnyWait(ctx context.Context, queues []Queue) (wait []bool, errs []error) {
	p := s.opt.Redis.Pipeline()
	replies := make([]*redis.IntCmd, len(queues))
	for i, q := range queues {
		replies[i] = p.Exists(ctx, s.opt.Keys.Bucket(q.App, q.Channel).CommandQueue(q.Channel))
	}
	_, err := p.Exec(ctx)
	if err != nil {
		errs = make([]error, len(queues))
	}
	wait = make([]bool, len(queues))
	for i, r := range replies {
		wait[i] = r.Val() > 0
		if err != nil {
			errs[i] = r.Err()
		}
	}
	return wait, errs
}

// StillHeld says of each hand-over whether the node still holds it, as far as is known: the
// peer has not confirmed it, nor has it ended.
func (s *Store) StillHeld(ctx context.Context, node string, all []Unconfirmed) []bool {
	p := s.opt.Redis.Pipeline()
	replies := make([]*redis.BoolCmd, len(all))
	for i, u := range all {
		if at, ok := placeOf(s.opt.Keys, u.App, u.ID); ok {
			replies[i] = p.SIsMember(ctx, at.bucket.CommandsHeld(node), at.local+" "+u.Peer)
		}
	}
	_, _ = p.Exec(ctx) // each has its error
	held := make([]bool, len(all))
	for i, r := range replies {
		held[i] = r != nil && (r.Val() || r.Err() != nil)
	}
	return held
}

// HandedTo says of each peer whether it was handed the command.
func (s *Store) HandedTo(ctx context.Context, app, id string, peers []string) ([]bool, error) {
	handed := make([]bool, len(peers))
	at, ok := placeOf(s.opt.Keys, app, id)
	if !ok || len(peers) == 0 {
		return handed, nil
	}
	fields := make([]string, len(peers))
	for i, peer := range peers {
		fields[i] = "@" + peer
	}
	records, err := s.opt.Redis.HMGet(ctx, at.bucket.Command(at.local), fields...).Result()
	for i, r := range records {
		handed[i] = r != nil
	}
	return handed, err
}

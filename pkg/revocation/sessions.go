package revocation

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/auth"
	"fleetwire/pkg/rediskeys"
)

// MaxSessions bounds the sessions of an app that are remembered. Beyond it those are forgotten that
// expire soonest.
const MaxSessions = 10_000

// Sessions are the sessions of the console that people have signed out of, and that have not expired.
// It is safe for concurrent use.
type Sessions struct {
	rdb  redis.UniversalClient
	keys rediskeys.Namespace
	max  int64
}

// NewSessions returns the Sessions that rdb holds.
func NewSessions(rdb redis.UniversalClient, keys rediskeys.Namespace) *Sessions {
	return &Sessions{rdb, keys, MaxSessions}
}

// End ends a session, on all nodes.
func (s *Sessions) End(ctx context.Context, session *auth.Session, now time.Time) error {
	key := s.keys.SignedOut(session.Key.App.ID)
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZAdd(ctx, key, redis.Z{Score: float64(session.ExpiresAt.Unix()), Member: session.ID})
		p.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(now.Unix(), 10))
		p.ZRemRangeByRank(ctx, key, 0, -s.max-1)
		p.Expire(ctx, key, auth.SessionLife)
		return nil
	})
	return err
}

// Ended says whether a session was ended.
func (s *Sessions) Ended(ctx context.Context, session *auth.Session) (bool, error) {
	err := s.rdb.ZScore(ctx, s.keys.SignedOut(session.Key.App.ID), session.ID).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, err
}

// Package revocation remembers whose tokens an operator has revoked (protocol
// §5, DELETE /v1/peers/{peer}?revoke=true): of each such peer, since when. A
// token issued up to then is refused until it expires; a newer one is good.
package revocation

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/auth"
)

// List is the revocations of all apps. It is safe for concurrent use.
type List struct{ rdb redis.UniversalClient }

// NewList returns the List that rdb holds.
func NewList(rdb redis.UniversalClient) *List { return &List{rdb} }

// One hash per app, peer → unix seconds. Entries are kept for good: a token that
// an app signs itself may expire in any future.
func hash(app string) string { return "fw:{" + app + "}:revoked" }

// Revoke refuses from now on every token of the peer that was issued until at.
func (l *List) Revoke(ctx context.Context, app, peer string, at time.Time) error {
	return l.rdb.HSet(ctx, hash(app), peer, at.Unix()).Err()
}

// Since says until when the peer's tokens are revoked; zero: none are.
func (l *List) Since(ctx context.Context, app, peer string) (time.Time, error) {
	// A pipeline, because those share round trips (redisconn.Open): connects come many
	// at a time.
	p := l.rdb.Pipeline()
	since := p.HGet(ctx, hash(app), peer)
	_, _ = p.Exec(ctx) // which fails as its only command does
	text, err := since.Result()
	if errors.Is(err, redis.Nil) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	return time.Unix(seconds, 0), err
}

// Revokes says whether the grant's token was issued no later than since, as Since
// gave it. iat has whole seconds, so a token issued in the second of the
// revocation counts as issued before it, as does one without iat. What a
// publishable key grants is no token.
func Revokes(since time.Time, g *auth.Grant) bool {
	return !since.IsZero() && !g.Key.Publishable() && g.IssuedAt.Unix() <= since.Unix()
}

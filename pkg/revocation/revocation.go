// Package revocation remembers whose tokens an operator has revoked (protocol
// §5, DELETE /v1/peers/{peer}?revoke=true): of each such peer, since when. A
// token issued up to then is refused until it expires; a newer one is good.
package revocation

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/auth"
	"fleetwire/pkg/protocol"
	"fleetwire/pkg/rediskeys"
)

// List is the revocations of all apps. It is safe for concurrent use.
type List struct {
	rdb  redis.UniversalClient
	keys rediskeys.Namespace
}

// NewList returns the List that rdb holds: for each app a hash, peer → unix
// seconds, which is read where connections are let in (quota.Connections), and there gets
// "," and the iat of each token that was refused since it came from the future. Entries
// are kept for good: a token that an app signs itself may expire in any future.
func NewList(rdb redis.UniversalClient, keys rediskeys.Namespace) *List { return &List{rdb, keys} }

// Revoke refuses from now on every token of the peer that was issued until at.
func (l *List) Revoke(ctx context.Context, app, peer string, at time.Time) error {
	return l.rdb.HSet(ctx, l.keys.Revoked(app), peer, at.Unix()).Err()
}

// Revokes says whether the grant's token was issued no later than since; zero:
// none is revoked. iat has whole seconds, so a token issued in the second of the
// revocation counts as issued before it, as does one without iat. What a
// publishable key grants is no token.
//
// iat may lie up to protocol.ClockLeeway ahead of now, where the signer's clock is
// fast. For as long as a token from before the revocation can seem to be from after
// it in this way, tokens from the future are refused as well.
func Revokes(since time.Time, g *auth.Grant, now time.Time) bool {
	if since.IsZero() || g.Key.Publishable() {
		return false
	}
	ahead := time.Unix(g.IssuedAt.Unix(), 0).After(now.Add(clockSkew))
	return g.IssuedAt.Unix() <= since.Unix() || ahead && !now.After(time.Unix(since.Unix(), 0).Add(protocol.ClockLeeway))
}

// clockSkew is how far apart two clocks may be that are set well. connections.lua has
// it, too.
const clockSkew = 2 * time.Second

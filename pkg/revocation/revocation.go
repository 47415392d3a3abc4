// Package revocation remembers whose tokens an operator has revoked (protocol
// §5, DELETE /v1/peers/{peer}?revoke=true): of each such peer, since when. A
// token issued up to then is refused until it expires; a newer one is good.
package revocation

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/protocol"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// MaxPeers bounds the revoked peers of an app.
const MaxPeers = 100_000

// ErrFull: the app has MaxPeers revoked peers; nothing was done.
var ErrFull = errors.New("the app has as many revoked peers as are kept")

var (
	//go:embed revoke.lua
	revokeLua    string
	revokeScript = redis.NewScript(revokeLua)
)

// List is the revocations of all apps. It is safe for concurrent use.
type List struct {
	rdb      redis.UniversalClient
	keys     rediskeys.Namespace
	maxPeers int
}

// NewList returns the List that rdb holds: for each app a hash, peer → unix
// seconds, which is read where connections are let in and where their tokens are
// exchanged (quota.Connections). There an entry gets "," and the iat of each token
// that was refused since it came from the future.
func NewList(rdb redis.UniversalClient, keys rediskeys.Namespace) *List {
	return &List{rdb, keys, MaxPeers}
}

// Revoke refuses from now on every token of the peer that was issued until at. A
// token that seems to be issued within a second, as iat has whole seconds, counts as
// issued before it, as does one without iat.
func (l *List) Revoke(ctx context.Context, app *apps.App, peer string, at time.Time) error {
	call := &redisconn.Call{
		Script: revokeScript,
		Keys:   []string{l.keys.Revoked(app.ID), l.keys.RevokedSince(app.ID)},
		Args:   []any{peer, at.Unix(), int64(needed(app) / time.Second), l.maxPeers},
	}
	if err := redisconn.Exec(ctx, l.rdb, []*redisconn.Call{call}); err != nil {
		return err
	}
	taken, err := call.Reply.Bool()
	if err == nil && !taken {
		return ErrFull
	}
	return err
}

// needed is for how long a revocation is needed: until the last token has expired
// that could be issued before it. iat may lie up to protocol.ClockLeeway ahead; as
// much again is for clocks that differ. Where an app does not limit how long its
// tokens live, one that it signed itself may expire in any future: 0, for ever.
func needed(app *apps.App) time.Duration {
	if app.Limits.MaxTokenLifeSec == 0 {
		return 0
	}
	return time.Duration(app.Limits.MaxTokenLifeSec)*time.Second + 2*protocol.ClockLeeway
}

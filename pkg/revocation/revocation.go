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

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// MaxPeers bounds the revoked peers of an app.
const MaxPeers = 100_000

// ErrFull: the app has MaxPeers revoked peers; nothing was done.
var ErrFull = errors.New("the app has as many revoked peers as are kept")

// margin is for how much longer than a token lives its revocation is needed: its iat may
// lie up to protocol.ClockLeeway ahead, and as much again is for clocks that differ.
const margin = 2 * protocol.ClockLeeway

var (
	//go:embed revoke.lua
	revokeLua    string
	revokeScript = redisconn.NewScript(revokeLua)
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
//
// It does so until the last of these tokens has expired: for as long as the app lets a
// token live, or, if it lets it live for any time, as the longest that a node has seen
// or POST /v1/tokens mints.
func (l *List) Revoke(ctx context.Context, app *apps.App, peer string, at time.Time) error {
	call := &redisconn.Call{
		Script: revokeScript,
		Keys:   []string{l.keys.Revoked(app.ID), l.keys.RevokedSince(app.ID), l.keys.TokenLife(app.ID)},
		Args:   []any{peer, at.Unix(), app.Limits.MaxTokenLifeSec, seconds(protocol.MaxTokenTTL), seconds(margin), l.maxPeers},
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

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

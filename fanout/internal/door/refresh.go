package door

import (
	"context"
	"errors"
	"sync"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/quota"
)

// refreshPatience bounds how long a refresh waits for Redis.
const refreshPatience = 2 * time.Second

// Verify says what a token grants that is to replace a live connection's, which came
// with this Origin header: by the checks of a connect (session.Options).
func (d *Door) Verify(token, origin string) (*auth.Grant, *protocol.CloseError) {
	grant, refused := auth.VerifyToken(d.Apps.Current(), token, d.Now())
	return judge(grant, refused, origin)
}

// Revoked asks Redis whether the token of a grant that is to replace a live
// connection's was revoked. done is called once, from another goroutine
// (session.Options).
func (d *Door) Revoked(g *auth.Grant, done func(revoked bool, err error)) {
	var once sync.Once
	late := time.AfterFunc(refreshPatience, func() {
		once.Do(func() { done(false, context.DeadlineExceeded) })
	})
	d.Connections.Acquire(quota.Applicant{Held: true, App: g.App, Peer: g.Peer, IssuedAt: g.IssuedAt, ExpiresAt: g.ExpiresAt, Done: func(err error) {
		late.Stop()
		revoked := errors.Is(err, quota.ErrRevoked)
		if revoked {
			err = nil
		}
		// By itself: a grant takes time, and others wait for their answers.
		go once.Do(func() { done(revoked, err) })
	}})
}

// judge looks at the origin and the account of a credential that is good. With a
// refusal comes the grant that is refused, if there is one, for the log.
func judge(grant *auth.Grant, refused *protocol.CloseError, origin string) (*auth.Grant, *protocol.CloseError) {
	if refused != nil {
		return grant, refused
	}
	bound, refused := grant.For(origin)
	switch {
	case refused != nil:
		return grant, refused
	case bound.App.Suspended:
		return bound, protocol.Closef(protocol.CloseSuspended, "")
	}
	return bound, nil
}

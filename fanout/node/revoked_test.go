package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/orders"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/revocation"
)

var demo = &apps.App{ID: "app_demo"}

// issued is a token of the key for the peer that was issued at another time.
func (r *running) issued(key, peer string, at time.Time) string {
	r.t.Helper()
	k, ok := r.opt.Apps.Current().Key(key)
	if !ok {
		r.t.Fatalf("no key %s", key)
	}
	token, _, err := auth.Mint(k, auth.TokenRequest{Peer: peer}, at)
	check(r.t, err)
	return token
}

// Protocol §5, DELETE /v1/peers/{peer}?revoke=true.
func TestRevokedTokensAreRefused(t *testing.T) {
	r := start(t)
	now := time.Now()
	check(t, revocation.NewList(r.opt.Redis, rediskeys.Namespace{}).Revoke(t.Context(), demo, "a", now.Add(-10*time.Second)))
	refused, err := r.dial(query(r.issued(keyID, "a", now.Add(-11*time.Second))), nil)
	check(t, err)
	refused.wantClose(4001, "the token was revoked")

	newer := r.connect(keyID, "a")
	newer.send(`{"type":"refresh","requestId":"r","token":"` + r.issued(keyID, "a", now.Add(-11*time.Second)) + `"}`)
	newer.wantText(`{"type":"error","requestId":"r","code":"invalid_token","message":"the token was revoked"`)
	r.connect(keyID, "b").alive()
	newer.alive()
}

// HOSTILE: the clock of who signed the token is fast, and the connection with it is closed
// as its peer is revoked. When the token's iat has come, nobody could tell it from a new
// one; that it was there before is remembered.
func TestATokenFromTheFutureIsRevokedWithItsConnection(t *testing.T) {
	r := start(t)
	now := time.Now()
	dated := now.Add(50 * time.Second)
	p, err := r.dial(query(r.issued(keyID, "a", dated)), nil)
	check(t, err)
	p.wantText(`{"type":"welcome"`)
	check(t, revocation.NewList(r.opt.Redis, rediskeys.Namespace{}).Revoke(t.Context(), demo, "a", now))
	n, err := orders.NewSender(r.opt.Redis, rediskeys.Namespace{}).Disconnect(t.Context(), "app_demo", "a")
	if n != 1 || err != nil {
		t.Errorf("%d closed, %v, want 1", n, err)
	}
	p.wantClose(4020, "disconnected by an operator")
	want := fmt.Sprintf("%d,%d", now.Unix(), dated.Unix())
	eventually(t, "Redis knows that it was there before its iat", func() bool {
		return r.opt.Redis.HGet(t.Context(), rediskeys.Namespace{}.Revoked("app_demo"), "a").Val() == want
	})
}

// around is a Redis client's hook that calls a function before or after the next
// connection of app_demo is taken from its plan.
type around struct {
	hold
	after atomic.Pointer[func()]
}

func (a *around) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	inner := a.hold.ProcessPipelineHook(next)
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := inner(ctx, cmds)
		for _, c := range cmds {
			if args := c.Args(); len(args) > 12 && args[3] == a.key {
				if f := a.after.Swap(nil); f != nil {
					(*f)()
				}
			}
		}
		return err
	}
}

// HOSTILE: a token is revoked, and its peer disconnected, while a connection with
// it is being let in: just before Redis says whether it is revoked, and just after.
func TestAConnectDoesNotSlipPastItsTokensRevocation(t *testing.T) {
	for _, name := range []string{"before", "after"} {
		t.Run(name, func(t *testing.T) {
			admitting := &around{hold: hold{key: "fw:{app_demo}:connections"}}
			_, rdb := redistest.Embedded(t)
			rdb.AddHook(admitting)
			r := start(t, func(o *Options) { o.Redis = rdb })
			r.connect(keyID, "early") // Redis knows the script
			operator := redistest.Client(t, "redis://"+rdb.Options().Addr)
			token := r.token(keyID, "late")
			closed := make(chan int64, 1)
			revoke := func() {
				if err := revocation.NewList(operator, rediskeys.Namespace{}).Revoke(t.Context(), demo, "late", time.Now()); err != nil {
					t.Error(err)
				}
				go func() { // the node can answer only when its round trip is over
					n, err := orders.NewSender(operator, rediskeys.Namespace{}).Disconnect(t.Context(), "app_demo", "late")
					if err != nil {
						t.Error(err)
					}
					closed <- n
				}()
			}
			if name == "before" {
				admitting.next(revoke)
			} else {
				admitting.after.Store(&revoke)
			}
			late, err := r.dial(query(token), nil)
			check(t, err)
			op, got := late.read()
			if op == ws.OpText {
				op, got = late.read() // the order to close it came behind its welcome
			}
			code := protocol.CloseCode(binary.BigEndian.Uint16([]byte(got + "\x00\x00")))
			if op != ws.OpClose || code != protocol.CloseDisconnected && (name == "after" || code != protocol.CloseInvalidCredential) {
				t.Errorf("got frame %x %d %q, want that it is closed", op, code, got)
			}
			if n := <-closed; n != 1 && name == "after" {
				t.Errorf("%d connections are said to be closed, want 1", n)
			}
			eventually(t, "without the connection", func() bool { return len(r.sessions.all()) == 1 })
		})
	}
}

package node

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/orders"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/revocation"
)

// HOSTILE: a peer is disconnected in the moment in which Redis cuts the node's link, as
// at its output-buffer limit. No message comes through, and the order does.
func TestDisconnectWhileTheLinkIsCut(t *testing.T) {
	server := redistest.Start(t)
	r := start(t, func(o *Options) { o.Redis = server.Client() })
	p := r.connect(keyID, "a")
	operator := server.Client()
	check(t, operator.Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub").Err())
	n, err := orders.NewSender(operator, rediskeys.Namespace{}).Disconnect(t.Context(), "app_demo", "a")
	if n != 1 || err != nil {
		t.Errorf("%d closed, %v, want 1", n, err)
	}
	p.wantClose(4020, "disconnected by an operator")
}

// HOSTILE: the node is cut off from Redis as a whole. The answer does not claim that the
// peer is disconnected; when the node is back it is, and who came after stays.
func TestDisconnectWhileTheNodeIsCutOff(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	r := start(t, func(o *Options) { o.Redis = redistest.Client(t, proxy.URL()) })
	p := r.connect(keyID, "a")
	other := r.connect(keyID, "b")
	var off atomic.Bool
	off.Store(true)
	cut := func(b []byte) ([]byte, bool) { return b, off.Load() }
	proxy.Pass(cut, cut)
	operator := server.Client()
	check(t, revocation.NewList(operator, rediskeys.Namespace{}).Revoke(t.Context(), demo, "a", time.Now()))
	n, err := orders.NewSender(operator, rediskeys.Namespace{}).Disconnect(t.Context(), "app_demo", "a")
	if n != 0 || !errors.Is(err, orders.ErrUnanswered) {
		t.Errorf("%d closed, %v, want ErrUnanswered", n, err)
	}
	// When its lease has run out it counts as dead, and yet the order waits for it.
	past := redis.Z{Member: r.id, Score: float64(time.Now().Add(-time.Second).UnixMilli())}
	check(t, operator.ZAdd(t.Context(), rediskeys.Namespace{}.ConnectionLeases("app_demo"), past).Err())
	if n, err := orders.NewSender(operator, rediskeys.Namespace{}).Disconnect(t.Context(), "app_demo", "a"); n != 0 || err != nil {
		t.Errorf("%d closed by a node that counts as dead, %v, want 0", n, err)
	}
	p.send(`{"type":"refresh","requestId":"r","token":"` + r.issued(keyID, "a", time.Now().Add(-time.Minute)) + `"}`)
	p.wantText(`{"type":"error","requestId":"r","code":"backend_error"`)
	off.Store(false)
	p.wantClose(4020, "disconnected by an operator")
	other.alive()
}

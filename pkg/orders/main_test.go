package orders

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

// keys name what the tests have in Redis.
var keys rediskeys.Namespace

// limit is how long a test waits for what must come. It is only ever waited out by
// a test that fails.
const limit = 10 * time.Second

// lease is what hold lets a node have from when it was heard of.
const lease = 5 * time.Second

// hold has Redis know of a node that holds connections of the app, and was heard of
// so long ago.
func hold(t *testing.T, rdb redis.UniversalClient, app, node string, silent time.Duration) {
	t.Helper()
	// An old epoch: nobody has to state anything again.
	epoch := keys.Epoch()
	if redisconn.IsCluster(rdb) {
		epoch = keys.EpochIn(rediskeys.Slot(keys.ConnectionLeases(app)))
	}
	rdb.SetNX(t.Context(), epoch, "epoch:1", 0)
	now, err := rdb.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	lease := redis.Z{Member: node, Score: float64(now.Add(lease - silent).UnixMilli())}
	if err := rdb.ZAdd(t.Context(), keys.ConnectionLeases(app), lease).Err(); err != nil {
		t.Fatal(err)
	}
}

// serve runs a node's inbox. What it is told to close it hands to closed, and says
// that there were n connections.
func serve(t *testing.T, rdb redis.UniversalClient, node string, n int) (closed chan string) {
	t.Helper()
	closed = make(chan string, 1000)
	in := NewInbox(InboxOptions{Redis: rdb, Keys: keys, Node: node, Log: slog.New(slog.DiscardHandler), Close: func(app, peer string) int {
		closed <- app + " " + peer
		return n
	}, Show: func(app, peer string) []byte { return fmt.Appendf(nil, "[%q]", node+" has "+app+" "+peer) },
		Report: func(_ context.Context, app string) []byte { return fmt.Appendf(nil, `{"node":%q,"app":%q}`, node, app) }})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		in.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return closed
}

// next is what is closed next.
func next(t *testing.T, closed chan string) string {
	t.Helper()
	select {
	case what := <-closed:
		return what
	case <-time.After(limit):
		t.Fatal("nothing is closed")
		return ""
	}
}

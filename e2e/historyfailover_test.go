package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn/redistest"
)

// replicated is how much of the stream of changes a server has written, or taken.
func replicated(rdb *redis.Client) int {
	_, rest, _ := strings.Cut(rdb.Info(context.Background(), "replication").Val(), "master_repl_offset:")
	text, _, _ := strings.Cut(rest, "\r")
	n, _ := strconv.Atoi(text)
	return n
}

// A replica that lags takes over under subscribers, and acknowledged messages are lost. The
// service tells clients: subscribers get a gap, clients that come back do not recover, and no
// position from before is valid afterwards.
func TestReplicaThatLagsTakesOver(t *testing.T) {
	ctx := context.Background()
	key := newKey("lags", "**")
	primary, replica := redistest.Start(t), redistest.Start(t)
	proxy := redistest.NewProxy(t, primary.Addr())
	of, second := primary.Client(), replica.Client()
	host, port, _ := strings.Cut(primary.Addr(), ":")
	if err := of.ConfigSet(ctx, "repl-diskless-sync-delay", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if err := second.Do(ctx, "REPLICAOF", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, remembering("app_lags", 100, key))
	n := s.start(proxy.URL(), options{})
	r := &reader{socket: n.connect(t, key.token("asks", nil)), story: newStory(t, key)}
	old, err := r.join(`,"last":0`)
	if err != nil {
		t.Fatal(err)
	}
	w := n.connect(t, key.token("writer", nil))
	publish := func(from, to int) (at position) {
		for i := from; i <= to; i++ {
			at = w.publishes("log/story", fmt.Sprint(i))
		}
		return at
	}
	kept := publish(1, 3)
	eventually(t, "the replica has all", patience, func() bool {
		// WAIT would wait for what its own connection has written, which is nothing.
		return strings.Contains(second.Info(ctx, "replication").Val(), "master_link_status:up") && second.DBSize(ctx).Val() > 0 &&
			replicated(second) >= replicated(of)
	})
	if err := second.Do(ctx, "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	lost := publish(4, 5) // which the replica does not get
	if err := r.hear(lost); err != nil {
		t.Fatal(err)
	}
	proxy.Lead(replica.Addr())
	primary.Stop()

	f, err := r.hears()
	if err != nil || f.Type != "gap" || f.Epoch == old.Epoch || f.Offset != kept.Offset {
		t.Fatalf("after the failover: %+v, %v; want a gap at %d of another epoch", f, err, kept.Offset)
	}
	n.awaitReady(recovery)
	for _, since1 := range []position{kept, {old.Epoch, 4}, lost} {
		late := n.connect(t, key.token("late", nil))
		if ack := late.answer(joining("log/story", since(since1))); ack.Recovered || ack.position != f.position {
			t.Errorf("since %+v: %+v; want no recovery, at %+v", since1, ack, f.position)
		}
		for i := 1; i <= 3; i++ {
			late.expect(remembered("log/story", "writer", fmt.Sprint(i), i, replayed))
		}
		late.alive()
	}
	if at := publish(6, 6); at != (position{f.Epoch, 4}) {
		t.Errorf("published at %+v behind %+v", at, f.position)
	}
	r.expect(remembered("log/story", "writer", "6", 4, ""))
	r.alive()
}

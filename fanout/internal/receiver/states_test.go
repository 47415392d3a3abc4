package receiver_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"fleetwire/fanout/internal/receiver"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// States of a Redis in which it refuses all work: at the start its words are told,
// and while a node runs, it knows them, and works again afterwards.
func TestRefusingStates(t *testing.T) {
	t.Parallel()
	for _, state := range []struct {
		name, words string
		begin, end  func(t *testing.T, server *redistest.Server, do func(...string))
		follows     bool // Redis follows another server meanwhile, which a cluster's node is not told to
		replaced    bool // Redis has other data afterwards
	}{
		{"a save failed", "MISCONF ", func(t *testing.T, server *redistest.Server, do func(...string)) {
			dir := server.Client().ConfigGet(t.Context(), "dir").Val()["dir"]
			if err := os.RemoveAll(dir); dir == "" || err != nil {
				t.Fatalf("Redis's folder %q: %v", dir, err)
			}
			do("config", "set", "save", "3600 1")
			do("bgsave")
			redistest.Eventually(t, gone, "the save fails", func() bool {
				return strings.Contains(server.Client().Info(t.Context(), "persistence").Val(), "rdb_last_bgsave_status:err")
			})
		}, func(_ *testing.T, _ *redistest.Server, do func(...string)) { do("config", "set", "save", "") }, false, false},
		{"a password is wanted", "NOAUTH ", func(_ *testing.T, _ *redistest.Server, do func(...string)) {
			do("config", "set", "requirepass", "hush-hush")
			do("client", "kill", "type", "normal", "skipme", "yes")
			do("client", "kill", "type", "pubsub")
		}, func(_ *testing.T, _ *redistest.Server, do func(...string)) { do("config", "set", "requirepass", "") }, false, false},
		{"a replica without its primary", "MASTERDOWN ", func(_ *testing.T, _ *redistest.Server, do func(...string)) {
			do("config", "set", "replica-read-only", "no") // else it says READONLY first
			do("config", "set", "replica-serve-stale-data", "no")
			do("replicaof", "127.0.0.1", "1")
		}, func(_ *testing.T, _ *redistest.Server, do func(...string)) { do("replicaof", "no", "one") }, true, false},
		{"it loads its data", "LOADING ", func(t *testing.T, server *redistest.Server, do func(...string)) {
			primary := redistest.Start(t)
			fill := admin(t, primary)
			fill("config", "set", "repl-diskless-sync-delay", "0")
			fill("config", "set", "rdbcompression", "no")
			for i := range 200 {
				fill("set", "key"+strconv.Itoa(i), strings.Repeat(strconv.Itoa(i), 1000))
			}
			do("config", "set", "replica-read-only", "no") // else it says READONLY first
			do("config", "set", "loading-process-events-interval-bytes", "1024")
			do("config", "set", "key-load-delay", "30000") // µs
			host, port, _ := strings.Cut(primary.Addr(), ":")
			do("replicaof", host, port)
			redistest.Eventually(t, gone, "it loads", func() bool {
				return strings.Contains(server.Client().Info(t.Context(), "persistence").Val(), "\nloading:1")
			})
		}, func(t *testing.T, server *redistest.Server, do func(...string)) {
			do("config", "set", "key-load-delay", "0")
			redistest.Eventually(t, gone, "it has loaded", func() bool {
				return strings.Contains(server.Client().Info(t.Context(), "persistence").Val(), "\nloading:0")
			})
			do("replicaof", "no", "one")
		}, true, true},
	} {
		t.Run(state.name, func(t *testing.T) {
			t.Parallel()
			each := onServerAndCluster
			if state.follows {
				each = onServer
			}
			each(t, func(t *testing.T, server *redistest.Server) {
				do := admin(t, server)
				p := start(t, server, "node")
				p.subscribed()
				state.begin(t, server, do)
				redistest.Eventually(t, back, "the node knows why", func() bool {
					why := p.health.Trouble()
					return strings.HasPrefix(why, "redis refuses: ") && strings.Contains(why, state.words)
				})
				if err := receiver.Check(t.Context(), redistest.Open(t, server.URL(), redisconn.TLS{}), rediskeys.Namespace{}); err == nil || !strings.HasPrefix(strings.TrimPrefix(err.Error(), "master "+server.Addr()+": "), state.words) {
					t.Errorf("at the start: %v, want Redis's words, %s", err, state.words)
				}
				if p.health.Up() {
					t.Error("Redis counts as healthy")
				}
				state.end(t, server, do)
				if state.replaced {
					// The link stood, so the node learns of it by its lease, which is gone.
					p.SetIdentity("another")
					redistest.Eventually(t, gone, "all subscribers are counted", func() bool {
						n, err := p.publish("c")
						return err == nil && n == 3
					})
				}
				expectBack(t, p)
				if trouble := p.trouble(); trouble != "; " && trouble != "" {
					t.Errorf("trouble afterwards: %s", trouble)
				}
				if began, ended := p.log.with("redis refuses: "), p.log.with("redis is back"); began != 1 || ended != 1 {
					t.Errorf("the log says %d times that Redis refuses and %d times that it is back, want once each: %q", began, ended, p.log.lines)
				}
			})
		})
	}
}

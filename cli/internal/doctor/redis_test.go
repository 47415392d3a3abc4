package doctor

import (
	"context"
	"strings"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

// examine has a doctor look at a Redis, and returns what it finds by the check, with the verdict first.
func examine(t *testing.T, server *redistest.Server) map[string]string {
	t.Helper()
	found := map[string]string{}
	d := &Doctor{Redis: redistest.Open(t, server.URL(), server.TLS()), Tell: func(f Finding) error {
		if (f.Result == Warning || f.Result == Fault) == (f.Todo == "") {
			t.Errorf("%+v says what to do, and need not, or the other way round", f)
		}
		found[f.Check] = string(f.Result) + " " + f.Found
		return nil
	}}
	d.redis(context.Background())
	return found
}

func want(t *testing.T, found map[string]string, check, beginning string) {
	t.Helper()
	if !strings.HasPrefix(found[check], beginning) {
		t.Errorf("%s: %q, want %q", check, found[check], beginning)
	}
}

func TestRedis(t *testing.T) {
	server := redistest.Start(t)
	found := examine(t, server)
	want(t, found, "Redis", "ok version ")
	want(t, found, "Redis: memory", "warning policy noeviction, used ")
	want(t, found, "Redis: persistence", "warning no append-only file")
	for check := range found {
		if strings.HasSuffix(check, "latency") {
			delete(found, check) // a busy machine may make it a warning
		}
	}
	if len(found) != 3 {
		t.Errorf("found %v", found)
	}

	rdb, ctx := server.Client(), context.Background()
	for setting, value := range map[string]string{"maxmemory": "1gb", "maxmemory-policy": "allkeys-lru"} {
		if err := rdb.ConfigSet(ctx, setting, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	want(t, examine(t, server), "Redis: memory", "fault policy allkeys-lru, used ")
	if err := rdb.ConfigSet(ctx, "maxmemory-policy", "noeviction").Err(); err != nil {
		t.Fatal(err)
	}
	want(t, examine(t, server), "Redis: memory", "ok policy noeviction, used ")
	if err := rdb.ConfigSet(ctx, "appendonly", "yes").Err(); err != nil {
		t.Fatal(err)
	}
	want(t, examine(t, server), "Redis: persistence", "ok append-only file")

	server.Stop()
	want(t, examine(t, server), "Redis", "fault ")
}

func TestRedisCluster(t *testing.T) {
	found := examine(t, redistest.StartCluster(t))
	want(t, found, "Redis", "ok a cluster; masters: 1")
	for check := range found {
		if check != "Redis" && !strings.HasPrefix(check, "Redis, master 1 (") {
			t.Errorf("found %s: %s", check, found[check])
		}
	}
	if len(found) != 5 {
		t.Errorf("found %v", found)
	}
}

func TestFileLimit(t *testing.T) {
	for _, tt := range []struct {
		most, used float64
		want       string
	}{{20_000, 0, "ok at most 20000"}, {1024, 0, "warning at most 1024"}, {20_000, 19_000, "warning at most 20000, 19000 are open"}} {
		d := &Doctor{Tell: func(f Finding) error {
			if got := string(f.Result) + " " + f.Found; got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			return nil
		}}
		d.fileLimit("files", tt.most, tt.used)
	}
}

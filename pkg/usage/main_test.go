package usage

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/logtest"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

// keys name what the tests have in Redis.
var keys rediskeys.Namespace

func newRecorder(t testing.TB, rdb redis.UniversalClient) (*Recorder, *logtest.Buffer) {
	t.Helper()
	log := new(logtest.Buffer)
	return NewRecorder(RecorderOptions{Redis: rdb, Log: slog.New(slog.NewTextHandler(log, nil))}), log
}

func flush(t testing.TB, r *Recorder) {
	t.Helper()
	if err := r.Flush(context.Background()); err != nil {
		t.Fatalf("flush: %v", err)
	}
}

// publish counts n messages of size bytes each.
func publish(r *Recorder, app, channel, peer string, n, size int) {
	for range n {
		r.Published(app, channel, peer, size)
	}
}

// read reads a whole ranking, page by page.
func read(t testing.TB, r *Reader, app string, kind Kind, pattern *channel.Pattern, limit int) (all []Entry) {
	t.Helper()
	for cursor := ""; ; {
		page, err := r.Top(context.Background(), app, kind, pattern, limit, cursor)
		if err != nil {
			t.Fatalf("top: %v", err)
		}
		if len(page.Entries) > limit {
			t.Fatalf("a page of %d entries; at most %d were asked for", len(page.Entries), limit)
		}
		all = append(all, page.Entries...)
		if page.Next == "" {
			return all
		}
		if page.Next == cursor {
			t.Fatalf("the cursor %s does not move", cursor)
		}
		cursor = page.Next
	}
}

func compile(t testing.TB, pattern string) *channel.Pattern {
	t.Helper()
	p, err := channel.Compile(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// faults makes pipelines fail: before Redis has seen them, or after, as a lost
// reply does.
type faults struct{ next func() fault }

type fault int

const (
	noFault fault = iota
	requestLost
	replyLost
)

var errLost = errors.New("read tcp: i/o timeout")

func (f *faults) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (f *faults) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (f *faults) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		fault := f.next()
		if fault == noFault {
			return next(ctx, cmds)
		}
		if fault == replyLost {
			_ = next(ctx, cmds)
		}
		for _, cmd := range cmds {
			cmd.SetErr(errLost)
		}
		return errLost
	}
}

// thisPeriod is an instant of a period that has not expired by Redis's clock.
func thisPeriod() time.Time { return time.Now() }

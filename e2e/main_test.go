package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fleetwire/pkg/redisconn/redistest"
)

// patience is how long anything may take before a test gives up on it. Nothing
// waits for it but a test that fails.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	code := func() int {
		dir, err := os.MkdirTemp("", "fleetwire-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		programs.dir = dir
		defer redistest.EndShared()
		return m.Run()
	}()
	if code == 0 {
		err := goleak.Find(
			// fasthttp's clock is one for the process, and its worker pool notices up
			// to 10 s late that it was stopped.
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		)
		if err != nil {
			fmt.Fprintf(os.Stderr, "goroutines are left after all nodes have stopped: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// eventually waits until done, at most for limit. It looks again and again
// where there is nothing to wait on.
func eventually(t testing.TB, what string, limit time.Duration, done func() bool) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for begin := time.Now(); !done(); <-again.C {
		if time.Since(begin) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

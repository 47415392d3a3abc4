package stage

import (
	"context"
	_ "embed"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"fleetwire/chaos/internal/plan"
	"fleetwire/pkg/redisconn/redistest"
)

// ahead is how far the clock is set.
const ahead = 5 * time.Second

//go:embed clock.c.txt
var clockSource []byte

// clocked is one server whose time of day a preloaded library moves. The system's clock
// stays as it is, so no right over it is needed. (libfaketime does not get on with the
// allocator of Redis.)
type clocked struct {
	*direct
	offset string // a file
}

func startClocked(t testing.TB, o Options) backend {
	dir := t.TempDir()
	c := &clocked{offset: filepath.Join(dir, "offset")}
	library := buildClock(t, dir)
	if err := c.write(0); err != nil {
		t.Fatal(err)
	}
	c.direct = &direct{t: t, primary: redistest.StartWith(t, "LD_PRELOAD="+library, "FLEETWIRE_CHAOS_CLOCK="+c.offset)}
	c.link(o.Nodes)
	return c
}

// buildClock compiles the library into dir.
func buildClock(t testing.TB, dir string) (path string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: needs Linux, to set the clock of one process")
	}
	compiler, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("SKIPPED: needs a C compiler, to set the clock of one process (apt-get install gcc)")
	}
	source := filepath.Join(dir, "clock.c")
	path = filepath.Join(dir, "clock.so")
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(compiler, "-O2", "-shared", "-fPIC", "-o", path, source).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", compiler, err, out)
	}
	return path
}

// write sets the offset where it is, for the server has the file mapped.
func (c *clocked) write(offset time.Duration) error {
	f, err := os.OpenFile(c.offset, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = f.Write(binary.NativeEndian.AppendUint64(nil, uint64(offset.Microseconds())))
	return err
}

func (c *clocked) inject(s plan.Step) lift {
	if s.Fault.Name != "clock-set" {
		return c.direct.inject(s)
	}
	c.set(ahead)
	return then(func() { c.set(0) })
}

// set sets the clock, and waits until the server says so.
func (c *clocked) set(offset time.Duration) {
	c.must(c.write(offset))
	rdb := c.primary.Client()
	redistest.Eventually(c.t, patience, "Redis's clock is set", func() bool {
		at, err := rdb.Time(context.Background()).Result()
		return err == nil && (time.Until(at) > ahead/2) == (offset > 0)
	})
}

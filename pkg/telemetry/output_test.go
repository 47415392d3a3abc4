package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reader is what lines are written to: it can stand still, and it can fail.
type reader struct {
	mu     sync.Mutex
	text   strings.Builder
	failed error
	short  int           // bytes that a failing write still takes
	hold   chan struct{} // while not nil and open, writes wait
}

func (r *reader) Write(b []byte) (int, error) {
	r.mu.Lock()
	hold := r.hold
	r.mu.Unlock()
	if hold != nil {
		<-hold
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		n := min(r.short, len(b))
		r.short = 0
		r.text.Write(b[:n])
		return n, r.failed
	}
	return r.text.Write(b)
}

func (r *reader) set(failed error, short int, hold chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed, r.short, r.hold = failed, short, hold
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// Nobody waits for a reader that stands still; when it reads again it has the newest
// lines, in order, and is told how many are missing before them.
func TestAReaderThatStandsStillHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		r := &reader{hold: hold}
		o := NewOutput(r)
		log, err := NewLogger(o, "json", "info")
		if err != nil {
			t.Fatal(err)
		}
		log.Info("first")
		synctest.Wait() // it is being written
		const lines = 20_000
		for i := range lines {
			log.Info("line", "i", i)
		}
		dropped := int(o.Dropped())
		if dropped == 0 || dropped >= lines {
			t.Fatalf("%d of %d lines are dropped", dropped, lines)
		}
		close(hold)
		synctest.Wait()
		got := strings.Split(strings.TrimSuffix(r.String(), "\n"), "\n")
		if len(got) != 2+lines-dropped || !strings.Contains(got[0], `"msg":"first"`) {
			t.Fatalf("%d lines, %d dropped, the first is %s", len(got), dropped, got[0])
		}
		if want := fmt.Sprintf(`"msg":"log lines were dropped, because they were not read in time","lines":%d}`, dropped); !strings.HasSuffix(got[1], want) {
			t.Errorf("the second line is %s, want %s", got[1], want)
		}
		for i, line := range got[2:] {
			if !strings.HasSuffix(line, fmt.Sprintf(`"i":%d}`, dropped+i)) {
				t.Fatalf("line %d is %s", i, line)
			}
		}
		if o.size != 0 || o.gap != 0 || int(o.Dropped()) != dropped {
			t.Errorf("%d bytes, a gap of %d, %d dropped in the end", o.size, o.gap, o.Dropped())
		}
	})
}

// A write that fails, also in the middle of a line, is tried again until it works.
func TestFailedWritesAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{}
		o := NewOutput(r)
		fmt.Fprintln(o, "one")
		synctest.Wait()
		r.set(errors.New("no space left on device"), 2, nil)
		fmt.Fprintln(o, "two")
		fmt.Fprintln(o, "three")
		time.Sleep(time.Hour)
		if got := r.String(); got != "one\ntw" {
			t.Errorf("written while it fails: %q", got)
		}
		r.set(nil, 0, nil)
		time.Sleep(longestPause)
		synctest.Wait()
		if got := r.String(); got != "one\ntwo\nthree\n" || o.Dropped() != 0 {
			t.Errorf("written %q, %d dropped", got, o.Dropped())
		}
	})
}

// At the end of a process the last lines arrive if they can, and hold it up for a
// bounded time if not.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		took := func(least, most time.Duration) {
			t.Helper()
			if d := time.Since(begin); d < least || d > most {
				t.Errorf("it took %v, want %v to %v", d, least, most)
			}
			begin = time.Now()
		}

		r := &reader{}
		o := NewOutput(r)
		o.Flush(time.Second)
		fmt.Fprintln(o, "the last line")
		o.Flush(time.Second)
		took(0, 0)
		if r.String() != "the last line\n" {
			t.Errorf("written: %q", r)
		}

		r.set(errors.New("broken pipe"), 0, nil)
		fmt.Fprintln(o, "lost")
		fmt.Fprintln(o, "lost, too")
		o.Flush(time.Second)
		took(0, 0)
		if o.Dropped() != 2 {
			t.Errorf("%d dropped, want 2", o.Dropped())
		}

		hold := make(chan struct{})
		r.set(nil, 0, hold)
		fmt.Fprintln(o, "stuck")
		o.Flush(time.Second)
		took(time.Second, time.Second)
		close(hold)
	})
}

func TestALineThatIsTooLongIsDropped(t *testing.T) {
	r := &reader{}
	o := NewOutput(r)
	_, _ = o.Write(bytes.Repeat([]byte("x"), outputBytes))
	fmt.Fprintln(o, "next")
	o.Flush(time.Minute)
	if got := r.String(); got != "1 lines were dropped: they were not read in time\nnext\n" {
		t.Errorf("written %q", got)
	}
}

// A duration without its unit would be read as seconds by one and as nanoseconds by another.
func TestDurationsHaveTheirUnit(t *testing.T) {
	for format, want := range map[string]string{"text": "over=1.5s in.lasted=250ms", "json": `"over":"1.5s","in":{"lasted":"250ms"}`} {
		var out bytes.Buffer
		log, err := NewLogger(&out, format, "info")
		if err != nil {
			t.Fatal(err)
		}
		log.Info("m", "over", 1500*time.Millisecond, slog.Group("in", "lasted", 250*time.Millisecond))
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: %s does not contain %s", format, &out, want)
		}
	}
	for _, bad := range [][2]string{{"xml", "info"}, {"text", "loud"}} {
		if _, err := NewLogger(io.Discard, bad[0], bad[1]); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

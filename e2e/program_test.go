package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// programs is where the built programs go; TestMain makes and removes it.
var programs struct{ dir string }

// build compiles localdev and fanout, once, as the Dockerfile does: so all tests that build
// programs share what they are made of. Without VCS stamps: they fail in a checkout that
// belongs to another user.
var build = sync.OnceValue(func() error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", programs.dir+string(filepath.Separator), "./localdev", "./fanout")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
})

// program is a running localdev or fanout.
type program struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdout output
	stderr output
	exited chan struct{}
}

// run starts a program in the directory. env is in addition to the test's own
// environment, from which nothing of Fleetwire's is taken over.
func run(t testing.TB, dir string, env []string, name string, args ...string) *program {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: exec.Command(filepath.Join(programs.dir, name), args...), exited: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "FLEETWIRE_") }), env...)
	var read sync.WaitGroup
	for _, stream := range []struct {
		to   *output
		pipe func() (io.ReadCloser, error)
	}{{&p.stdout, p.cmd.StdoutPipe}, {&p.stderr, p.cmd.StderrPipe}} {
		pipe, err := stream.pipe()
		if err != nil {
			t.Fatal(err)
		}
		read.Go(func() { stream.to.readFrom(pipe) })
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		read.Wait()
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%s printed:\n%s\nand on standard error:\n%s", name, p.stdout.text(), p.stderr.text())
		}
	})
	return p
}

// wait returns the exit code.
func (p *program) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("%s has not ended within %v", p.cmd.Args[0], patience)
		return 0
	}
}

// terminate sends SIGTERM, and wants exit code 0.
func (p *program) terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if code := p.wait(); code != 0 {
		p.t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}

// localdev starts localdev on free ports and returns the node that it is.
func localdev(t testing.TB, dir string, env []string, args ...string) (*program, *node) {
	t.Helper()
	p := run(t, dir, append([]string{"FLEETWIRE_LISTEN=127.0.0.1:0", "FLEETWIRE_OPS=127.0.0.1:0", "FLEETWIRE_DRAIN=200ms"}, env...), "localdev", args...)
	n := &node{t: t, stop: p.terminate}
	n.addr = strings.TrimPrefix(p.line(&p.stdout, "listening on http://"), "listening on http://")
	ops := strings.Fields(p.line(&p.stdout, "operations "))
	n.ops = strings.TrimSuffix(strings.TrimPrefix(ops[1], "http://"), "/readyz")
	n.awaitReady(patience)
	return p, n
}

// fanout starts a production node on free ports.
func fanout(t testing.TB, env []string, args ...string) (*program, *node) {
	t.Helper()
	p := run(t, t.TempDir(), env, "fanout", append([]string{"-listen", "127.0.0.1:0", "-ops", "127.0.0.1:0", "-drain", "200ms", "-log-format", "json"}, args...)...)
	var where struct{ Address, Ops string }
	if line := p.line(&p.stderr, `"msg":"listening"`); json.Unmarshal([]byte(line), &where) != nil || where.Address == "" {
		t.Fatalf("the log line has no address: %s", line)
	}
	n := &node{t: t, addr: where.Address, ops: where.Ops, stop: p.terminate}
	n.awaitReady(patience)
	return p, n
}

// line waits for a line with the text in it.
func (p *program) line(o *output, text string) string {
	p.t.Helper()
	var found string
	look := func() bool {
		for line := range strings.Lines(o.text()) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				found = strings.TrimSuffix(line, "\n")
				return true
			}
		}
		return false
	}
	eventually(p.t, p.cmd.Args[0]+" prints a line with "+text, patience, func() bool {
		if look() {
			return true
		}
		select {
		case <-p.exited:
			if !look() {
				p.t.Fatalf("it ended without a line with %q", text)
			}
			return true
		default:
			return false
		}
	})
	return found
}

// output is what a program has printed so far.
type output struct {
	mu   sync.Mutex
	read bytes.Buffer
}

func (o *output) readFrom(r io.Reader) {
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadString('\n')
		o.mu.Lock()
		o.read.WriteString(line)
		o.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.read.String()
}

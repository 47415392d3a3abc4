package examples

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fleetwire/pkg/nodejstest"
)

// patience is how long anything may take before a test gives up on it. It is
// generous: nothing waits for it but a test that fails.
const patience = 60 * time.Second

// A process is a running example or service, and the lines it has printed.
type process struct {
	name string
	cmd  *exec.Cmd

	mu      sync.Mutex
	lines   []line
	err     bytes.Buffer  // standard error
	changed chan struct{} // closed and replaced with each new line

	exited chan struct{} // closed when the process is gone and its output read
}

// A line of standard output; fields is nil when it is no JSON object.
type line struct {
	text   string
	fields map[string]any
}

// is tells whether the line is {"event":event,…} with the given fields.
func (l line) is(event string, fields map[string]any) bool {
	if l.fields["event"] != event {
		return false
	}
	for name, want := range fields {
		if l.fields[name] != want {
			return false
		}
	}
	return true
}

// start runs a program from the module's root until the test ends.
func start(t *testing.T, name string, env []string, argv ...string) *process {
	t.Helper()
	p := &process{name: name, changed: make(chan struct{}), exited: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Dir = root
	p.cmd.Env = append(withoutFleetwire(os.Environ()), env...)
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = lockedWriter{&p.mu, &p.err}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s does not start: %v", name, err)
	}
	go p.read(stdout)
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("%s printed:\n%s\nand on standard error:\n%s", name, p.output(), p.stderr())
		}
	})
	return p
}

func (p *process) read(stdout io.Reader) {
	defer close(p.exited)
	in := bufio.NewScanner(stdout)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		l := line{text: in.Text()}
		_ = json.Unmarshal(in.Bytes(), &l.fields)
		p.mu.Lock()
		p.lines = append(p.lines, l)
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
	_ = p.cmd.Wait() // how it ended is in ProcessState
}

// await returns the n-th line (from 1) that matches, once it has been printed.
func (p *process) await(t *testing.T, what string, n int, matches func(line) bool) line {
	t.Helper()
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		seen := 0
		for _, l := range p.lines {
			if matches(l) {
				if seen++; seen == n {
					p.mu.Unlock()
					return l
				}
			}
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-p.exited:
			select {
			case <-changed: // its last line came with its end
				continue
			default:
			}
			t.Fatalf("%s ended (%v) without %s", p.name, p.cmd.ProcessState, what)
		case <-timeout:
			t.Fatalf("%s: no %s within %v", p.name, what, patience)
		}
	}
}

// awaitEvent waits for the n-th {"event":event,…} line with the given fields.
func (p *process) awaitEvent(t *testing.T, n int, event string, fields map[string]any) line {
	t.Helper()
	what, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return p.await(t, event+" "+string(what)+" #"+strconv.Itoa(n), n, func(l line) bool { return l.is(event, fields) })
}

// count is how many such lines have been printed so far.
func (p *process) count(event string, fields map[string]any) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, l := range p.lines {
		if l.is(event, fields) {
			n++
		}
	}
	return n
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, l := range p.lines {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

func (p *process) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.String()
}

// wait waits for the process's own end, and returns its exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("%s does not end within %v", p.name, patience)
		return -1
	}
}

// stop asks the process to end, if it still runs, and makes it after patience.
func (p *process) stop(t *testing.T) {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("%s: %v", p.name, err)
	}
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Errorf("%s did not end within %v of SIGTERM", p.name, patience)
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// kill ends the process at once.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Errorf("%s: %v", p.name, err)
	}
	<-p.exited
}

// withoutFleetwire leaves out what a developer's shell may have set for a
// service of their own.
func withoutFleetwire(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool { return strings.HasPrefix(v, "FLEETWIRE_") })
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(b)
}

// pythonPath is a Python that has what the examples need.
func pythonPath(t *testing.T) string {
	t.Helper()
	for _, p := range []string{os.Getenv("FLEETWIRE_PYTHON"), "python3", "/usr/bin/python3"} {
		if p != "" && exec.Command(p, "-c", "import jwt, websocket").Run() == nil {
			return p
		}
	}
	t.Skip("SKIPPED: no Python that can import jwt and websocket; to get it: scripts/install-test-deps, or apt-get install python3-jwt python3-websocket")
	return ""
}

// nodePath is a Node.js beside which the Node examples' packages are installed.
func nodePath(t *testing.T) string {
	t.Helper()
	return nodejstest.Path(t, 18, 0, filepath.Join(root, "examples", "node"))
}

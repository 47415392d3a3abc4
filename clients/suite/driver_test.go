package suite

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// root is the module's root, where drivers are started.
const root = "../.."

// patience is how long anything may take before a test gives up on it. Nothing waits
// for it but a test that fails.
const patience = 30 * time.Second

// driver is a client's program, which does what it is asked on standard input and tells on
// standard output.
type driver struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	exited chan struct{} // closed when it is gone and its output read
	debug  lockedBuffer  // what it wrote on standard error

	mu      sync.Mutex
	ids     int
	answers map[int]chan object
	events  map[string][]object // of each client, by its full name
	changed chan struct{}       // closed and replaced with each event
	broken  error               // a line that is not the protocol's
}

// startDriver starts a client's driver from the module's root.
func startDriver(t *testing.T, argv []string, env ...string) *driver {
	t.Helper()
	d := &driver{
		cmd: exec.Command(argv[0], argv[1:]...), exited: make(chan struct{}),
		answers: map[int]chan object{}, events: map[string][]object{}, changed: make(chan struct{}),
	}
	d.cmd.Dir = root
	d.cmd.Env = append(withoutFleetwire(os.Environ()), env...)
	d.cmd.Stderr = &d.debug
	stdin, err := d.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.stdin = stdin
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatalf("the driver does not start: %v", err)
	}
	go d.read(stdout)
	t.Cleanup(func() { d.end(t) })
	return d
}

// end closes the driver's standard input, and wants it to end for that.
func (d *driver) end(t *testing.T) {
	_ = d.stdin.Close()
	select {
	case <-d.exited:
		if code := d.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the driver ended with exit code %d, want 0", code)
		}
	case <-time.After(patience):
		t.Errorf("the driver did not end within %v of the end of its standard input", patience)
		_ = d.cmd.Process.Kill()
		<-d.exited
	}
	if d.broken != nil {
		t.Error(d.broken)
	}
	text := d.debug.String()
	if t.Failed() {
		t.Logf("the driver's standard error:\n%s", text)
	}
	if strings.Contains(text, secretMark) || strings.Contains(text, "eyJ") {
		t.Errorf("the driver's standard error has a secret or a token in it:\n%s", text)
	}
}

func (d *driver) read(stdout io.Reader) {
	defer close(d.exited)
	in := bufio.NewScanner(stdout)
	in.Buffer(nil, 8<<20)
	for in.Scan() {
		d.take(in.Bytes())
	}
	_ = d.cmd.Wait() // how it ended is in ProcessState
}

// take takes one line.
func (d *driver) take(line []byte) {
	var said object
	err := json.Unmarshal(line, &said)
	d.mu.Lock()
	defer d.mu.Unlock()
	if kind, ok := said["event"].(string); err == nil && ok {
		client, _ := said["client"].(string)
		if kind != "" && client != "" {
			d.events[client] = append(d.events[client], said)
			close(d.changed)
			d.changed = make(chan struct{})
			return
		}
	}
	if id, ok := said["id"].(float64); err == nil && ok {
		if answer := d.answers[int(id)]; answer != nil {
			delete(d.answers, int(id))
			answer <- said
			return
		}
	}
	d.broken = fmt.Errorf("the driver wrote a line that is neither an event of a client nor the answer to a request: %.200s", line)
}

// ask sends a request. Its answer comes from the channel.
func (d *driver) ask(request object) (<-chan object, error) {
	answer := make(chan object, 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids++
	request["id"] = d.ids
	d.answers[d.ids] = answer
	line, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	_, err = d.stdin.Write(append(line, '\n'))
	return answer, err
}

// await waits for an answer.
func (d *driver) await(answer <-chan object) (object, error) {
	select {
	case a := <-answer:
		return a, nil
	case <-d.exited:
		select {
		case a := <-answer:
			return a, nil
		default:
			return nil, fmt.Errorf("the driver ended (%v)", d.cmd.ProcessState)
		}
	case <-time.After(patience):
		return nil, fmt.Errorf("no answer within %v", patience)
	}
}

// look returns a client's events of one kind, and what is closed when there are more.
func (d *driver) look(client, kind string) (events []object, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events[client] {
		if e["event"] == kind {
			events = append(events, e)
		}
	}
	return events, d.changed
}

// all returns a client's events so far.
func (d *driver) all(client string) []object {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.events[client])
}

// withoutFleetwire leaves out what a developer's shell may have set for a service of
// their own.
func withoutFleetwire(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool { return strings.HasPrefix(v, "FLEETWIRE_") })
}

// lockedBuffer is a buffer that several goroutines may use.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

package stage

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

// patience is how long a process may take until it is ready, on a busy machine.
const patience = 30 * time.Second

// drain is the nodes' -drain.
const drain = 2 * time.Second

// Build compiles the node into dir, as the Dockerfile does.
func Build(dir string) error {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("go list -m names no module: run this inside the repository: %w", err)
	}
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(dir, "fanout"), "./fanout")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Dir = strings.TrimSpace(string(root))
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// Node is one fanout process, which may be ended and started again.
type Node struct {
	Index   int
	Address string // host:port for sockets and REST

	t       testing.TB
	program string
	ops     string
	args    []string
	up      atomic.Bool // devices may come

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited <-chan struct{}
	logs   []string
}

// Up says whether a balancer would give the node new connections.
func (n *Node) Up() bool { return n.up.Load() }

// start runs the process. AwaitReady waits until it serves.
func (n *Node) start() error {
	log, err := os.Create(filepath.Join(n.t.TempDir(), fmt.Sprintf("node-%d.log", n.Index)))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(n.program, n.args...)
	cmd.Stdout, cmd.Stderr = log, log
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "FLEETWIRE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	exited, err := redistest.StartChild(cmd)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.cmd, n.exited = cmd, exited
	n.logs = append(n.logs, log.Name())
	n.mu.Unlock()
	return nil
}

// AwaitReady waits until the node's /readyz is 200.
func (n *Node) AwaitReady() error {
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	said := "nothing"
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		answer, err := client.Get("http://" + n.ops + "/readyz")
		if err != nil {
			select {
			case <-n.exited:
				return fmt.Errorf("node %d ended; it said: %s", n.Index, n.LastWords())
			default:
			}
			said = err.Error()
			continue
		}
		body := new(bytes.Buffer)
		_, _ = body.ReadFrom(answer.Body)
		_ = answer.Body.Close()
		if said = body.String(); answer.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("node %d is not ready after %v: %s; it said: %s", n.Index, patience, said, n.LastWords())
}

// signal sends one to the process.
func (n *Node) signal(s syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cmd.Process.Signal(s)
}

// end ends the process with a signal, and waits for that.
func (n *Node) end(s syscall.Signal, within time.Duration) error {
	n.up.Store(false)
	if err := n.signal(s); err != nil {
		return err
	}
	return n.awaitEnd(within)
}

func (n *Node) awaitEnd(within time.Duration) error {
	select {
	case <-n.exited:
		return nil
	case <-time.After(within):
		return fmt.Errorf("node %d has not ended within %v; it said: %s", n.Index, within, n.LastWords())
	}
}

// kill is for the end of a run.
func (n *Node) kill() {
	n.mu.Lock()
	cmd, exited := n.cmd, n.exited
	n.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		<-exited
	}
}

// Running says whether the process runs, which it should while no fault has ended it.
func (n *Node) Running() bool {
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

// LastWords is the end of what the node has logged.
func (n *Node) LastWords() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.logs) == 0 {
		return ""
	}
	b, err := os.ReadFile(n.logs[len(n.logs)-1])
	if err != nil {
		return err.Error()
	}
	b = bytes.TrimSpace(b)
	return string(b[max(0, len(b)-2000):])
}

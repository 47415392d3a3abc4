package suite

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fleetwire/pkg/redisconn/redistest"
)

// web asks nodes whether they are ready. It keeps no connection open.
var web = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// binDir is where built programs go; TestMain removes it.
var binDir string

func TestMain(m *testing.M) {
	flag.Parse()
	// Scenarios wait most of the time, so more of them than there are processors run at once.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	code := func() int {
		dir, err := os.MkdirTemp("", "fleetwire-suite-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binDir = dir
		return m.Run()
	}()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintf(os.Stderr, "goroutines are left: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// build compiles localdev and the Go client's driver, once, as the Dockerfile compiles: so
// all tests that build programs share what they are made of. Without VCS stamps: they fail
// in a checkout that belongs to another user.
var build = sync.OnceValue(func() error {
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", binDir+string(filepath.Separator), "./localdev", "./clients/suite/godriver")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
})

// built is the path of a program.
func built(t *testing.T, name string) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(binDir, name)
}

// fleet is two nodes with a control plane on one Redis, each a process.
type fleet struct {
	t     *testing.T
	redis *redistest.Server
	apps  *document
	nodes map[string]*localdev // "first" and "second"; a new one follows one that has ended
}

func startFleet(t *testing.T, apps *document) *fleet {
	t.Helper()
	f := &fleet{t: t, redis: redistest.Start(t), apps: apps, nodes: map[string]*localdev{}}
	for _, name := range nodeNames {
		f.nodes[name] = f.start()
	}
	t.Cleanup(func() {
		for _, n := range f.nodes {
			n.stop()
		}
	})
	return f
}

var nodeNames = []string{"first", "second"}

// fronts are the addresses of the nodes for one scenario.
type fronts struct {
	*fleet
	by map[string]*front
}

func (f *fleet) fronts(t *testing.T) *fronts {
	t.Helper()
	to := &fronts{fleet: f, by: map[string]*front{}}
	for _, name := range nodeNames {
		to.by[name] = startFront(t, f.nodes[name].addr)
	}
	return to
}

func (f *fronts) url(name string) (string, error) {
	if f.by[name] == nil {
		return "", fmt.Errorf("there is no node %q; it is first or second", name)
	}
	return "http://" + f.by[name].addr, nil
}

// order does what a scenario asks of a node.
func (f *fronts) order(what, name string) error {
	if _, err := f.url(name); err != nil {
		return err
	}
	front, other := f.by[name], f.nodes["first"]
	if name == "first" {
		other = f.nodes["second"]
	}
	switch what {
	case "restart": // the other one serves meanwhile, as in a deployment
		front.point(other.addr)
		f.nodes[name].stop()
		f.nodes[name] = f.start()
		front.point(f.nodes[name].addr)
	case "kill":
		front.point(other.addr)
		f.nodes[name].kill()
	case "start": // after kill
		f.nodes[name] = f.start()
		front.point(f.nodes[name].addr)
	case "cut":
		front.cut()
	case "mend": // after cut
		front.point(f.nodes[name].addr)
	default:
		return fmt.Errorf("%q is nothing that can be done to a node; it is restart, kill, start, cut or mend", what)
	}
	return nil
}

// reload has all nodes read the apps document again.
func (f *fleet) reload() error {
	if err := f.apps.write(); err != nil {
		return err
	}
	for _, n := range f.nodes {
		if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			return err
		}
	}
	return nil
}

// localdev is one process.
type localdev struct {
	t      *testing.T
	cmd    *exec.Cmd
	addr   string
	out    lockedBuffer
	log    lockedBuffer
	exited chan struct{}
	killed bool
}

// start starts a node, and waits until it is ready.
func (f *fleet) start() *localdev {
	f.t.Helper()
	return startLocaldev(f.t, "", "-redis", f.redis.URL(), "-apps", f.apps.path)
}

// startLocaldev starts a process in a directory, and waits until it is ready.
func startLocaldev(t *testing.T, dir string, args ...string) *localdev {
	t.Helper()
	p := &localdev{t: t, exited: make(chan struct{})}
	p.cmd = exec.Command(built(t, "localdev"), append([]string{"-listen", "127.0.0.1:0", "-ops", "127.0.0.1:0", "-drain", "200ms"}, args...)...)
	p.cmd.Dir, p.cmd.Env = dir, withoutFleetwire(os.Environ())
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	t.Cleanup(p.kill)
	p.addr = p.says("listening on http://")
	ops, _, _ := strings.Cut(p.says("operations   http://"), "/")
	redistest.Eventually(t, patience, "/readyz is 200", func() bool {
		response, err := web.Get("http://" + ops + "/readyz")
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return p
}

// says waits for a line with a prefix, and returns the rest of it.
func (p *localdev) says(prefix string) string {
	p.t.Helper()
	var found string
	redistest.Eventually(p.t, patience, "localdev prints "+prefix, func() bool {
		for line := range strings.Lines(p.out.String()) {
			if rest, ok := strings.CutPrefix(line, prefix); ok && strings.HasSuffix(line, "\n") {
				found = strings.TrimSpace(rest)
				return true
			}
		}
		return false
	})
	return found
}

// stop drains the node, and wants a clean end.
func (p *localdev) stop() {
	if p.killed {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // one that has ended shows it below
	select {
	case <-p.exited:
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			p.t.Errorf("a node ended with exit code %d, want 0; its log:\n%s", code, p.log.String())
		}
	case <-time.After(patience):
		p.t.Errorf("a node did not end within %v of SIGTERM", patience)
	}
	if text := p.log.String(); strings.Contains(text, secretMark) || strings.Contains(text, "eyJ") {
		p.t.Errorf("a node's log has a secret or a token in it:\n%s", text)
	}
}

// kill ends the process at once.
func (p *localdev) kill() {
	p.killed = true
	_ = p.cmd.Process.Kill()
	<-p.exited
}

package stage

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/chaos/internal/plan"
	"fleetwire/pkg/redisconn/redistest"
)

// Options say what to start.
type Options struct {
	Form    plan.Form
	Nodes   int
	Program string // fanout, as Build makes it
	Apps    string // the path of the apps document
	Fsync   string // appendfsync of a form that appends
}

// A Stage is nodes and a Redis. It ends with its test, or with its Host.
type Stage struct {
	Nodes []*Node

	redis backend
	next  atomic.Uint64
}

// A backend is Redis in one of its forms.
type backend interface {
	// url is what -redis is for a node.
	url(node int) string
	// client is one that finds the data.
	client() redis.UniversalClient
	// inject begins a fault, and returns what ends it; nil: this form has no such fault.
	inject(plan.Step) lift
}

// lift ends a fault, and returns when Redis serves. It may return what puts the rest in
// order, which need not be before the nodes serve again.
type lift func() (mend func())

// Start starts Redis, then the nodes, and waits until they are ready.
func Start(t testing.TB, o Options) *Stage {
	t.Helper()
	s := &Stage{redis: backends[o.Form](t, o)}
	for i := range o.Nodes {
		n := &Node{Index: i, t: t, program: o.Program, Address: address(t), ops: address(t)}
		n.args = []string{"-control-plane", "-listen", n.Address, "-ops", n.ops, "-apps", o.Apps, "-redis", s.redis.url(i), "-drain", drain.String(), "-sink-networks", "127.0.0.0/8"}
		s.Nodes = append(s.Nodes, n)
		t.Cleanup(n.kill)
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range s.Nodes {
		if err := n.AwaitReady(); err != nil {
			t.Fatal(err)
		}
		n.up.Store(true)
	}
	return s
}

func address(t testing.TB) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(redistest.FreePort(t)))
}

// Redis is a client of the data. It lives as long as the stage.
func (s *Stage) Redis() redis.UniversalClient { return s.redis.client() }

// Program is where Build put the node.
func Program(dir string) string { return filepath.Join(dir, "fanout") }

// Inject begins a step's fault, and returns what ends it. That returns what is to be
// mended when the nodes serve again.
func (s *Stage) Inject(step plan.Step) (lift func() (mend func(), err error), err error) {
	n := s.Nodes[step.Node]
	switch step.Fault.Name {
	case "node-killed":
		return mendless(n.restart), n.end(syscall.SIGKILL, patience)
	case "node-drained":
		n.up.Store(false)
		err := n.signal(syscall.SIGTERM)
		return mendless(func() error {
			if err := n.awaitEnd(drain + patience); err != nil {
				return err
			}
			return n.restart()
		}), err
	case "node-stopped":
		n.up.Store(false)
		err := n.signal(syscall.SIGSTOP)
		return mendless(func() error {
			if err := n.signal(syscall.SIGCONT); err != nil {
				return err
			}
			err := n.AwaitReady()
			n.up.Store(true)
			return err
		}), err
	default:
		lift := s.redis.inject(step)
		if lift == nil {
			return nil, fmt.Errorf("the fault %s is not made for this form of Redis", step.Fault.Name)
		}
		return func() (func(), error) { return lift(), nil }, nil
	}
}

func mendless(lift func() error) func() (func(), error) {
	return func() (func(), error) { return func() {}, lift() }
}

// restart starts the process again, and waits until it is ready.
func (n *Node) restart() error {
	if err := n.start(); err != nil {
		return err
	}
	if err := n.AwaitReady(); err != nil {
		return err
	}
	n.up.Store(true)
	return nil
}

// Route is the node that a balancer gives a connection: home, or another one that is up.
func (s *Stage) Route(home int) *Node {
	for i := range s.Nodes {
		if n := s.Nodes[(home+i)%len(s.Nodes)]; n.Up() {
			return n
		}
	}
	return s.Nodes[home]
}

// DialAny opens a connection to the next node that is up: a backend's.
func (s *Stage) DialAny(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, s.Route(int(s.next.Add(1))%len(s.Nodes)).Address)
}

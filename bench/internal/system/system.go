//go:build linux

package system

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fleetwire/bench/internal/wire"
)

// Names of the systems. Those that end in nodes are several processes that work
// together, the others are one.
const (
	Fleetwire       = "fleetwire"        // REST and a node in one process, on a Redis
	FleetwireAOF    = "fleetwire-aof"    // on a Redis that writes a file, and has it on the disk each second
	Embedded        = "embedded"         // the same on the Redis inside the process
	Nodes           = "nodes"            // nodes on one Redis
	Cluster         = "cluster"          // nodes on a Redis Cluster of three masters
	NATS            = "nats"             // the one that is installed
	NATS215         = "nats-2.15"        // the one that make bench-peers builds
	JetStream       = "jetstream-2.15"   // that one, with streams in files
	NATSNodes       = "nats-nodes"       // a cluster of those
	Centrifugo      = "centrifugo"       // on a Redis, as Fleetwire
	CentrifugoNodes = "centrifugo-nodes" // on one Redis
	Mosquitto       = "mosquitto"
	Floor           = "floor"
)

// System is one of the measured systems, running.
type System struct {
	Name      string
	Addresses []string // for WebSockets
	REST      string   // host:port of the control plane, "" if there is none
	Dialect   wire.Dialect
	// Hostile speaks for another app on the same nodes, with presence and with the
	// default rate of frames; of Fleetwire alone.
	Hostile wire.Fleetwire

	servers []*process // what holds the connections
	redis   []*process
}

// startAttempts bounds how often a system is started whose address another process took
// between being found free and being used.
const startAttempts = 5

// Start starts a system afresh, of so many nodes if its name ends in nodes. Stop it.
func (e *Env) Start(name string, nodes int) (s *System, err error) {
	for range startAttempts {
		if s, err = e.startOnce(name, nodes); err == nil || !strings.Contains(err.Error(), "ddress already in use") {
			break
		}
	}
	return s, err
}

func (e *Env) startOnce(name string, nodes int) (*System, error) {
	s := &System{Name: name}
	var err error
	switch name {
	case Fleetwire, FleetwireAOF, Embedded:
		err = e.startFleetwire(s, 1)
	case Nodes, Cluster:
		err = e.startFleetwire(s, nodes)
	case NATS, NATS215, JetStream:
		err = e.startNATS(s, 1)
	case NATSNodes:
		err = e.startNATS(s, nodes)
	case Centrifugo:
		err = e.startCentrifugo(s, 1)
	case CentrifugoNodes:
		err = e.startCentrifugo(s, nodes)
	case Mosquitto:
		err = e.startMosquitto(s)
	case Floor:
		err = e.startFloor(s)
	default:
		err = fmt.Errorf("no system is called %q", name)
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (e *Env) startFleetwire(s *System, nodes int) error {
	a, err := freeAddresses(2 * nodes)
	if err != nil {
		return err
	}
	args := []string{"-apps", e.apps}
	redis := ""
	switch s.Name {
	case Embedded:
	case Cluster:
		redis, err = e.startCluster(s)
	case FleetwireAOF:
		redis, err = e.startRedis(s, "--appendonly", "yes", "--appendfsync", "everysec")
	default:
		redis, err = e.startRedis(s)
	}
	if err != nil {
		return err
	}
	if redis != "" {
		args = append(args, "-redis", "redis://"+redis)
	}
	s.Dialect, s.Hostile = wire.Fleetwire{Key: e.key}, wire.Fleetwire{Key: e.hostile}
	program := "localdev"
	s.Addresses, s.REST = a[:nodes], a[0]
	if s.Name == Nodes || s.Name == Cluster {
		program, args = "fanout", append(args, "-control-plane")
	}
	for i, address := range s.Addresses {
		ops := a[nodes+i]
		p, err := e.startNode(s, []string{address, ops}, filepath.Join(e.Dir, program), append([]string{"-listen", address, "-ops", ops}, args...)...)
		if err != nil {
			return err
		}
		if err := p.awaitReady("http://" + ops + "/readyz"); err != nil {
			return err
		}
	}
	return nil
}

// startRedis starts a Redis that the system has for itself, and returns its address.
func (e *Env) startRedis(s *System, args ...string) (address string, err error) {
	if address, err = freeAddress(); err != nil {
		return "", err
	}
	dir := filepath.Join(e.Dir, "redis-"+port(address))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	p, err := e.start("redis", []string{address}, find("redis-server"), append([]string{"--port", port(address), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir}, args...)...)
	if err == nil {
		s.redis = append(s.redis, p)
	}
	return address, err
}

// startCluster starts a Redis Cluster of three masters, and returns their addresses,
// separated by commas.
func (e *Env) startCluster(s *System) (addresses string, err error) {
	var all []string
	for range 3 {
		bus, err := freeAddress()
		if err != nil {
			return "", err
		}
		address, err := e.startRedis(s, "--cluster-enabled", "yes", "--cluster-port", port(bus))
		if err != nil {
			return "", err
		}
		all = append(all, address)
	}
	if out, err := exec.Command(find("redis-cli"), append([]string{"--cluster-yes", "--cluster", "create"}, all...)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("redis-cli --cluster create: %w\n%s", err, out)
	}
	return strings.Join(all, ","), nil
}

// startNode starts one of the processes that hold the system's connections.
func (e *Env) startNode(s *System, addresses []string, program string, args ...string) (*process, error) {
	p, err := e.start(s.Name, addresses, program, args...)
	if err == nil {
		s.servers = append(s.servers, p)
	}
	return p, err
}

func (e *Env) startFloor(s *System) error {
	a, err := freeAddress()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s.Dialect, s.Addresses = wire.Floor{}, []string{a}
	_, err = e.startNode(s, s.Addresses, self, "floor", a)
	return err
}

// Stop ends all processes of the system.
func (s *System) Stop() {
	for _, p := range s.processes() {
		p.stop()
	}
}

func (s *System) processes() []*process {
	return slices.Concat(s.servers, s.redis)
}

// CPU is what the servers have used so far, and what Redis has.
func (s *System) CPU() (servers, redis time.Duration, err error) {
	return both(s, (*process).cpu)
}

// Memory is what is resident of the servers and of Redis, in bytes.
func (s *System) Memory() (servers, redis int64, err error) {
	return both(s, (*process).rss)
}

// both adds up a figure of the servers, and of all that is Redis.
func both[F time.Duration | int64](s *System, of func(*process) (F, error)) (servers, redis F, err error) {
	add := func(all []*process) (sum F) {
		for _, p := range all {
			one, failed := of(p)
			err = cmp.Or(err, failed)
			sum += one
		}
		return sum
	}
	servers, redis = add(s.servers), add(s.redis)
	return servers, redis, err
}

// Died says what a process of the system that has ended by itself printed last.
func (s *System) Died() error {
	for _, p := range s.processes() {
		if !p.running() {
			return fmt.Errorf("%s ended by itself (%v); it said: %s", filepath.Base(p.cmd.Path), p.cmd.ProcessState, p.lastWords())
		}
	}
	return nil
}

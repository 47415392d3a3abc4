//go:build linux

package system

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"fleetwire/bench/internal/wire"
)

// Names of the systems.
const (
	Fleetwire = "fleetwire" // REST and a node in one process, on a Redis
	Embedded  = "embedded"  // the same on the Redis inside the process
	Nodes     = "nodes"     // two nodes on a Redis
	NATS      = "nats"
	Mosquitto = "mosquitto"
	Floor     = "floor"
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
	redis   *process   // nil: there is none
}

// programs are what has to be installed for each system.
var programs = map[string]string{Fleetwire: "redis-server", Nodes: "redis-server", NATS: "nats-server", Mosquitto: "mosquitto"}

// Absent says why a system cannot be measured on this machine, or "".
func Absent(name string) string {
	program, needed := programs[name]
	if !needed || find(program) != "" {
		return ""
	}
	return program + " is not installed"
}

// find looks where Debian puts servers, too: /usr/sbin is not in everyone's PATH.
func find(program string) string {
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	if path := filepath.Join("/usr/sbin", program); exec.Command(path, "-h").Path != "" {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// Start starts a system afresh. Stop it.
func (e *Env) Start(name string) (*System, error) {
	s := &System{Name: name}
	var err error
	switch name {
	case Fleetwire, Embedded, Nodes:
		err = e.startFleetwire(s)
	case NATS:
		err = e.startNATS(s)
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

func (e *Env) startFleetwire(s *System) error {
	a, err := freeAddresses(5)
	if err != nil {
		return err
	}
	args := []string{"-apps", e.apps}
	if s.Name != Embedded {
		s.redis, err = e.start("redis", a[:1], find(programs[Fleetwire]), "--port", port(a[0]), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", e.Dir)
		if err != nil {
			return err
		}
		args = append(args, "-redis", "redis://"+a[0])
	}
	s.Dialect, s.Hostile = wire.Fleetwire{Key: e.key}, wire.Fleetwire{Key: e.hostile}
	program := "localdev"
	s.Addresses, s.REST = a[1:2], a[1]
	if s.Name == Nodes {
		program, s.Addresses, s.REST = "fanout", a[1:3], ""
	}
	for i, address := range s.Addresses {
		ops := a[3+i]
		p, err := e.start(s.Name, []string{address, ops}, filepath.Join(e.Dir, program), append([]string{"-listen", address, "-ops", ops}, args...)...)
		if err != nil {
			return err
		}
		s.servers = append(s.servers, p)
		if err := p.awaitReady("http://" + ops + "/readyz"); err != nil {
			return err
		}
	}
	return nil
}

func (e *Env) startNATS(s *System) error {
	a, err := freeAddresses(2)
	if err != nil {
		return err
	}
	config := filepath.Join(e.Dir, "nats.conf")
	text := fmt.Sprintf("listen: %q\nmax_connections: 1000000\nwebsocket { listen: %q, no_tls: true, compression: false }\n", a[0], a[1])
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	return e.startAlone(s, wire.NATS{}, a[1], find(programs[NATS]), "-c", config)
}

func (e *Env) startMosquitto(s *System) error {
	a, err := freeAddresses(2)
	if err != nil {
		return err
	}
	config := filepath.Join(e.Dir, "mosquitto.conf")
	text := fmt.Sprintf(`user %s
log_type error
log_dest stderr
persistence false
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_queued_bytes 0
max_inflight_messages 0
listener %s 127.0.0.1
listener %s 127.0.0.1
protocol websockets
max_connections -1
`, userName(), port(a[0]), port(a[1])) // the first only because 2.0.11 does not start without one for bare MQTT
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	return e.startAlone(s, wire.MQTT{}, a[1], find(programs[Mosquitto]), "-c", config)
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
	return e.startAlone(s, wire.Floor{}, a, self, "floor", a)
}

func (e *Env) startAlone(s *System, dialect wire.Dialect, address, program string, args ...string) error {
	p, err := e.start(s.Name, []string{address}, program, args...)
	if err != nil {
		return err
	}
	s.Dialect, s.Addresses, s.servers = dialect, []string{address}, []*process{p}
	return nil
}

// Stop ends all processes of the system.
func (s *System) Stop() {
	for _, p := range s.processes() {
		p.stop()
	}
}

func (s *System) processes() []*process {
	if s.redis == nil {
		return s.servers
	}
	return append(s.servers[:len(s.servers):len(s.servers)], s.redis)
}

// CPU is what the servers have used so far, and what Redis has.
func (s *System) CPU() (servers, redis time.Duration, err error) {
	for _, p := range s.servers {
		used, err := p.cpu()
		if err != nil {
			return 0, 0, err
		}
		servers += used
	}
	if s.redis != nil {
		redis, err = s.redis.cpu()
	}
	return servers, redis, err
}

// Memory is what is resident of the servers and of Redis, in bytes.
func (s *System) Memory() (servers, redis int64, err error) {
	for _, p := range s.servers {
		n, err := p.rss()
		if err != nil {
			return 0, 0, err
		}
		servers += n
	}
	if s.redis != nil {
		redis, err = s.redis.rss()
	}
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

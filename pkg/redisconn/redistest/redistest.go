// Package redistest gives tests a Redis of their own: a real redis-server on a
// free port, or a miniredis in the process. Both end with the test.
package redistest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/embedded"
	"fleetwire/pkg/redisconn"
)

// Server is a redis-server process of the test's own.
type Server struct {
	t       testing.TB
	port    int
	process *exec.Cmd
	exited  <-chan struct{} // closed when the process has ended
	letGo   func()          // of the port of a server that was stopped
	frozen  bool
	secured *secured      // nil: without TLS
	user    *url.Userinfo // the only one that the server lets in; nil: everybody
	cluster bool
	nodes   *Cluster  // whose node it is, or nil
	bus     int       // the port of a cluster's node for other nodes
	follows *Server   // of a replica: the primary
	watches *Sentinel // of a Sentinel
	dir     string    // where it keeps what it saves
	appends bool      // it writes each change to a file
	links   *Links    // what leads to it; nil: it is reached itself
	gate    *Proxy    // of links
	inner   int       // the port behind the gate
	env     []string
}

// Start starts a redis-server that keeps nothing on disk. Where there is none to
// start, the test is skipped, and says how to get it.
func Start(t testing.TB) *Server {
	t.Helper()
	return started(t, &Server{})
}

// StartCluster starts a Redis Cluster of one master, which has all slots. It refuses
// what a larger one would: scripts with a shebang line (#!lua) that touch keys in
// several slots, declared or not.
func StartCluster(t testing.TB) *Server {
	t.Helper()
	return StartClusterOf(t, 1, 0).Nodes[0]
}

// StartWith is Start with variables NAME=VALUE in the server's environment.
func StartWith(t testing.TB, env ...string) *Server {
	t.Helper()
	return started(t, &Server{env: env})
}

// StartAppending is Start of a server that writes each change to an append-only file before it
// answers: Resume after Stop has all data. (Without appendfsync always it may not write for up to
// 2 s while the disk is slow.)
func StartAppending(t testing.TB) *Server {
	t.Helper()
	return started(t, &Server{appends: true})
}

func needServer(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("SKIPPED: needs redis-server ≥ 7.0.9 (make test installs it where it may; else: apt-get install redis-server, or brew install redis)")
	}
}

func started(t testing.TB, s *Server) *Server {
	t.Helper()
	needServer(t)
	s.t = t
	t.Cleanup(func() { s.kill(); s.leavePort() })
	// Other tests look for a free port at the same time.
	for range 5 {
		if s.port = freePort(t); s.cluster {
			s.bus = freePort(t)
		}
		if s.links != nil {
			s.inner = freePort(t)
		}
		if err := s.launch(); err == nil {
			return s
		}
	}
	s.Restart()
	return s
}

// Restart starts the server again, empty and on the same port, and waits until
// it answers.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.launch(); err != nil {
		s.t.Fatal(err)
	}
}

// RestartWithData is Restart with the data that the server had.
func (s *Server) RestartWithData() {
	s.t.Helper()
	if err := s.Client().Save(context.Background()).Err(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.launchIn(s.dir); err != nil {
		s.t.Fatal(err)
	}
}

// Resume starts a server again where it was: with what it has saved or appended, by default
// nothing. A node of a cluster knows which one it is.
func (s *Server) Resume() {
	s.t.Helper()
	if err := s.launchIn(s.dir); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) launch() error { return s.launchIn(s.t.TempDir()) }

func (s *Server) launchIn(dir string) error {
	s.kill()
	s.dir = dir
	args, err := s.arguments()
	if err != nil {
		return err
	}
	s.leavePort()
	s.process = exec.Command("redis-server", args...)
	s.process.Env = append(os.Environ(), s.env...)
	if s.exited, err = StartChild(s.process); err != nil {
		s.process = nil
		return fmt.Errorf("redis-server does not start: %w", err)
	}
	opt := s.options()
	if s.links != nil {
		opt.Addr = "127.0.0.1:" + strconv.Itoa(s.inner)
	}
	opt.MaxRetries, opt.MinRetryBackoff, opt.MaxRetryBackoff = 200, 10*time.Millisecond, 50*time.Millisecond
	rdb := redis.NewClient(opt)
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	info, err := rdb.Info(ctx, "server").Result()
	if err != nil {
		return fmt.Errorf("redis-server does not answer: %w", err)
	}
	if !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.process.Process.Pid)) {
		return fmt.Errorf("another redis-server has taken port %d", s.port)
	}
	if s.links != nil {
		s.gate, err = s.links.open(s.port, s.inner)
	}
	return err
}

// arguments are those of the process.
func (s *Server) arguments() ([]string, error) {
	if s.watches != nil {
		return s.sentinelArguments()
	}
	args := []string{"--port", strconv.Itoa(s.port)}
	if s.links != nil {
		args = []string{"--port", strconv.Itoa(s.inner), "--replica-announce-port", strconv.Itoa(s.port)}
	}
	if s.secured != nil {
		args = append(s.secured.arguments(s.port), "--tls-replication", "yes")
	}
	if s.cluster {
		args = append(args, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(s.bus), "--cluster-node-timeout", s.nodes.nodeTimeout(),
			"--cluster-replica-validity-factor", "0", "--cluster-announce-port", strconv.Itoa(s.port), "--cluster-announce-bus-port", strconv.Itoa(s.bus))
		if s.secured != nil {
			args = append(args, "--tls-cluster", "yes")
		}
	}
	if s.follows != nil {
		args = append(args, "--replicaof", "127.0.0.1", strconv.Itoa(s.follows.port))
	}
	if s.user != nil {
		password, _ := s.user.Password()
		args = append(args, "--masteruser", s.user.Username(), "--masterauth", password,
			"--user", s.user.Username(), "on", ">"+password, "~*", "&*", "+@all", "--user", "default", "off")
	}
	appends := map[bool]string{false: "no", true: "yes"}[s.appends]
	return append(args, "--repl-diskless-sync-delay", "0", "--bind", "127.0.0.1",
		"--save", "", "--appendonly", appends, "--appendfsync", "always", "--daemonize", "no", "--dir", s.dir), nil
}

// options are those of a client that sees to the server, whatever its form is.
func (s *Server) options() *redis.Options {
	opt := &redis.Options{Addr: s.Addr(), Protocol: 2, MaxRetries: -1, DisableIdentity: true, ContextTimeoutEnabled: true}
	if s.secured != nil {
		opt.TLSConfig = s.secured.admin
	}
	if s.user != nil {
		opt.Username = s.user.Username()
		opt.Password, _ = s.user.Password()
	}
	return opt
}

// Stop kills the server, as a crash would.
func (s *Server) Stop() {
	s.nodes.hasten()
	s.kill()
}

func (s *Server) kill() {
	if s.gate != nil {
		s.links.shut(s.gate)
		s.gate = nil
	}
	if s.process != nil {
		_ = s.process.Process.Kill()
		<-s.exited
		s.process, s.frozen = nil, false
		s.letGo = holdPort(s.port)
		if s.cluster {
			port, bus := s.letGo, holdPort(s.bus)
			s.letGo = func() { port(); bus() }
		}
	}
}

func (s *Server) leavePort() {
	if s.letGo != nil {
		s.letGo()
		s.letGo = nil
	}
}

// Freeze stops the server from answering while its connections stay open, until
// Thaw: what a hung host looks like.
func (s *Server) Freeze() {
	s.nodes.hasten()
	s.frozen = true
	_ = s.process.Process.Signal(syscall.SIGSTOP)
}

// Thaw ends Freeze.
func (s *Server) Thaw() {
	s.frozen = false
	_ = s.process.Process.Signal(syscall.SIGCONT)
}

// Addr is host:port.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// URL is what -redis takes.
func (s *Server) URL() string {
	return s.scheme("redis") + s.Addr()
}

// scheme is what a URL begins with, and the user.
func (s *Server) scheme(of string) string {
	if s.secured != nil {
		of = strings.Replace(of, "redis", "rediss", 1)
	}
	if s.user != nil {
		return of + "://" + s.user.String() + "@"
	}
	return of + "://"
}

// TLS is what a client needs by rediss://.
func (s *Server) TLS() redisconn.TLS {
	if s.secured == nil {
		return redisconn.TLS{}
	}
	return s.secured.tls
}

// Client is a client of the server alone, closed with the test.
func (s *Server) Client() *redis.Client {
	if !s.cluster && s.watches == nil {
		return SecureClient(s.t, s.URL(), s.TLS())
	}
	rdb := redis.NewClient(s.options()) // which does not follow where a node of a cluster sends it
	rdb.AddHook(oneSlot{s.t})
	s.t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// Embedded starts an embedded Redis. Its clock stands still but for FastForward.
func Embedded(t testing.TB) (*embedded.Redis, *redis.Client) {
	t.Helper()
	m := embedded.New()
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m, Patient(Client(t, "redis://"+m.Addr()))
}

// Client opens a client of its own on the URL of one server, closed with the test. It fails
// the test if a script gets keys that a Redis Cluster would not have in one slot.
func Client(t testing.TB, url string) *redis.Client {
	t.Helper()
	return SecureClient(t, url, redisconn.TLS{})
}

// SecureClient is a Client by rediss://.
func SecureClient(t testing.TB, url string, security redisconn.TLS) *redis.Client {
	t.Helper()
	rdb, ok := Open(t, url, security).(*redis.Client)
	if !ok {
		t.Fatalf("%s is a cluster; open it with Open", url)
	}
	return rdb
}

// Open is a Client for any form of URL.
func Open(t testing.TB, url string, security redisconn.TLS) redis.UniversalClient {
	t.Helper()
	rdb, err := redisconn.Open(url, security)
	if err != nil {
		t.Fatal(err)
	}
	rdb.AddHook(oneSlot{t})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// FreePort is for a server that a test starts, and starts again on the same port.
func FreePort(t testing.TB) int {
	t.Helper()
	return freePort(t)
}

// freePort finds one below those that the system hands out by itself: there, a
// stopped server's port could be taken before it starts again.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port between 20000 and 32000")
	return 0
}

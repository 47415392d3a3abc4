package redistest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// PrimaryName is how the Sentinels of tests know their primary.
const PrimaryName = "mymaster"

// Guard is what servers ask of their clients.
type Guard struct {
	Authority *Authority // nil: they are without TLS; else they want client certificates
	// User is the only one of Redis, Sentinel of Sentinels. nil: everybody is let in.
	User, Sentinel *url.Userinfo
}

// redis makes a server ask that.
func (g Guard) redis(s *Server) *Server {
	s.user = g.User
	if g.Authority != nil {
		s.secured = g.Authority.secure(true, nil)
	}
	return s
}

// Sentinel is a primary with replicas, and three Sentinels that watch over them.
type Sentinel struct {
	t         testing.TB
	Servers   []*Server // the primary, as it was at the beginning, then its replicas
	Sentinels []*Server
	Links     *Links // to Servers, or nil
	guard     Guard
}

// StartSentinel starts a primary, replicas of it and three Sentinels, which replace a
// primary that does not answer in about a second.
func StartSentinel(t testing.TB, replicas int) *Sentinel {
	t.Helper()
	return StartGuardedSentinel(t, replicas, Guard{})
}

// StartGuardedSentinel is StartSentinel with TLS and users.
func StartGuardedSentinel(t testing.TB, replicas int, guard Guard) *Sentinel {
	t.Helper()
	return startSentinel(&Sentinel{t: t, guard: guard}, replicas)
}

// StartLinkedSentinel is StartSentinel with Links.
func StartLinkedSentinel(t testing.TB, replicas int) *Sentinel {
	t.Helper()
	return startSentinel(&Sentinel{t: t, Links: newLinks()}, replicas)
}

func startSentinel(s *Sentinel, replicas int) *Sentinel {
	t, guard := s.t, s.guard
	t.Helper()
	s.Servers = append(s.Servers, started(t, guard.redis(&Server{links: s.Links})))
	for range replicas {
		s.Servers = append(s.Servers, started(t, guard.redis(&Server{follows: s.Servers[0], links: s.Links})))
	}
	for range 3 {
		one := guard.redis(&Server{watches: s})
		one.user = guard.Sentinel
		s.Sentinels = append(s.Sentinels, started(t, one))
	}
	for _, one := range s.Sentinels {
		s.hasten(one)
	}
	s.Settled()
	return s
}

// sentinelArguments are those of the process of a Sentinel, which keeps what it
// learns in its configuration file.
func (s *Server) sentinelArguments() ([]string, error) {
	path := filepath.Join(s.dir, "sentinel.conf")
	arguments := []string{path, "--sentinel"}
	if _, err := os.Stat(path); err == nil {
		return arguments, nil
	}
	var lines []string
	line := func(words ...any) {
		for i, w := range words {
			words[i] = strconv.Quote(fmt.Sprint(w))
		}
		lines = append(lines, fmt.Sprintln(words...))
	}
	line("bind", "127.0.0.1")
	line("dir", s.dir)
	if s.secured == nil {
		line("port", s.port)
	} else {
		given := append(s.secured.arguments(s.port), "--tls-replication", "yes")
		for i := 0; i < len(given); i += 2 {
			line(strings.TrimPrefix(given[i], "--"), given[i+1])
		}
	}
	if s.user != nil {
		password, _ := s.user.Password()
		line("user", s.user.Username(), "on", ">"+password, "allchannels", "+@all")
		line("user", "default", "off")
		line("sentinel", "sentinel-user", s.user.Username())
		line("sentinel", "sentinel-pass", password)
	}
	line("sentinel", "monitor", PrimaryName, "127.0.0.1", s.watches.Servers[0].port, 2)
	downAfter := 300
	if s.watches.Links != nil {
		downAfter = 1000 // what leads to the primary is a program, which may have to wait for its turn
	}
	line("sentinel", "down-after-milliseconds", PrimaryName, downAfter)
	line("sentinel", "failover-timeout", PrimaryName, 2000) // twice that passes between two failovers
	if user := s.watches.guard.User; user != nil {
		password, _ := user.Password()
		line("sentinel", "auth-user", PrimaryName, user.Username())
		line("sentinel", "auth-pass", PrimaryName, password)
	}
	return arguments, os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600)
}

// hasten has a Sentinel look often, so that failovers are quick. It must not be too often: a
// replica of which a Sentinel has not heard for five pings, or three times what it asks for
// information, does not become the primary.
func (s *Sentinel) hasten(one *Server) {
	s.t.Helper()
	args := []any{"SENTINEL", "DEBUG"}
	for _, period := range []string{"info", "ping", "ask", "publish", "min-link-reconnect"} {
		args = append(args, period+"-period", 200)
	}
	s.must(one.Client().Do(context.Background(), args...).Err())
}

// Resume starts a Sentinel that was stopped again.
func (s *Sentinel) Resume(one *Server) {
	s.t.Helper()
	one.Resume()
	s.hasten(one)
}

// URL is what -redis takes.
func (s *Sentinel) URL() string {
	addresses := make([]string, len(s.Sentinels))
	for i, one := range s.Sentinels {
		addresses[i] = one.Addr()
	}
	shown := s.Servers[0].scheme("redis+sentinel") + strings.Join(addresses, ",") + "/" + PrimaryName
	if user := s.guard.Sentinel; user != nil {
		password, _ := user.Password()
		shown += "?" + url.Values{"sentinel_user": {user.Username()}, "sentinel_password": {password}}.Encode()
	}
	return shown
}

// Client is a client of the primary that the Sentinels name, closed with the test.
func (s *Sentinel) Client() *redis.Client {
	s.t.Helper()
	return SecureClient(s.t, s.URL(), s.Servers[0].TLS())
}

// Settled waits until all Sentinels that run agree on a primary, and all replicas that run
// follow it. It returns the primary.
func (s *Sentinel) Settled() (primary *Server) {
	s.t.Helper()
	Eventually(s.t, clusterPatience, "the Sentinels and replicas agree", func() bool {
		primary = s.Primary()
		return primary != nil && s.agree() && s.follow(primary)
	})
	return primary
}

// Primary is the one that all Sentinels that run name, nil if there is none.
func (s *Sentinel) Primary() *Server {
	var named []string
	for _, one := range running(s.Sentinels) {
		rdb := redis.NewClient(one.options())
		addr, err := rdb.Do(context.Background(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", PrimaryName).StringSlice()
		_ = rdb.Close()
		if err != nil || len(addr) != 2 {
			return nil
		}
		named = append(named, addr[0]+":"+addr[1])
	}
	if named = slices.Compact(named); len(named) != 1 {
		return nil
	}
	i := slices.IndexFunc(s.Servers, func(one *Server) bool { return one.Addr() == named[0] })
	if i < 0 {
		return nil
	}
	return s.Servers[i]
}

// agree says whether all Sentinels see all of each other, and all replicas.
func (s *Sentinel) agree() bool {
	for _, one := range running(s.Sentinels) {
		client := redis.NewSentinelClient(one.options())
		sees, err := client.Master(context.Background(), PrimaryName).Result()
		_ = client.Close()
		if err != nil || sees["flags"] != "master" || sees["num-other-sentinels"] != "2" || sees["num-slaves"] != strconv.Itoa(len(s.Servers)-1) {
			return false
		}
	}
	return true
}

// follow says whether all servers but the primary are replicas that have a connection to it.
func (s *Sentinel) follow(primary *Server) bool {
	for _, one := range running(s.Servers) {
		rdb := redis.NewClient(one.options())
		replication := rdb.Info(context.Background(), "replication").Val()
		_ = rdb.Close()
		master := strings.Contains(replication, "role:master")
		if isPrimary := one == primary; master != isPrimary || !master && !strings.Contains(replication, "master_link_status:up") {
			return false
		}
	}
	return true
}

func running(all []*Server) (some []*Server) {
	for _, one := range all {
		if one.process != nil && !one.frozen {
			some = append(some, one)
		}
	}
	return some
}

// Failover has a replica take the primary's place, as planned maintenance does, and returns
// it when all Sentinels name it.
func (s *Sentinel) Failover() *Server {
	s.t.Helper()
	old := s.Primary()
	one := running(s.Sentinels)[0].Client()
	var asked time.Time
	Eventually(s.t, clusterPatience, "a replica is the primary", func() (done bool) {
		// Not just after another; and on a busy machine Sentinels give one up.
		if time.Since(asked) > 3*time.Second && s.Primary() == old && one.Do(context.Background(), "SENTINEL", "FAILOVER", PrimaryName).Err() == nil {
			asked = time.Now()
		}
		primary := s.Primary()
		return primary != nil && primary != old
	})
	return s.Replaced(old)
}

// Kill kills the primary, and returns the one that takes its place when all Sentinels name it.
func (s *Sentinel) Kill() *Server {
	s.t.Helper()
	old := s.Primary()
	old.Stop()
	return s.Replaced(old)
}

// Freeze has the primary hang with its connections open, and returns the one that takes its
// place when all Sentinels name it.
func (s *Sentinel) Freeze() *Server {
	s.t.Helper()
	old := s.Primary()
	old.Freeze()
	return s.Replaced(old)
}

// Replaced waits until all Sentinels that run name another primary.
func (s *Sentinel) Replaced(old *Server) (primary *Server) {
	s.t.Helper()
	Eventually(s.t, clusterPatience, "another server is the primary", func() bool {
		primary = s.Primary()
		return primary != nil && primary != old
	})
	return primary
}

func (s *Sentinel) must(err error) {
	s.t.Helper()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatal(err)
	}
}

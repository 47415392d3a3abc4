package receiver_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/fanout/internal/receiver"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	_, rdb := redistest.Embedded(t)
	if err := receiver.Check(t.Context(), rdb, rediskeys.Namespace{}); err != nil {
		t.Error(err)
	}
	server := redistest.Start(t)
	for said, fine := range map[string]bool{
		"6.2.14": false, "7.0.0": false, "7.0.8": false, "7.0.9": true, "7.0.15": true, "7.2.0": true, "8.1.0": true, "10.0.0": true,
		"255.255.255": true, "unstable": true, "": true,
	} {
		other := server.Client()
		other.AddHook(version(said))
		want := "this Redis is version " + said + "; Fleetwire needs 7.0.9 or later, or Valkey (older versions hang on some patterns: CVE-2022-36021)"
		switch err := receiver.Check(t.Context(), other, rediskeys.Namespace{}); {
		case fine && err != nil:
			t.Errorf("version %q: %v", said, err)
		case !fine && (err == nil || err.Error() != want):
			t.Errorf("version %q: %v, want %s", said, err, want)
		}
	}
	rdb = server.Client()
	if err := receiver.Check(t.Context(), rdb, rediskeys.Namespace{}); err != nil {
		t.Error(err)
	}
	server.Freeze()
	checked := make(chan error, 1)
	go func() { checked <- receiver.Check(t.Context(), rdb, rediskeys.Namespace{}) }()
	redistest.Eventually(t, 4*time.Second, "a Redis that hangs is given up", func() bool { return len(checked) > 0 })
	if err := <-checked; err == nil {
		t.Error("a Redis that hangs is taken for one that works")
	}
}

// version is a hook that has Redis say that it is of a version.
type version string

func (v version) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if c, ok := cmd.(*redis.Cmd); ok && err == nil && c.Name() == "hello" {
			list := c.Val().([]any)
			list[1+slices.Index(list, any("version"))] = string(v)
		}
		return err
	}
}
func (version) DialHook(next redis.DialHook) redis.DialHook { return next }
func (version) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestPasswordInConnectErrors: the errors of a connection do not show it.
func TestPasswordInConnectErrors(t *testing.T) {
	t.Parallel()
	m, _ := redistest.Embedded(t)
	m.RequireUserAuth("user", "the right one")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	_ = l.Close()
	for name, addr := range map[string]string{"wrong password": m.Addr(), "nobody listens": free} {
		rdb := redistest.Client(t, "redis://user:hunter2secret@"+addr)
		if err := receiver.Check(t.Context(), rdb, rediskeys.Namespace{}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want an error without the password", name, err)
		}
	}
}

// refusing is a way in which a Redis that answers does not let a node work.
type refusing struct {
	name, words string
	begin, end  []string // commands of an administrator
	// live: connections that are open notice, too.
	live bool
}

// user is a user that may do all that a node does.
var user = []string{"acl", "setuser", "fw", "reset", "on", ">pw", "~fw:*", "&*", "+@all", "-@admin", "-@dangerous", "+info"}

var refusals = []refusing{
	{"no channels", "NOPERM", []string{"acl", "setuser", "fw", "resetchannels"}, user, true},
	{"no keys", "NOPERM", []string{"acl", "setuser", "fw", "resetkeys"}, user, true},
	{"no scripts", "NOPERM", []string{"acl", "setuser", "fw", "-@scripting"}, user, true},
	{"no writes", "NOPERM", []string{"acl", "setuser", "fw", "-@write"}, user, true},
	{"no PUBLISH", "NOPERM", []string{"acl", "setuser", "fw", "-publish"}, user, true},
	{"no SUBSCRIBE", "NOPERM", []string{"acl", "setuser", "fw", "-subscribe"}, user, true},
	{"another password", "WRONGPASS", []string{"acl", "setuser", "fw", "resetpass", ">other"}, user, false},
	{"switched off", "WRONGPASS", []string{"acl", "setuser", "fw", "off"}, user, false},
	{"NOREPLICAS", "NOREPLICAS", []string{"config", "set", "min-replicas-to-write", "1"}, []string{"config", "set", "min-replicas-to-write", "0"}, true},
	{"OOM", "OOM", []string{"config", "set", "maxmemory", "1"}, []string{"config", "set", "maxmemory", "0"}, true},
	{"a replica", "READONLY", []string{"replicaof", "127.0.0.1", "1"}, []string{"replicaof", "no", "one"}, true},
	{"too many clients", "max number of clients", []string{"config", "set", "maxclients", "1"}, []string{"config", "set", "maxclients", "1000"}, false},
}

// admin is the server's administrator, on one connection that stays open.
func admin(t *testing.T, server *redistest.Server) (do func(...string)) {
	t.Helper()
	c := server.Client().Conn()
	t.Cleanup(func() { _ = c.Close() })
	do = func(args ...string) {
		t.Helper()
		all := make([]any, len(args))
		for i, a := range args {
			all[i] = a
		}
		if err := c.Do(context.Background(), all...).Err(); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
	}
	do(user...)
	return do
}

func userURL(server *redistest.Server) string { return "redis://fw:pw@" + server.Addr() }

// A Redis that does not let a node work is refused at the start, with its words.
func TestCheckRefusals(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	do := admin(t, server)
	for _, r := range refusals {
		do(r.begin...)
		rdb := redistest.Client(t, userURL(server))
		if err := receiver.Check(t.Context(), rdb, rediskeys.Namespace{}); err == nil || !strings.Contains(err.Error(), r.words) {
			t.Errorf("%s: %v, want %s", r.name, err, r.words)
		}
		do(r.end...)
		if err := receiver.Check(t.Context(), rdb, rediskeys.Namespace{}); err != nil {
			t.Errorf("%s is over: %v", r.name, err)
		}
	}
}

// While it runs, a node notices within two seconds, says why, says it once, and
// works again within two seconds.
func TestRefusedWhileRunning(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	do := admin(t, server)
	p := startOn(t, redistest.Client(t, userURL(server)), "node")
	p.subscribed()
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			before := p.log.with("")
			do(r.begin...)
			if !r.live {
				do("client", "kill", "type", "normal", "skipme", "yes")
				do("client", "kill", "type", "pubsub")
			}
			redistest.Eventually(t, back, "the node knows why: "+r.words, func() bool { return strings.Contains(p.trouble(), r.words) })
			if p.Live() && p.health.Up() {
				t.Error("ready although Redis refuses")
			}
			if r.words != "NOPERM" { // else the link alone may be concerned
				redistest.Eventually(t, back, "Redis is not taken for healthy", func() bool { return !p.health.Up() })
			}
			do(r.end...)
			expectBack(t, p)
			if p.trouble() != "" {
				t.Errorf("trouble afterwards: %s", p.trouble())
			}
			if lines := p.log.with("") - before; lines > 8 {
				t.Errorf("%d lines in the log for one outage: %q", lines, p.log.lines[before:])
			}
		})
	}
}

// trouble is what an operator is shown.
func (p *process) trouble() string {
	text := p.health.Trouble()
	if err := p.Trouble(); err != nil {
		text += "; " + err.Error()
	}
	return text
}

// A script that never ends: Redis first says nothing, then BUSY.
func TestBusyRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	do := admin(t, server)
	do("config", "set", "busy-reply-threshold", "1")
	p := startOn(t, redistest.Client(t, userURL(server)), "node")
	p.subscribed()
	busy := make(chan error, 1)
	script := server.Client()
	go func() { busy <- script.Eval(context.Background(), "while true do end", nil).Err() }()
	redistest.Eventually(t, back, "the node knows why", func() bool { return strings.Contains(p.trouble(), "BUSY") })
	if err := receiver.Check(t.Context(), redistest.Client(t, userURL(server)), rediskeys.Namespace{}); err == nil || !strings.HasPrefix(err.Error(), "BUSY") {
		t.Errorf("Check: %v, want BUSY", err)
	}
	do("script", "kill")
	<-busy
	expectBack(t, p)
}

// While Redis fails over, a node is not ready from beginning to end, not only
// whenever it has just tried to write: a replica answers, but takes no writes.
func TestAReplicaIsNoRedis(t *testing.T) {
	t.Parallel()
	primary, replica := redistest.Start(t), redistest.Start(t)
	host, port, _ := strings.Cut(primary.Addr(), ":")
	p := startOn(t, replica.Client(), "node")
	do := admin(t, replica)
	do("replicaof", host, port)
	redistest.Eventually(t, gone, "down", func() bool { return !p.health.Up() })
	for range 50 {
		if p.health.Up() {
			t.Fatal("a replica counts as up")
		}
		if err := p.redis.Incr(t.Context(), "fw:x").Err(); err == nil || !redisconn.Unreachable(err) {
			t.Fatalf("a write to a replica: %v, want READONLY", err)
		}
	}
	if err := receiver.Check(t.Context(), p.redis, rediskeys.Namespace{}); err == nil || !redis.HasErrorPrefix(err, "READONLY") {
		t.Errorf("Check: %v, want READONLY", err)
	}
	do("replicaof", "no", "one")
	redistest.Eventually(t, gone, "up", p.health.Up)
	if err := receiver.Check(t.Context(), p.redis, rediskeys.Namespace{}); err != nil {
		t.Error(err)
	}
}

// The nodes of a cluster that has just been made wait for each other, and refuse meanwhile. A
// node that starts then waits, too, as it does while Redis loads its data.
func TestCheckOfANewCluster(t *testing.T) {
	t.Parallel()
	server := redistest.StartCluster(t)
	cluster, rdb := server.Client(), redistest.Open(t, server.URL(), redisconn.TLS{})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(cluster.ConfigSet(t.Context(), "cluster-require-full-coverage", "yes").Err())
	must(cluster.Do(t.Context(), "CLUSTER", "DELSLOTS", 16383).Err())
	redistest.Eventually(t, gone, "the cluster is down", func() bool {
		return redis.HasErrorPrefix(cluster.Set(t.Context(), "a", 1, 0).Err(), "CLUSTERDOWN")
	})
	checked := make(chan error, 1)
	must(cluster.ConfigResetStat(t.Context()).Err())
	go func() { checked <- receiver.Check(context.Background(), rdb, rediskeys.Namespace{}) }()
	redistest.Eventually(t, gone, "Check was refused, and has asked again", func() bool {
		select {
		case err := <-checked:
			t.Fatalf("Check does not wait for a cluster that is down: %v", err)
		default:
		}
		_, count, refused := strings.Cut(cluster.Info(t.Context(), "errorstats").Val(), "errorstat_CLUSTERDOWN:count=")
		return refused && !strings.HasPrefix(count, "1\r")
	})
	must(cluster.Do(t.Context(), "CLUSTER", "ADDSLOTS", 16383).Err())
	if err := <-checked; err != nil {
		t.Errorf("Check when the cluster is up: %v", err)
	}
}

package redisconn_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

// A client is at the new primary soon, whatever becomes of the old one.
func TestFailover(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t, 2)
	rdb := s.Client()
	writes := func(to *redistest.Server) {
		t.Helper()
		redistest.Eventually(t, 2*time.Second, "the new primary is written to", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return rdb.Set(ctx, "at", to.Addr(), 0).Err() == nil && to.Client().Get(ctx, "at").Val() == to.Addr()
		})
	}
	pubsub := rdb.Subscribe(t.Context(), "topic")
	defer pubsub.Close()
	if _, err := pubsub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	// left waits until the connection that is subscribed has ended.
	left := func(how string) {
		t.Helper()
		began := time.Now()
		for {
			if _, err := pubsub.ReceiveTimeout(redisconn.DialOnce(t.Context()), 2*time.Second); err != nil {
				break
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: the subscriber was at the old primary for %v", how, took)
		}
		_ = pubsub.Close()
		pubsub = rdb.Subscribe(t.Context(), "topic")
		if _, err := pubsub.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	writes(s.Primary())

	second := s.Failover()
	writes(second)
	left("planned")
	s.Settled()

	third := s.Freeze()
	writes(third)
	left("frozen")
	second.Thaw()
	s.Settled() // second is a replica
	writes(third)

	fourth := s.Kill()
	writes(fourth)
	left("killed")
	third.Resume()
	s.Settled()
	writes(fourth)
}

// Sentinels may hang or be gone: others are asked, and connections go on without any.
func TestSentinelsAreAway(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinel(t, 1)
	rdb := s.Client()
	works := func(when string) {
		t.Helper()
		own := redisconn.Own(rdb) // connects anew
		defer own.Close()
		for _, rdb := range []interface{ Err() error }{rdb.Set(t.Context(), "a", 1, 0), own.Set(t.Context(), "b", 1, 0)} {
			if err := rdb.Err(); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	works("all are there")
	for _, one := range s.Sentinels[:2] {
		one.Freeze()
		works("one more hangs")
	}
	for _, one := range s.Sentinels[:2] {
		one.Thaw()
	}
	s.Sentinels[0].Freeze()
	s.Kill() // found through the others
	redistest.Eventually(t, 2*time.Second, "the new primary is written to", func() bool { return rdb.Set(t.Context(), "a", 2, 0).Err() == nil })
	for _, one := range s.Sentinels {
		one.Stop()
	}
	works("all are gone")
	fresh := s.Client()
	if err := fresh.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "no Sentinel says") || !strings.Contains(err.Error(), `"mymaster"`) || !redisconn.NotSent(err) {
		t.Errorf("a new client: %v", err)
	}
}

func TestSentinelURLsThatLeadElsewhere(t *testing.T) {
	s := redistest.StartSentinel(t, 0)
	for given, want := range map[string]string{
		"redis://" + s.Sentinels[0].Addr():                                      "redis+sentinel://",
		"redis+sentinel://" + s.Servers[0].Addr() + "/mymaster":                 "is no Sentinel",
		"redis+sentinel://" + s.Sentinels[0].Addr() + "/yours":                  "knows none of that name",
		"redis://" + s.Sentinels[0].Addr() + "," + s.Sentinels[1].Addr():        "redis+sentinel://",
		"redis+sentinel://" + redistest.SharedCluster(t).Nodes[0].Addr() + "/m": "is no Sentinel",
	} {
		rdb := redistest.Open(t, given, redisconn.TLS{})
		if err := rdb.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", given, err, want)
		}
	}
}

// Users and certificates are asked for at each end, with passwords of all characters.
func TestGuarded(t *testing.T) {
	t.Parallel()
	a := redistest.NewAuthority(t)
	guard := redistest.Guard{Authority: a, User: url.UserPassword("fleet", "p@s,s/w#r%d?:[]"), Sentinel: url.UserPassword("watch", "&=+,/%41")}
	sentinel := redistest.StartGuardedSentinel(t, 1, guard)
	cluster := redistest.StartGuardedCluster(t, 3, 0, guard)
	for name, given := range map[string]string{"Sentinel": sentinel.URL(), "cluster": cluster.URL(), "one address of a cluster": cluster.Nodes[1].URL()} {
		security := sentinel.Servers[0].TLS()
		rdb := redistest.Open(t, given, security)
		for i := range 10 {
			if err := rdb.Set(t.Context(), fmt.Sprintf("{%d}", i), 1, 0).Err(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		wrong := strings.Replace(given, ":p", ":q", 1)
		for what, rdb := range map[string]redis.UniversalClient{
			"a wrong password":        redistest.Open(t, wrong, security),
			"without a client's cert": redistest.Open(t, given, redisconn.TLS{CA: security.CA}),
			"without the CA":          redistest.Open(t, given, redisconn.TLS{Cert: security.Cert, Key: security.Key}),
		} {
			err := rdb.Ping(t.Context()).Err()
			if err == nil {
				t.Errorf("%s, %s: it is let in", name, what)
			} else if strings.Contains(err.Error(), "w#r") || strings.Contains(err.Error(), "w%23r") {
				t.Errorf("%s, %s: the error shows the password: %v", name, what, err)
			}
		}
	}
	sentinel.Failover()
	rdb := sentinel.Client()
	redistest.Eventually(t, patience, "the new primary is written to", func() bool { return rdb.Set(t.Context(), "a", 2, 0).Err() == nil })
	without := strings.Replace(sentinel.URL(), "sentinel_password=", "sentinel_password=x", 1)
	if err := redistest.Open(t, without, sentinel.Servers[0].TLS()).Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("a wrong password for Sentinels: %v", err)
	}
}

// docs/operations.md says which rights a user needs: these, and no other.
func TestRightsThatFormsNeed(t *testing.T) {
	t.Parallel()
	allow := func(s *redistest.Server, rights ...any) {
		t.Helper()
		if err := s.Client().Do(t.Context(), append([]any{"ACL", "SETUSER", "limited", "reset", "on", ">word", "-@all"}, rights...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	s := redistest.StartSentinel(t, 0)
	c := redistest.StartClusterOf(t, 2, 0)
	for name, rights := range map[string][2][]any{
		"enough":          {{"+sentinel|get-master-addr-by-name", "+sentinel|master"}, {"+set", "~*", "+cluster|slots", "+asking"}},
		"one is missing":  {{"+sentinel|get-master-addr-by-name"}, {"+set", "~*", "+asking"}},
		"another missing": {{"+sentinel|master"}, {"~*", "+cluster|slots"}},
	} {
		for _, one := range s.Sentinels {
			allow(one, rights[0]...)
		}
		for _, one := range c.Nodes {
			allow(one, rights[1]...)
		}
		for _, url := range []string{s.URL() + "?sentinel_user=limited&sentinel_password=word", strings.Replace(c.URL(), "//", "//limited:word@", 1)} {
			rdb := redistest.Open(t, url, redisconn.TLS{})
			var failed error
			for i := range 20 {
				if err := rdb.Set(t.Context(), fmt.Sprintf("{%d}", i), 1, 0).Err(); err != nil {
					failed = err
				}
			}
			if (failed != nil) != (name != "enough") || failed != nil && !strings.Contains(failed.Error(), "NOPERM") {
				t.Errorf("%s, %s: %v", name, url, failed)
			}
		}
	}
}

package receiver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/channel"
	"fleetwire/fanout/internal/receiver"
	"fleetwire/pkg/redisconn/redistest"
)

// answered waits for what done is called with.
func answered(t *testing.T, answer <-chan error) error {
	t.Helper()
	redistest.Eventually(t, gone, "an answer", func() bool { return len(answer) > 0 })
	return <-answer
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func rejected(t *testing.T, rdb *redis.Client, command string) string {
	t.Helper()
	info, err := rdb.Info(context.Background(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":"); ok {
			_, n, _ := strings.Cut(rest, "rejected_calls=")
			n, _, _ = strings.Cut(n, ",")
			return n
		}
	}
	return "0"
}

// A user with access to our names alone may not PSUBSCRIBE: Redis wants the very
// pattern in its ACL. Who asks for a wildcard is told; nobody else notices.
func TestRefusedWildcard(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	do := admin(t, server)
	do("acl", "setuser", "fw", "resetchannels", "&fw:*")
	p := startOn(t, redistest.Client(t, userURL(server)), "node", patient)
	answer := make(chan error, 1)
	done := func(err error) { answer <- err }
	if err := p.SetSubscribers("app", "c", 1, done); err != nil {
		t.Fatal(err)
	}
	if err := answered(t, answer); err != nil {
		t.Fatal(err)
	}
	pattern, _ := channel.Compile("devices/*/events")
	for range 100 { // a client that asks again and again
		err := p.AddPattern("app", pattern, done)
		if err == nil {
			err = answered(t, answer)
			p.RemovePattern("app", pattern)
		}
		var refused *receiver.RefusedError
		if !errors.As(err, &refused) || !strings.HasPrefix(refused.Words, "NOPERM ") || !strings.Contains(refused.Error(), "(NOPERM)") || !strings.Contains(refused.Error(), "PSUBSCRIBE") {
			t.Fatalf("a wildcard that Redis refuses: %v", err)
		}
		if n, err := p.publish("c"); err != nil || n != 1 {
			t.Fatalf("a publish meanwhile reached %d (%v), want 1", n, err)
		}
	}
	redistest.Eventually(t, gone, "all messages have come in", func() bool { return p.received("c") == 100 })
	if !p.Live() || p.log.with(linkDown) > 0 || p.log.with("") > 1 {
		t.Errorf("live %v, log %q; want a live link, and one line", p.Live(), p.log.lines)
	}
	if n := rejected(t, server.Client(), "psubscribe"); n != "1" && n != "2" {
		t.Errorf("Redis was asked %s times in a second, want once", n)
	}
	do(user...)
	redistest.Eventually(t, gone, "it is asked again for who asks again", func() bool {
		err := p.AddPattern("app", pattern, done)
		if err == nil {
			err = answered(t, answer)
		}
		if err != nil && !errors.As(err, new(*receiver.RefusedError)) && !errors.Is(err, receiver.ErrDown) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// Redis refuses a command whole when one of its topics is refused, and does not
// say which: the others must be subscribed all the same.
func TestOneRefusedAmongMany(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	do := admin(t, server)
	p := startOn(t, redistest.Client(t, userURL(server)), "node", patient)
	p.subscribed()
	other := start(t, server, "other") // may do everything
	// From here on two of many topics are refused. The link is cut by Redis, and
	// what it had is asked for again.
	topics := []string{"acl", "setuser", "fw", "resetchannels", "&*:probe:*"}
	for _, name := range []string{"c", "ok0", "ok1", "ok2", "ok3"} {
		topics = append(topics, "&"+receiver.MessagesTopic("app", name))
	}
	do(topics...)
	redistest.Eventually(t, back, "Redis cuts the link", func() bool { return p.log.with(linkDown) == 1 })
	redistest.Eventually(t, back, "live again, without what is refused", p.Live)
	if refused := p.Refused(); !strings.Contains(refused, "refuses 2 of the subscriptions") || !strings.Contains(refused, "NOPERM ") {
		t.Errorf("an operator is told %q", refused)
	}
	answers := map[string]chan error{}
	names := []string{"ok0", "no0", "ok1", "ok2", "no1", "ok3"}
	for _, name := range names {
		answer := make(chan error, 1)
		answers[name] = answer
		if err := p.SetSubscribers("app", name, 1, func(err error) { answer <- err }); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		err := answered(t, answers[name])
		if refused := errors.As(err, new(*receiver.RefusedError)); refused != strings.HasPrefix(name, "no") || !refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i, name := range []string{"c", "ok0", "ok1", "ok2", "ok3"} {
		if _, err := other.publish(name); err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, gone, fmt.Sprint(name, " comes in ", i), func() bool { return p.received(name) == 1 })
	}
	do(user...)
	redistest.Eventually(t, 3*gone, "what was refused after the link was lost is subscribed without anybody asking", func() bool {
		return server.Client().PubSubNumPat(context.Background()).Val() == 1
	})
	redistest.Eventually(t, 3*gone, "nothing is refused any more", func() bool { return p.Refused() == "" })
	if p.log.with(linkDown) != 1 {
		t.Errorf("the link was lost %d times, want once, when the rights changed", p.log.with(linkDown))
	}
}

// TestLinkIsRenewedAtOnce: each millisecond without the link loses messages, so
// nothing pauses before it is made anew.
func TestLinkIsRenewedAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var dials attempts
	rdb := server.Client()
	rdb.AddHook(&dials)
	p := prepareOn(t, rdb, "node", patient)
	p.Pausing(func(_ context.Context, d time.Duration) { t.Errorf("a pause of %v before the link is made anew", d) })
	p.run()
	p.subscribed()
	warm(t, rdb)
	before := dials.Load()
	if err := server.Client().Do(t.Context(), "client", "kill", "type", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, gone, "the node notices", func() bool { return p.log.with(linkDown) == 1 })
	redistest.Eventually(t, gone, "the node is live again", p.Live)
	if n := dials.Load() - before; n != 1 {
		t.Errorf("%d connections were made for one link", n)
	}
}

// TestPublishedAndUnheard: the link answers pings, and Redis counts it among a
// probe's receivers, but no message comes through.
func TestPublishedAndUnheard(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr())
	p := startOn(t, redistest.Client(t, proxy.URL()), "node", patient)
	p.subscribed()
	message := regexp.MustCompile(`\*3\r\n\$7\r\nmessage\r\n\$\d+\r\n.*\r\n\$\d+\r\n.*\r\n`)
	proxy.Pass(nil, func(piece []byte) ([]byte, bool) { return message.ReplaceAll(piece, nil), false })
	p.ExpectProbesWithin(100 * time.Millisecond)
	redistest.Eventually(t, gone, "the node knows why", func() bool { return strings.Contains(p.trouble(), "its link delivered nothing") })
	if p.Live() || !p.health.Up() {
		t.Errorf("live %v, health %v; want a link that is not live, on a Redis that is", p.Live(), p.health.Up())
	}
	p.ExpectProbesWithin(time.Minute) // the next one comes in, however late
	proxy.Pass(nil, nil)
	expectBack(t, p)
	if down, up := p.log.with(linkDown), p.log.with("link to redis is up again"); down != 1 || up != 1 {
		t.Errorf("the log says %d times that the link is down and %d times that it is up again, want once each", down, up)
	}
}

// TestFailoverLeavesConnectionsOpen: what is published goes to the new primary,
// while the link leads to the old one, as behind a proxy or a virtual address.
func TestFailoverLeavesConnectionsOpen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		follow string // whom the old primary follows; "" the new one
	}{
		{"the old primary follows the new one", ""},
		{"the old primary never comes back", "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			old, promoted := redistest.Start(t), redistest.Start(t)
			proxy := redistest.NewProxy(t, old.Addr())
			p := startOn(t, redistest.Client(t, proxy.URL()), "node", patient)
			p.subscribed()
			proxy.Lead(promoted.Addr())
			host, port, _ := strings.Cut(promoted.Addr(), ":")
			if c.follow != "" {
				port = c.follow
			}
			if err := old.Client().Do(t.Context(), "replicaof", host, port).Err(); err != nil {
				t.Fatal(err)
			}
			redistest.Eventually(t, gone, "the node notices", func() bool { return p.log.with(linkDown) == 1 })
			expectBack(t, p)
			if n := p.log.with(linkDown); n != 1 {
				t.Errorf("the log says %d times that the link was down, want once", n)
			}
		})
	}
}

// TestLinkThatDeliversNothing: the subscription leads to a Redis that answers, and
// on which nobody publishes. Renewing it helps only once it leads elsewhere.
func TestLinkThatDeliversNothing(t *testing.T) {
	t.Parallel()
	server, other := redistest.Start(t), redistest.Start(t)
	p := start(t, server, "node", patient)
	p.subscribed()
	warm(t, p.redis.(*redis.Client))
	astray := &redirected{to: other.Addr()}
	p.redis.AddHook(astray)
	for round := range 2 {
		astray.on.Store(true)
		if err := server.Client().Do(t.Context(), "client", "kill", "type", "pubsub").Err(); err != nil {
			t.Fatal(err)
		}
		redistest.Eventually(t, 3*time.Second, "the node knows why", func() bool { return strings.Contains(p.trouble(), "another server") })
		before := astray.dials.Load()
		redistest.Eventually(t, gone, "it goes on trying", func() bool {
			if p.Live() {
				t.Fatal("live although nothing is delivered")
			}
			return astray.dials.Load() >= before+2
		})
		if !p.health.Up() {
			t.Error("publishes are refused although Redis takes them")
		}
		if err := p.SetSubscribers("app", "new", 1, func(error) {}); !errors.Is(err, receiver.ErrDown) {
			t.Errorf("a subscribe to what is not delivered: %v, want ErrDown", err)
		}
		if lines := p.log.with(linkDown); lines != round+1 {
			t.Errorf("the log says %d times that the link is down, want %d", lines, round+1)
		}
		astray.on.Store(false)
		expectBack(t, p)
		if lines := p.log.with("link to redis is up again"); lines != round+1 {
			t.Errorf("the log says %d times that the link is up again, want %d", lines, round+1)
		}
	}
}

// warm has the client hold connections enough for its commands.
func warm(t *testing.T, rdb *redis.Client) {
	t.Helper()
	for range 8 {
		c := rdb.Conn()
		defer c.Close()
		if err := c.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// redirected has a client's next connections lead elsewhere while it is on.
type redirected struct {
	to    string
	on    atomic.Bool
	dials atomic.Int64
}

func (r *redirected) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if r.on.Load() {
			r.dials.Add(1)
			addr = r.to
		}
		return next(ctx, network, addr)
	}
}
func (r *redirected) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (r *redirected) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

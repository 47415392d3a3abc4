package group_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/group"
	"fleetwire/pkg/redisconn/redistest"
)

func newService(t testing.TB, rdb redis.UniversalClient) *group.Service {
	s := group.NewService(group.Options{Redis: rdb, Keys: keys}, slog.New(slog.DiscardHandler))
	t.Cleanup(s.Close)
	return s
}

type pulled struct {
	got []group.Message
	err error
}

// wait has a consumer wait for messages.
func (p *process) wait(ctx context.Context, s *group.Service, consumer string, most time.Duration) <-chan pulled {
	done := make(chan pulled, 1)
	go func() {
		got, err := s.Wait(ctx, group.Pull{App: p.app, Group: p.group, Consumer: consumer, Max: 100, MaxBytes: 1 << 20}, "sk_a", most)
		done <- pulled{got, err}
	}()
	return done
}

// A pull that waits hears of messages, also where it has found none before.
func TestWait(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p, s := newProcess(t, rdb, ingest, ""), newService(t, rdb)
		for i := range 3 {
			began := time.Now()
			done := p.wait(ctx, s, "one", 20*time.Second)
			redistest.Eventually(t, 10*time.Second, "the wait is heard of", func() bool { return s.Waiting("app", "ingest") == 1 })
			p.mustPublish("a/1", "1")
			r := <-done
			if r.err != nil || shown(r.got) != "a/1=1" || time.Since(began) > 15*time.Second {
				t.Errorf("%d: got %q after %v, %v", i, shown(r.got), time.Since(began), r.err)
			}
			p.ack(r.got, true)
		}
		if r := <-p.wait(ctx, s, "one", time.Millisecond); r.err != nil || len(r.got) > 0 {
			t.Errorf("got %q, %v", shown(r.got), r.err)
		}
		gone, cancel := context.WithCancel(ctx)
		done := p.wait(gone, s, "one", time.Minute)
		redistest.Eventually(t, 10*time.Second, "it waits", func() bool { return s.Waiting("app", "ingest") == 1 })
		cancel()
		if r := <-done; r.err == nil {
			t.Error("a request that has ended went on")
		}
		done = p.wait(ctx, s, "one", time.Minute)
		redistest.Eventually(t, 10*time.Second, "it waits", func() bool { return s.Waiting("app", "ingest") == 1 })
		s.Drain()
		if r := <-done; r.err != nil || len(r.got) > 0 {
			t.Errorf("a drain: %q %v", shown(r.got), r.err)
		}
		if r := <-p.wait(ctx, s, "one", time.Minute); r.err != nil || len(r.got) > 0 {
			t.Errorf("after a drain: %q %v", shown(r.got), r.err)
		}
	})
}

// Those that wait hear of a message that can be delivered again at once, and of no other that
// is acknowledged or refused.
func TestNackWakes(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb, ingest, "")
		for _, channel := range []string{"a/1", "a/2", "a/3"} {
			p.mustPublish(channel, "1")
		}
		got := p.pull("one", 3)
		topic := keys.GroupTopic("app", "ingest")
		heard := rdb.Subscribe(ctx, topic)
		t.Cleanup(func() { _ = heard.Close() })
		if _, err := heard.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		p.ack(got[:1], true)
		p.nack(5*time.Second, got[1])
		p.nack(0, got[0]) // its lease is lost
		if err := rdb.Publish(ctx, topic, "mark").Err(); err != nil {
			t.Fatal(err)
		}
		p.nack(0, got[2])
		m, err := heard.ReceiveMessage(ctx)
		if _, cluster := rdb.(*redis.ClusterClient); cluster { // its nodes may pass on late that something was published
			for err == nil && m.Payload == "" {
				m, err = heard.ReceiveMessage(ctx)
			}
		}
		if err != nil || m.Payload != "mark" {
			t.Errorf("heard %v, %v before a message can be delivered again", m, err)
		}
		if m, err := heard.ReceiveMessage(ctx); err != nil || m.Payload != "" {
			t.Errorf("heard %v, %v, want that a message can be delivered again", m, err)
		}
	})
}

// A process that hears of a group is woken by messages, and by Wake.
func TestHear(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p, s := newProcess(t, rdb, ingest, ""), newService(t, rdb)
		woken, end := s.Hear("app", "ingest")
		<-woken // it is heard from now on
		p.mustPublish("a/1", "1")
		<-woken
		p.store.Wake(ctx, p.app, p.group)
		<-woken
		end()
		if n := s.Waiting("app", "ingest"); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

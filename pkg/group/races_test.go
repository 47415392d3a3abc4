package group_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/group"
	"fleetwire/pkg/redisconn/redistest"
)

// Publishers, ingesters that forget to acknowledge, and ingesters that acknowledge when their
// leases end, all at once: every message arrives, those that come for the first time in the
// order of their channels, and the counts are exact in the end.
func TestRacingIngesters(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		const publishers, ingesters, messages = 4, 4, 100
		const groups = `{"name":"ingest","patterns":["**"],"ackTimeoutSec":1,"maxDeliver":100}`
		one := newProcess(t, client(), groups, "")
		one.group.AckTimeout = 100 * time.Millisecond // a document has whole seconds
		ctx, cancel := context.WithCancel(ctx)
		var mu sync.Mutex
		arrived, first, acked, last := map[string]int{}, map[string]bool{}, map[string]bool{}, map[string]int64{}
		var all, publishing sync.WaitGroup
		for i := range publishers {
			p := newProcess(t, client(), groups, "")
			publishing.Go(func() {
				for n := range messages {
					p.mustPublish(fmt.Sprint("c/", i), fmt.Sprint(n+1))
				}
			})
		}
		for i := range ingesters {
			s := newService(t, client())
			all.Go(func() {
				for round := 0; ctx.Err() == nil; round++ {
					got, err := s.Wait(ctx, group.Pull{App: one.app, Group: one.group, Consumer: fmt.Sprint(i), Max: 7, MaxBytes: 1 << 20}, "sk_a", 50*time.Millisecond)
					if err != nil || len(got) == 0 {
						continue
					}
					var acks []string
					before := map[string]int64{} // the last one of each channel that came now, for the first time
					mu.Lock()
					for j, m := range got {
						at := m.Channel + "=" + string(m.Data)
						var n int64
						_, _ = fmt.Sscan(string(m.Data), &n)
						// An ingester that comes here after its lease has ended may find that another
						// has got the message again.
						overtaken := arrived[at] > 0 && !first[at]
						if m.Attempt == 1 {
							if first[at] || n <= before[m.Channel] || n != last[m.Channel]+1 && !overtaken {
								t.Errorf("%s comes behind %d, and %d of the same pull; it came for the first time before: %v", at, last[m.Channel], before[m.Channel], first[at])
							}
							first[at], before[m.Channel] = true, n
						}
						last[m.Channel] = max(last[m.Channel], n)
						arrived[at]++
						if (round+j)%9 != 0 { // the others are forgotten
							acks = append(acks, m.AckID)
						}
					}
					mu.Unlock()
					if len(acks) == 0 {
						continue
					}
					held, err := s.Ack(context.WithoutCancel(ctx), one.app, one.group, acks, nil)
					if err != nil {
						t.Error(err)
						continue
					}
					mu.Lock()
					for j, id := range acks {
						if held[j] && acked[id] {
							t.Errorf("%s was acknowledged twice", id)
						}
						acked[id] = acked[id] || held[j]
					}
					mu.Unlock()
				}
			})
		}
		publishing.Wait()
		redistest.Eventually(t, 60*time.Second, "everything is acknowledged", func() bool {
			mu.Lock()
			defer mu.Unlock()
			n := 0
			for _, ok := range acked {
				if ok {
					n++
				}
			}
			return n == publishers*messages
		})
		cancel()
		all.Wait()
		if len(arrived) != publishers*messages {
			t.Errorf("%d messages arrived", len(arrived))
		}
		one.wantState("lag 0 pending 0 dead 0 bytes 0 aged 0 overflow 0")
		if got := one.counted(); len(got) != 0 {
			t.Errorf("counted %v", got)
		}
	})
}

// However many race for the last room of a group, it is never over its maxBytes.
func TestRacingForRoom(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		const groups = `{"name":"ingest","patterns":["**"],"maxBytes":1048576}`
		one := newProcess(t, client(), groups, "")
		data := fmt.Sprintf(`"%030000d"`, 1)
		var mu sync.Mutex
		published := 0
		var all sync.WaitGroup
		for i := range 4 {
			p := newProcess(t, client(), groups, "")
			all.Go(func() {
				for n := range 15 {
					if p.publish(fmt.Sprint("c/", i, "/", n%3), data) == "" {
						mu.Lock()
						published++
						mu.Unlock()
					}
				}
			})
		}
		all.Wait()
		s := one.state()
		if each := s.Bytes / int64(published); s.Bytes > 1<<20 || s.Bytes+each <= 1<<20 || s.Lag != int64(published) || one.used() != published {
			t.Errorf("%d published and %d counted: %+v", published, one.used(), s)
		}
	})
}

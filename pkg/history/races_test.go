package history_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn/redistest"
)

// TestRacingRepetitions: of 1,000 repetitions of one publish, from three processes, one is
// published and counted, and all get its result.
func TestRacingRepetitions(t *testing.T) {
	redistest.BothClients(t, func(t *testing.T, client func() *redis.Client) {
		app := appOf(t, rules)
		var processes []*process
		for range 3 {
			processes = append(processes, newProcess(t, client(), app))
		}
		for _, channel := range []string{"one/a", "three/a", "elsewhere"} {
			before, _ := processes[0].rdb.Get(context.Background(), keys.MessageCount("app", period())).Int()
			heard := processes[0].rdb.Subscribe(context.Background(), keys.Topic(0, "app", channel))
			t.Cleanup(func() { _ = heard.Close() })
			if _, err := heard.Receive(context.Background()); err != nil {
				t.Fatal(err)
			}
			results := make(chan publish.Result, 1000)
			var all sync.WaitGroup
			for i := range 30 {
				all.Go(func() {
					p := processes[i%3]
					for n := i; n < 1000; n += 30 {
						m := p.message(channel, "1")
						m.IdempotencyKey = "k"
						results <- p.door.Publish(context.Background(), m)
					}
				})
			}
			all.Wait()
			close(results)
			var first publish.Result
			for r := range results {
				if r.Err != nil {
					t.Fatal(r.Err)
				}
				if first.Position == nil {
					first = r
				}
				if (r.Position == nil) != (channel == "elsewhere") || r.Position != nil && *r.Position != *first.Position {
					t.Fatalf("%s: %v and %v", channel, r.Position, first.Position)
				}
			}
			p := processes[0]
			if n, _ := p.rdb.Get(context.Background(), keys.MessageCount("app", period())).Int(); n != before+1 {
				t.Errorf("%s: counted %d", channel, n-before)
			}
			if channel != "elsewhere" {
				p.want(p.last(channel, 9), "1: 1=1")
			}
			p.rdb.Publish(context.Background(), keys.Topic(0, "app", channel), "end")
			for n := 0; ; n++ {
				m, err := heard.ReceiveMessage(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				if m.Payload == "end" {
					if n != 1 {
						t.Errorf("%s: delivered %d times", channel, n)
					}
					break
				}
			}
			other := p.message(channel, "2")
			other.IdempotencyKey = "k"
			if c := code(p.door.Publish(context.Background(), other)); c != protocol.IdempotencyConflict {
				t.Errorf("%s: another body gets %q", channel, c)
			}
			other = p.message(channel+"/other", "2")
			other.IdempotencyKey = "k"
			if r := p.door.Publish(context.Background(), other); r.Err != nil {
				t.Errorf("the same key in another channel: %v", r.Err)
			}
		}
	})
}

// A key is known for 10 minutes, whatever the channel remembers. A repetition does not prolong
// that.
func TestIdempotencyKeysExpire(t *testing.T) {
	clock, rdb := redistest.Clocked(t)
	p := newProcess(t, rdb, appOf(t, rules))
	for _, channel := range []string{"one/a", "three/a", "elsewhere"} {
		publish := func(data string) (result, counted string) {
			message := p.message(channel, data)
			message.IdempotencyKey = "k"
			r := p.door.Publish(context.Background(), message)
			n, _ := rdb.Get(context.Background(), keys.MessageCount("app", period())).Result()
			if r.Position != nil {
				return fmt.Sprint(r.Position.Offset), n
			}
			return string(code(r)), n
		}
		first, once := publish("1")
		clock.Pass(5 * time.Minute)
		if again, n := publish("1"); again != first || n != once {
			t.Errorf("%s after 5 minutes: %q with %s counted; want %q with %s", channel, again, n, first, once)
		}
		clock.Pass(5*time.Minute - time.Millisecond)
		if again, n := publish("1"); again != first || n != once {
			t.Errorf("%s after 10 minutes but for 1 ms: %q with %s counted; want %q with %s", channel, again, n, first, once)
		}
		if other, n := publish("2"); other != string(protocol.IdempotencyConflict) || n != once {
			t.Errorf("%s, another body: %q", channel, other)
		}
		clock.Pass(time.Millisecond)
		if next, n := publish("2"); n == once || channel != "elsewhere" && next != "2" {
			t.Errorf("%s after 10 minutes: %q with %s counted, as before", channel, next, n)
		}
	}
}

// A repetition is answered though the app has used all its messages, and takes no place of
// others.
func TestRepetitionAtTheCap(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		app := appOf(t, rules)
		app.Plan.MaxMessagesPerPeriod = 2
		p := newProcess(t, rdb, app)
		m := p.message("one/a", "1")
		m.IdempotencyKey = "k"
		for range 3 {
			if r := p.door.Publish(context.Background(), m); r.Err != nil || r.Position.Offset != 1 {
				t.Fatalf("%v %v", r.Err, r.Position)
			}
		}
		p.publish("one/a", "2")
		if r := p.door.Publish(context.Background(), m); r.Err != nil || r.Position.Offset != 1 {
			t.Errorf("at the cap: %v %v", r.Err, r.Position)
		}
		if c := code(p.door.Publish(context.Background(), p.message("one/a", "3"))); c != protocol.OverMessageQuota {
			t.Errorf("over the cap: %q", c)
		}
		over := p.message("one/a", "3")
		over.IdempotencyKey = "other"
		if c := code(p.door.Publish(context.Background(), over)); c != protocol.OverMessageQuota {
			t.Errorf("over the cap, with a key: %q", c)
		}
		app.Plan.MaxMessagesPerPeriod = 9
		if r := p.door.Publish(context.Background(), over); r.Err != nil {
			t.Errorf("a key whose message was refused is used up: %v", r.Err)
		}
		p.want(p.last("one/a", 9), "3: 3=3")
	})
}

// TestRacingWriters: of 30 writers that each publish what follows the newest message, one
// wins each version.
func TestRacingWriters(t *testing.T) {
	redistest.EverywhereClients(t, func(t *testing.T, client func() redis.UniversalClient) {
		app := appOf(t, `{"pattern":"one/*","size":1,"ttlSec":60},{"pattern":"many/*","size":1000,"ttlSec":60}`)
		var processes []*process
		for range 3 {
			processes = append(processes, newProcess(t, client(), app))
		}
		for _, channel := range []string{"one/a", "many/a"} {
			const versions = 20
			winners := make(chan uint64, 30*versions)
			var all sync.WaitGroup
			for i := range 30 {
				p := processes[i%3]
				at := p.read(readOf(channel)).Position
				all.Go(func() {
					for at.Offset < versions {
						m := p.message(channel, fmt.Sprint(at.Offset+1))
						m.IfOffset, m.IfEpoch = new(uint64), at.Epoch
						*m.IfOffset = at.Offset
						r := p.door.Publish(context.Background(), m)
						switch {
						case r.Err == nil:
							winners <- r.Position.Offset
						case r.Err.Code != protocol.OffsetMismatch:
							t.Error(r.Err)
							return
						case r.Current == nil || string(r.Current.Data) != fmt.Sprint(r.Position.Offset) || r.Current.Offset != r.Position.Offset:
							t.Errorf("at %v, the newest is %+v", r.Position, r.Current)
						}
						at = *r.Position
					}
				})
			}
			all.Wait()
			close(winners)
			won := map[uint64]int{}
			for v := range winners {
				won[v]++
			}
			for v := range uint64(versions) {
				if won[v+1] != 1 {
					t.Errorf("%s: version %d was won %d times", channel, v+1, won[v+1])
				}
			}
			if r := processes[0].last(channel, 1); len(won) != versions || r.Position.Offset != versions {
				t.Errorf("%s: %d versions, %s", channel, len(won), shown(r))
			}
		}
	})
}

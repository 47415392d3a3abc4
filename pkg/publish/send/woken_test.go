package send

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn/redistest"
)

// A master that hangs until its replica has taken over, and wakes up after the deadline of what
// it was sent meanwhile, publishes none of that: deliver.lua is late by its clock.
func TestWokenMasterPublishesNothingLate(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartClusterOf(t, 3, 1)
	c := newOnCluster(t, cluster.Client(), 1000)
	name := ""
	var master *redistest.Server
	for i := 0; master == nil || master == cluster.Master(c.batch().Counter.Key); i++ {
		name = fmt.Sprint("c/", i)
		master = cluster.Master(string(c.keys.Bucket("app", name)))
	}
	replica := cluster.Replica(master)
	topic := c.keys.Topic(envelope.KindMessages, "app", name)
	heard := make(chan string, 100)
	hear := func(on *redis.Client) {
		s := on.SSubscribe(context.Background(), topic)
		t.Cleanup(func() { _ = s.Close() })
		if _, err := s.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				m, err := s.ReceiveMessage(context.Background())
				if err != nil && strings.Contains(err.Error(), "closed") {
					return
				} else if err == nil {
					heard <- m.Payload
				}
			}
		}()
	}
	hear(master.Client())
	send := func(data string) *Outgoing {
		ctx, cancel := context.WithTimeout(t.Context(), publishTime)
		defer cancel()
		o := c.to(name, `"`+data+`"`)
		_ = c.Send(ctx, []Batch{c.batch(o)})
		return o
	}
	if o := send("before"); !o.Accepted {
		t.Fatalf("%+v", o)
	}

	master.Freeze()
	frozen := time.Now()
	if o := send("late"); !o.Unknown || o.Accepted {
		t.Errorf("sent to a master that hangs: %+v", o)
	}
	redistest.Eventually(t, 20*time.Second, "the replica is the master", func() bool {
		return strings.Contains(replica.Client().Info(t.Context(), "replication").Val(), "role:master")
	})
	if hung := time.Since(frozen); hung < publishTime {
		t.Fatalf("the master hung for %v alone", hung)
	}
	hear(replica.Client())
	master.Thaw()
	cluster.Settled()
	redistest.Eventually(t, 20*time.Second, "messages are accepted again", func() bool { return send("after").Accepted })
	for {
		payload := ""
		select {
		case payload = <-heard:
		case <-time.After(20 * time.Second):
			t.Fatal("the message after it did not come in")
		}
		if strings.Contains(payload, `"late`) {
			t.Errorf("came late: %s", payload)
		}
		if strings.Contains(payload, `"after"`) {
			return
		}
	}
}

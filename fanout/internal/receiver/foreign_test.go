package receiver

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

// TestForeignMessagesInRedis: they are dropped, and what follows arrives.
func TestForeignMessagesInRedis(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	log := slog.New(slog.DiscardHandler)
	r := New(Options{Redis: rdb, Health: redisconn.NewHealth(log), Log: log, Node: "node"})
	_ = r.setPattern(envelope.KindMessages, "app", "*", true, nil)
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan envelope.Delivery, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx, func(batch []envelope.Delivery) int {
			for _, d := range batch {
				got <- d
			}
			return len(batch)
		})
	}()
	defer func() {
		cancel()
		<-ended
	}()
	redistest.Eventually(t, 5*time.Second, "the link is up", r.Live)
	good := envelope.Encode(envelope.ID{Process: 1, Sequence: 2}, &envelope.Message{Channel: "c", From: "p", Data: []byte("1")})
	for _, e := range []string{"", "hello", "hello, this is a text that is longer than an envelope's header", "\x02" + string(good[1:]), string(good[:20])} {
		rdb.Publish(ctx, keys.Topic(envelope.KindMessages, "app", "c"), e)
	}
	for _, topic := range []string{"fw:0:msg:{app.021}:not the tag of this name", "fw:0:msg:{app.   }:c", "fw:0:msg:{app.021}:"} {
		if n := rdb.Publish(ctx, topic, good).Val(); n != 1 {
			t.Errorf("%s reaches %d subscribers, want the node", topic, n)
		}
	}
	rdb.Publish(ctx, keys.Topic(envelope.KindMessages, "app", "the end"), good)
	select {
	case d := <-got:
		if d.Channel != "the end" {
			t.Errorf("a message for %q of %q was delivered", d.Channel, d.App)
		}
	case <-time.After(5 * time.Second):
		t.Error("what came after the foreign messages was not delivered")
	}
}

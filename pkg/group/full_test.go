package group_test

import (
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// Ingesters can drain a Redis that is out of memory: they pull and acknowledge, and so make room in it.
func TestAFullRedisIsDrained(t *testing.T) {
	server := redistest.Start(t)
	p := newProcess(t, server.Client(), `{"name":"ingest","patterns":["a/*"]}`, "")
	for range 20 {
		p.mustPublish("a/1", `"full"`)
	}
	admin := server.Client()
	if err := admin.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	got := p.pull("c", 100)
	if len(got) != 20 {
		t.Fatalf("pulled %d of 20 messages", len(got))
	}
	p.ack(got[:10], true)
	for _, held := range p.nack(0, got[10:]...) {
		if !held {
			t.Error("a lease was lost")
		}
	}
	p.ack(p.pull("c", 100), true)
	if state := p.state(); state.Lag+state.Pending+state.Bytes != 0 {
		t.Errorf("the group has %+v", state)
	}
}

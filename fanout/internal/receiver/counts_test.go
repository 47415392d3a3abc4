package receiver

import (
	"context"
	"fmt"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

func (d *driver) renew(after time.Duration) {
	d.t.Helper()
	d.receiver.counts.renewed = time.Now().Add(-after)
	if err := d.receiver.tendCounts(context.Background()); err != nil {
		d.t.Fatal(err)
	}
	d.settle()
}

// TestRenewal: a living node's counts outlive any number of leases.
func TestRenewal(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	names := make([]string, 300) // several to a bucket
	for i := range names {
		names[i] = fmt.Sprint("c", i)
		d.set(names[i], i+1, nil)
	}
	d.settle()
	for range 5 {
		m.FastForward(countsRenewal)
		d.renew(countsRenewal)
		expectLeases(t, rdb)
	}
	for i, name := range names {
		if got := d.subscribers(name); got != i+1 {
			t.Errorf("%s has %d subscribers, want %d", name, got, i+1)
		}
	}
	m.FastForward(countsLease)
	if left := rdb.Keys(context.Background(), "fw:*:subscribers:*").Val(); len(left) != 0 {
		t.Errorf("%d hashes outlive their node's lease", len(left))
	}
}

func TestRenewalIsNotDueYet(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	d.set("c", 1, nil)
	d.settle()
	m.FastForward(countsRenewal / 2)
	d.renew(countsRenewal - time.Second)
	if ttl := m.TTL(keys.Bucket("app", "c").Subscribers("node")); ttl != countsLease-countsRenewal/2 {
		t.Errorf("the lease is %v, want it not renewed", ttl)
	}
}

// TestRedisForgetsTheCounts: it was emptied, or failed over to a replica that
// did not have them, and nobody lost a connection.
func TestRedisForgetsTheCounts(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	for i := range 10 {
		d.set(fmt.Sprint("c", i), i+1, nil)
	}
	d.set("left", 1, nil)
	d.settle()
	d.set("left", 0, nil)
	d.settle()
	m.FlushAll()
	d.renew(countsRenewal)
	for i := range 10 {
		if got := d.subscribers(fmt.Sprint("c", i)); got != i+1 {
			t.Errorf("c%d has %d subscribers, want %d", i, got, i+1)
		}
	}
	if got := d.subscribers("left"); got != 0 {
		t.Errorf("%d subscribers of a channel that was left, want 0", got)
	}
	expectLeases(t, rdb)
}

// TestRenewalComesLate: the process was stopped for so long that its lease ran
// out, and a count was written before it noticed.
func TestRenewalComesLate(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	a, b := sameBucket()
	d.set(a, 1, nil)
	d.settle()
	m.FastForward(countsLease)
	d.set(b, 2, nil) // into a hash that is gone
	d.settle()
	d.renew(countsLease)
	if d.subscribers(a) != 1 || d.subscribers(b) != 2 {
		t.Errorf("%d and %d subscribers, want 1 and 2", d.subscribers(a), d.subscribers(b))
	}
	expectLeases(t, rdb)
}

// TestLeftWhileDown: Redis still has the count of a channel that the node left
// while their link was down.
func TestLeftWhileDown(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	a, b := sameBucket()
	for _, name := range []string{a, b, "alone in its bucket"} {
		d.set(name, 3, nil)
	}
	d.settle()
	d.down()
	d.set("alone in its bucket", 0, nil)
	d.set(b, 0, nil)
	d.up()
	d.settle()
	if d.subscribers(a) != 3 || d.subscribers(b) != 0 || d.subscribers("alone in its bucket") != 0 {
		t.Errorf("%d, %d and %d subscribers, want 3, 0 and 0", d.subscribers(a), d.subscribers(b), d.subscribers("alone in its bucket"))
	}
	d.set(a, 0, nil)
	d.down()
	d.up()
	d.settle()
	d.flush() // as up() has it done, with nothing wanted
	if got := d.subscribers(a); got != 0 {
		t.Errorf("%d subscribers, want 0", got)
	}
}

// TestChannelsComeAndGo: buckets that were used once cost nothing later.
func TestChannelsComeAndGo(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	for i := range 1000 {
		d.set(fmt.Sprint("c", i), 1, nil)
	}
	d.settle()
	for i := range 1000 {
		d.set(fmt.Sprint("c", i), 0, nil)
	}
	d.settle()
	m.FastForward(countsRenewal)
	d.renew(countsRenewal)
	if n := len(d.receiver.counts.leased) + len(d.receiver.counts.stale); n != 0 {
		t.Errorf("%d buckets without subscribers are remembered", n)
	}
	m.FastForward(2 * countsLease)
	if left := m.Keys(); len(left) != 1 || left[0] != keys.LeaseBuckets("node") { // which is removed with the lease
		t.Errorf("Redis keeps %q", left)
	}
}

// sameBucket returns two channels whose counts lie in one hash.
func sameBucket() (string, string) {
	for i := 0; ; i++ {
		if name := fmt.Sprint("c", i); keys.Bucket("app", name) == keys.Bucket("app", "c") {
			return "c", name
		}
	}
}

// Counts are kept under the identity that others reap, are noted in its index, and
// move at once when there is another.
func TestCountsFollowTheIdentity(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	ctx := context.Background()
	at := func(identity string) string {
		return rdb.HGet(ctx, keys.Bucket("app", "c").Subscribers(identity), "c").Val()
	}
	d.set("c", 3, nil)
	d.settle()
	former := "node"
	for _, identity := range []string{"one", "two"} {
		d.receiver.SetIdentity(identity)
		d.flush()
		if at(identity) != "3" || at(former) != "" {
			t.Errorf("%q under %s and %q under %s", at(identity), identity, at(former), former)
		}
		if noted := rdb.SMembers(ctx, keys.LeaseBuckets(identity)).Val(); len(noted) != 1 || noted[0] != string(keys.Bucket("app", "c")) {
			t.Errorf("noted of %s: %q", identity, noted)
		}
		former = identity
	}
	d.set("c", 0, nil)
	d.settle()
	if at("two") != "" {
		t.Error("what has no subscribers is still counted")
	}
}

// Counts that a Redis refuses which otherwise works are written again, in a while.
func TestRefusedCountsAreWrittenLater(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	d := newDriver(t, rdb)
	a, b := sameBucket()
	for _, name := range []string{a, b, "other"} {
		d.set(name, 1, nil)
	}
	d.settle()
	d.set(a, 2, nil)
	d.set("other", 3, nil)
	commands, counted := d.shard.commandsFor(d.shard.changed)
	d.shard.changed = nil
	if len(commands) > 0 || len(counted) != 2 {
		t.Fatalf("%v and %v are to be sent, want two counts", commands, counted)
	}
	m.SetError("NOPERM no")
	if err := d.receiver.counts.write(context.Background(), counted); err != nil {
		t.Fatal(err)
	}
	m.SetError("")
	if d.subscribers(a) != 1 {
		t.Fatal("Redis has taken what it refused")
	}
	tend := func() {
		t.Helper()
		if err := d.receiver.tendCounts(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	tend()
	if len(d.shard.changed) > 0 {
		t.Error("a Redis that works otherwise is asked again at once")
	}
	d.receiver.counts.retry = time.Now()
	tend()
	d.settle()
	if d.subscribers(a) != 2 || d.subscribers(b) != 1 || d.subscribers("other") != 3 {
		t.Errorf("%d, %d and %d subscribers, want 2, 1 and 3", d.subscribers(a), d.subscribers(b), d.subscribers("other"))
	}
	expectLeases(t, rdb)
}

package quota

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

// peakOf is the peak that Redis has of the running period.
func peakOf(t *testing.T, rdb redis.UniversalClient, app *apps.App) int {
	t.Helper()
	key, _ := Peak(keys, app.ID, time.Now())
	n, err := rdb.Get(context.Background(), key).Int()
	if err != nil && err != redis.Nil {
		t.Fatal(err)
	}
	return n
}

// state has a node state what it holds, as a renewal does.
func (l *ledger) state(app *apps.App, held int64) {
	l.t.Helper()
	call := l.call(app.ID, held, Unlimited, 0, true, nil)
	if err := redisconn.Exec(context.Background(), l.rdb, []*redisconn.Call{call}); err != nil {
		l.t.Fatal(err)
	}
}

// Devices of a node that died are not counted twice when they come back on
// another, although their places are given back only when its lease ends.
func TestPeakCountsNobodyTwice(t *testing.T) {
	c, rdb := newClock(t)
	app := appWith(Unlimited)
	ledger := func(node string) *ledger { return &ledger{Connections: NewConnections(rdb, keys, node), t: t} }
	dead, alive, third := ledger("dead"), ledger("living"), ledger("third")
	dead.state(app, 40)
	alive.state(app, 60)
	third.state(app, 1)
	for range 4 {
		c.pass(leaseRenewal)
		dead.state(app, 40)
		alive.state(app, 60)
		third.state(app, 1)
	}
	if got := peakOf(t, rdb, app); got != 101 {
		t.Fatalf("the peak is %d, want 101", got)
	}
	for held := int64(60); held <= 100; held += 10 { // they come back within milliseconds
		c.pass(10 * time.Millisecond)
		alive.state(app, held)
	}
	for passed := time.Duration(0); passed < 2*connectionLease; passed += leaseRenewal {
		c.pass(leaseRenewal)
		alive.state(app, 100)
		third.state(app, 1)
		if got := peakOf(t, rdb, app); got != 101 {
			t.Fatalf("%v after the death the peak is %d, want 101", passed+leaseRenewal, got)
		}
	}
	// It goes on to count.
	alive.state(app, 120)
	for range 4 {
		c.pass(leaseRenewal)
		alive.state(app, 90)
		third.state(app, 1)
	}
	if got := peakOf(t, rdb, app); got != 121 {
		t.Errorf("the peak is %d, want 121", got)
	}
}

// A node that pauses, and then goes on, takes nothing from the peak.
func TestPeakAfterAPause(t *testing.T) {
	c, rdb := newClock(t)
	app := appWith(Unlimited)
	slow := &ledger{Connections: NewConnections(rdb, keys, "slow"), t: t}
	other := &ledger{Connections: NewConnections(rdb, keys, "other"), t: t}
	slow.state(app, 5)
	c.pass(time.Millisecond)
	other.state(app, 7)
	c.pass(time.Millisecond)
	other.state(app, 2)
	if got := peakOf(t, rdb, app); got != 5 {
		t.Errorf("the peak is %d before the slow node was heard of, want 5", got)
	}
	for range 3 {
		c.pass(connectionLease - leaseRenewal)
		slow.state(app, 5)
		other.state(app, 2)
	}
	if got := peakOf(t, rdb, app); got != 12 {
		t.Errorf("the peak is %d, want 12", got)
	}
}

// The peak of a period does not go on in the next.
func TestPeakOfTheNextPeriod(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	l := &ledger{Connections: NewConnections(rdb, keys, "node"), t: t}
	state := func(held int64, now time.Time) {
		t.Helper()
		call := l.call("app", held, Unlimited, 0, true, nil)
		peak, expires := Peak(keys, "app", now)
		call.Keys[2], call.Args[4] = peak, expires.Unix()
		if err := redisconn.Exec(context.Background(), rdb, []*redisconn.Call{call}); err != nil {
			t.Fatal(err)
		}
	}
	_, end := Period(time.Now())
	state(9, end.Add(-time.Second))
	state(4, end)
	for now, want := range map[time.Time]int{end.Add(-time.Second): 9, end: 4} {
		key, _ := Peak(keys, "app", now)
		if got, err := rdb.Get(context.Background(), key).Int(); got != want || err != nil {
			t.Errorf("the peak of %v is %d, %v, want %d", now, got, err, want)
		}
	}
}

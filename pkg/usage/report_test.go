package usage

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
)

func demo(allowed, enabled bool) *apps.App {
	return &apps.App{ID: "app_demo", Plan: apps.Plan{
		Name: "dev", MaxConcurrentConnections: 3, MaxMessagesPerPeriod: 100, OveragesAllowed: allowed, OveragesEnabled: enabled,
	}}
}

// set puts a value where package quota counts.
func set(t *testing.T, rdb redis.UniversalClient, key string, value any) {
	t.Helper()
	if err := rdb.Set(context.Background(), key, value, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func report(t *testing.T, rdb redis.UniversalClient, app *apps.App, now time.Time) Report {
	t.Helper()
	got, err := NewReader(rdb, keys, func() time.Time { return now }).Report(context.Background(), app)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestReportIsTheProtocols(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	now := time.Date(2026, 1, 31, 23, 59, 59, 0, time.UTC)
	app := &apps.App{ID: "app_demo", Plan: apps.Plan{Name: "dev", MaxConcurrentConnections: 1000, MaxMessagesPerPeriod: 5_000_000}}
	set(t, rdb, quota.Messages(keys, app, now).Key, 47813)
	set(t, rdb, keys.Peak(app.ID, "2026-01"), 132)
	text, err := json.Marshal(report(t, rdb, app, now))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"appId":"app_demo","periodStartUnix":1767225600,"periodEndUnix":1769904000,"concurrentNow":0,"peakConcurrent":132,` +
		`"messagesUsed":47813,"overageMessages":0,"overageConnections":0,` +
		`"plan":{"name":"dev","maxConcurrentConnections":1000,"maxMessagesPerPeriod":5000000,"overagesAllowed":false,"overagesEnabled":false}}`
	if string(text) != want {
		t.Errorf("%s\nwant\n%s", text, want)
	}
}

func TestOverages(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	now := thisPeriod()
	start, _ := quota.Period(now)
	for _, tt := range []struct {
		name                  string
		allowed, enabled      bool
		used, peak            int64
		messages, connections int64
	}{
		{"within the plan", true, true, 99, 2, 0, 0},
		{"at its edge", true, true, 100, 3, 0, 0},
		{"beyond", true, true, 101, 5, 1, 2},
		{"soft-dropped, not allowed", false, true, 150, 3, 0, 0},
		{"soft-dropped, not enabled", true, false, 150, 3, 0, 0},
		{"dropped, neither", false, false, 150, 3, 0, 0},
	} {
		app := demo(tt.allowed, tt.enabled)
		set(t, rdb, quota.Messages(keys, app, now).Key, tt.used)
		set(t, rdb, keys.Peak(app.ID, periodName(start)), tt.peak)
		got := report(t, rdb, app, now)
		if got.MessagesUsed != tt.used || got.PeakConcurrent != tt.peak || got.OverageMessages != tt.messages || got.OverageConnections != tt.connections {
			t.Errorf("%s: %+v, want overages of %d messages and %d connections", tt.name, got, tt.messages, tt.connections)
		}
	}
	// The next period begins with nothing.
	_, end := quota.Period(now)
	if got := report(t, rdb, demo(true, true), end); got.MessagesUsed != 0 || got.PeakConcurrent != 0 || got.PeriodStartUnix != end.Unix() {
		t.Errorf("in the next period: %+v", got)
	}
}

// What package quota's ledger holds is what is reported, node by node, but for a
// node whose lease has run out.
func TestConcurrentConnections(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		app := demo(true, true)
		now := thisPeriod()
		if got := report(t, rdb, app, now); got.ConcurrentNow != 0 || got.PeakConcurrent != 0 {
			t.Errorf("before anything: %+v", got)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var nodes []*quota.Connections
		done := make(chan struct{}, 2)
		for _, name := range []string{"node-1", "node-2"} {
			node := quota.NewConnections(rdb, keys, name)
			go func() { node.Run(ctx); done <- struct{}{} }()
			nodes = append(nodes, node)
		}
		defer func() { cancel(); <-done; <-done }()
		for i := range 7 {
			acquire(t, nodes[i%2], app)
		}
		if got := report(t, rdb, app, now); got.ConcurrentNow != 7 {
			t.Errorf("with 7 connections: %+v", got)
		}
		redistest.Eventually(t, 10*time.Second, "a peak of 7, and the overage of that", func() bool {
			got := report(t, rdb, app, now)
			return got.PeakConcurrent == 7 && got.OverageConnections == 4
		})
		nodes[0].Release(app.ID)
		redistest.Eventually(t, 5*time.Second, "6 connections", func() bool { return report(t, rdb, app, now).ConcurrentNow == 6 })

		// A node that died has left its share and a lease of the past.
		if err := rdb.HSet(ctx, keys.Connections(app.ID), "dead", 90).Err(); err != nil {
			t.Fatal(err)
		}
		if err := rdb.ZAdd(ctx, keys.ConnectionLeases(app.ID), redis.Z{Score: 1, Member: "dead"}).Err(); err != nil {
			t.Fatal(err)
		}
		if got := report(t, rdb, app, now); got.ConcurrentNow != 6 {
			t.Errorf("with a dead node: %+v", got)
		}
	})
}

func TestReportWithoutRedis(t *testing.T) {
	m, rdb := redistest.Embedded(t)
	set(t, rdb, keys.Peak("app_demo", "2026-01"), "x")
	reader := NewReader(rdb, keys, func() time.Time { return time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC) })
	if got, err := reader.Report(context.Background(), demo(false, false)); err == nil || !strings.Contains(err.Error(), "the peak of app app_demo") {
		t.Errorf("a peak that is no number: %+v, %v", got, err)
	}
	m.Close()
	if got, err := reader.Report(context.Background(), demo(false, false)); err == nil {
		t.Errorf("without Redis: %+v", got)
	}
	for _, pattern := range []string{"a", "*"} {
		if got, err := reader.Top(context.Background(), "app_demo", Channels, compile(t, pattern), 10, ""); err == nil {
			t.Errorf("without Redis: %+v", got)
		}
	}
}

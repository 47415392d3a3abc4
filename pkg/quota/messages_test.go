package quota

import (
	"testing"
	"time"

	"fleetwire/pkg/apps"
)

func TestPeriod(t *testing.T) {
	kiritimati := time.FixedZone("UTC+14", 14*3600)
	hawaii := time.FixedZone("UTC-10", -10*3600)
	utc := func(year int, month time.Month, day, hour, min, sec, nsec int) time.Time {
		return time.Date(year, month, day, hour, min, sec, nsec, time.UTC)
	}
	for _, test := range []struct {
		name       string
		now        time.Time
		start, end string
	}{
		{"middle of a month", utc(2026, 3, 15, 12, 0, 0, 0), "2026-03-01", "2026-04-01"},
		{"first instant", utc(2026, 3, 1, 0, 0, 0, 0), "2026-03-01", "2026-04-01"},
		{"last instant", utc(2026, 3, 31, 23, 59, 59, 999999999), "2026-03-01", "2026-04-01"},
		{"last instant of a year", utc(2026, 12, 31, 23, 59, 59, 999999999), "2026-12-01", "2027-01-01"},
		{"first instant of a year", utc(2027, 1, 1, 0, 0, 0, 0), "2027-01-01", "2027-02-01"},
		{"February", utc(2027, 2, 28, 23, 59, 59, 0), "2027-02-01", "2027-03-01"},
		{"leap day", utc(2028, 2, 29, 12, 0, 0, 0), "2028-02-01", "2028-03-01"},
		{"31st before a month of 30 days", utc(2026, 8, 31, 0, 0, 0, 0), "2026-08-01", "2026-09-01"},
		{"already May in the east", time.Date(2026, 5, 1, 13, 59, 59, 0, kiritimati), "2026-04-01", "2026-05-01"},
		{"already the new year in the east", time.Date(2027, 1, 1, 13, 0, 0, 0, kiritimati), "2026-12-01", "2027-01-01"},
		{"still April in the west", time.Date(2026, 4, 30, 14, 0, 0, 0, hawaii), "2026-05-01", "2026-06-01"},
		{"still the old year in the west", time.Date(2026, 12, 31, 14, 0, 0, 0, hawaii), "2027-01-01", "2027-02-01"},
	} {
		t.Run(test.name, func(t *testing.T) {
			start, end := Period(test.now)
			if got := start.Format(time.RFC3339Nano); got != test.start+"T00:00:00Z" {
				t.Errorf("the period starts at %s, want %s", got, test.start)
			}
			if got := end.Format(time.RFC3339Nano); got != test.end+"T00:00:00Z" {
				t.Errorf("the period ends at %s, want %s", got, test.end)
			}
		})
	}
}

func TestMessages(t *testing.T) {
	now := time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)
	for _, test := range []struct {
		name  string
		plan  apps.Plan
		limit int64
	}{
		{"cap", apps.Plan{MaxMessagesPerPeriod: 5}, 5},
		{"cap of none", apps.Plan{}, 0},
		{"overages allowed but not switched on", apps.Plan{MaxMessagesPerPeriod: 5, OveragesAllowed: true}, 5},
		{"overages switched on but not allowed", apps.Plan{MaxMessagesPerPeriod: 5, OveragesEnabled: true}, 5},
		{"overages", apps.Plan{MaxMessagesPerPeriod: 5, OveragesAllowed: true, OveragesEnabled: true}, Unlimited},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Messages(keys, &apps.App{ID: "a-1", Plan: test.plan}, now)
			if c.Key != "fw:{a-1}:messages:2026-12" || c.Limit != test.limit {
				t.Errorf("%s up to %d, want the counter of December up to %d", c.Key, c.Limit, test.limit)
			}
			if want := time.Date(2027, 2, 5, 0, 0, 0, 0, time.UTC); !c.ExpiresAt.Equal(want) {
				t.Errorf("it expires at %v, want 35 days after the period: %v", c.ExpiresAt, want)
			}
		})
	}
	app := &apps.App{ID: "a"}
	if Messages(keys, app, now).Key == Messages(keys, app, now.Add(time.Second)).Key {
		t.Error("two periods share a counter")
	}
	if Messages(keys, app, now).Key != Messages(keys, app, now.In(time.FixedZone("", -3600))).Key {
		t.Error("the counter depends on the time zone")
	}
}

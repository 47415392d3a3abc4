package quota

import (
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/rediskeys"
)

// Unlimited as a Counter's Limit lets everything pass; it is still counted.
const Unlimited int64 = -1

// keptAfterPeriod is how long a period's counter outlives it, for usage reports.
const keptAfterPeriod = 35 * 24 * time.Hour

// Counter is a Redis counter of one app's messages in one period. A message is
// accepted if the counter, after counting it, is at most Limit. Refused
// attempts are counted as well (protocol §5, messagesUsed).
type Counter struct {
	Key       string
	Limit     int64
	ExpiresAt time.Time
}

// Messages returns the counter that app's messages go to at the instant now.
func Messages(keys rediskeys.Namespace, app *apps.App, now time.Time) Counter {
	start, _ := Period(now)
	limit := app.Plan.MaxMessagesPerPeriod
	if app.Plan.Overages() {
		limit = Unlimited
	}
	return Counter{
		Key:       keys.MessageCount(app.ID, start.Format("2006-01")),
		Limit:     limit,
		ExpiresAt: Expiry(now),
	}
}

// Period returns the start and the end of the period that now falls in: a
// calendar month in UTC (protocol §6).
func Period(now time.Time) (start, end time.Time) {
	year, month, _ := now.UTC().Date()
	start = time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
	return start, start.AddDate(0, 1, 0)
}

// Expiry is when Redis drops what it has of the period that now falls in.
func Expiry(now time.Time) time.Time {
	_, end := Period(now)
	return end.Add(keptAfterPeriod)
}

// Peak returns the key under which Redis has the most connections that the app
// had at once in the period that now falls in, and when it expires.
func Peak(keys rediskeys.Namespace, appID string, now time.Time) (key string, expiresAt time.Time) {
	start, _ := Period(now)
	return keys.Peak(appID, start.Format("2006-01")), Expiry(now)
}

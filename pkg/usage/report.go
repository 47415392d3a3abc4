package usage

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// Report is what an app has used in the running period, in the shape of GET
// /v1/usage (protocol §5).
type Report struct {
	AppID           string `json:"appId"`
	PeriodStartUnix int64  `json:"periodStartUnix"` // seconds, the period's first
	PeriodEndUnix   int64  `json:"periodEndUnix"`   // seconds, the next period's first
	// ConcurrentNow is the app's open connections on all nodes. Those of a
	// dead node count until its lease expires (protocol §6).
	ConcurrentNow int64 `json:"concurrentNow"`
	// PeakConcurrent is the most there were at once. It follows ConcurrentNow within
	// some seconds: package quota takes no total that a dead node may have a part in.
	PeakConcurrent int64 `json:"peakConcurrent"`
	// MessagesUsed counts attempts, those over the quota included.
	MessagesUsed int64 `json:"messagesUsed"`
	// The overages are what went beyond the plan as it is now: messages, and
	// connections at the peak. They are 0 unless the plan lets overages pass.
	OverageMessages    int64 `json:"overageMessages"`
	OverageConnections int64 `json:"overageConnections"`
	Plan               Plan  `json:"plan"`
}

// Plan is the app's plan (protocol §6).
type Plan struct {
	Name                     string `json:"name"`
	MaxConcurrentConnections int64  `json:"maxConcurrentConnections"`
	MaxMessagesPerPeriod     int64  `json:"maxMessagesPerPeriod"`
	OveragesAllowed          bool   `json:"overagesAllowed"`
	OveragesEnabled          bool   `json:"overagesEnabled"`
}

// Reader reads usage back. It is safe for concurrent use.
type Reader struct {
	rdb  redis.UniversalClient
	keys rediskeys.Namespace
	now  func() time.Time
}

// NewReader returns a Reader; now says which period it is, nil being time.Now.
func NewReader(rdb redis.UniversalClient, keys rediskeys.Namespace, now func() time.Time) *Reader {
	if now == nil {
		now = time.Now
	}
	return &Reader{rdb: rdb, keys: keys, now: now}
}

// Report reads the app's usage in the running period, in one round trip. The
// error is that Redis did not answer, or not as it should.
func (r *Reader) Report(ctx context.Context, app *apps.App) (Report, error) {
	now := r.now()
	start, end := quota.Period(now)

	p := r.rdb.Pipeline()
	clock := redisconn.Clock(ctx, r.rdb, p, r.keys.ConnectionLeases(app.ID)) // leases run by Redis's clock
	leases := p.ZRangeWithScores(ctx, r.keys.ConnectionLeases(app.ID), 0, -1)
	shares := p.HGetAll(ctx, r.keys.Connections(app.ID))
	messages := p.Get(ctx, quota.Messages(r.keys, app, now).Key)
	peak := p.Get(ctx, r.keys.Peak(app.ID, periodName(start)))
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return Report{}, fmt.Errorf("read the usage of app %s: %w", app.ID, err)
	}

	report := Report{
		AppID:           app.ID,
		PeriodStartUnix: start.Unix(),
		PeriodEndUnix:   end.Unix(),
		Plan: Plan{
			Name:                     app.Plan.Name,
			MaxConcurrentConnections: app.Plan.MaxConcurrentConnections,
			MaxMessagesPerPeriod:     app.Plan.MaxMessagesPerPeriod,
			OveragesAllowed:          app.Plan.OveragesAllowed,
			OveragesEnabled:          app.Plan.OveragesEnabled,
		},
	}
	var err error
	if report.ConcurrentNow, err = concurrent(clock.Val(), leases.Val(), shares.Val()); err != nil {
		return Report{}, fmt.Errorf("read the connections of app %s: %w", app.ID, err)
	}
	if report.MessagesUsed, err = number(messages); err != nil {
		return Report{}, fmt.Errorf("read the message count of app %s: %w", app.ID, err)
	}
	if report.PeakConcurrent, err = number(peak); err != nil {
		return Report{}, fmt.Errorf("read the peak of app %s: %w", app.ID, err)
	}
	if app.Plan.Overages() {
		report.OverageMessages = max(0, report.MessagesUsed-app.Plan.MaxMessagesPerPeriod)
		report.OverageConnections = max(0, report.PeakConcurrent-app.Plan.MaxConcurrentConnections)
	}
	return report, nil
}

// concurrent adds up the shares of the nodes whose lease has not run out.
func concurrent(now time.Time, leases []redis.Z, shares map[string]string) (int64, error) {
	var sum int64
	for _, lease := range leases {
		node, _ := lease.Member.(string)
		share, held := shares[node]
		if !held || int64(lease.Score) <= now.UnixMilli() {
			continue
		}
		n, err := strconv.ParseInt(share, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// number is the count that c read, 0 if there is none yet.
func number(c *redis.StringCmd) (int64, error) {
	n, err := c.Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	return n, err
}

// Package survey reads for the metrics what only Redis knows: how much waits for groups, and how
// much of their plans apps have used. One node of all reads it, so that it costs as much with a
// hundred nodes as with one: the node that has the claim, which it renews. If it stops, another
// takes its place.
package survey

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/group"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/telemetry"
	"fleetwire/pkg/usage"
)

const (
	// period is the time between two surveys, claimLife how long a claim lasts that is not renewed.
	period    = 15 * time.Second
	claimLife = 40 * time.Second
	// most bounds the apps, and the groups, that are read: the first of the apps document.
	most = 100
	// patience bounds one survey.
	patience = 10 * time.Second
)

// Options set a Surveyor up.
type Options struct {
	Redis redis.UniversalClient
	Keys  rediskeys.Namespace
	Apps  *apps.Store
	Node  string
	// Report is given what a survey has found; nil when another node makes them, or Redis
	// does not answer.
	Report func(*telemetry.Survey)
	Log    *slog.Logger
}

// Surveyor makes surveys on one node.
type Surveyor struct {
	opt    Options
	usage  *usage.Reader
	groups *group.Store
	has    bool // the claim
}

// New returns a Surveyor.
func New(opt Options) *Surveyor {
	return &Surveyor{opt: opt, usage: usage.NewReader(opt.Redis, opt.Keys, nil), groups: group.NewStore(group.Options{Redis: opt.Redis, Keys: opt.Keys})}
}

// Run makes surveys until ctx ends, and gives the claim back.
func (s *Surveyor) Run(ctx context.Context) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		s.look(ctx)
		select {
		case <-ctx.Done():
			s.giveUp()
			return
		case <-tick.C:
		}
	}
}

// look makes a survey if it is this node that makes them.
func (s *Surveyor) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var found *telemetry.Survey
	has, err := s.claim(ctx)
	if s.has = has; has {
		found, err = s.read(ctx, s.opt.Apps.Current())
	}
	if err != nil && ctx.Err() == nil {
		s.opt.Log.Debug("redis does not say how full groups are, and what of their plans apps have used", "err", err)
	}
	s.opt.Report(found)
}

// claim takes or renews the claim. Two nodes may have it for a moment, and then both report the same.
func (s *Surveyor) claim(ctx context.Context) (has bool, err error) {
	key := s.opt.Keys.Survey()
	p := s.opt.Redis.Pipeline()
	p.SetNX(ctx, key, s.opt.Node, claimLife)
	holder := p.Get(ctx, key)
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return false, err
	}
	if holder.Val() != s.opt.Node {
		return false, nil
	}
	return true, s.opt.Redis.PExpire(ctx, key, claimLife).Err()
}

// giveUp lets another node have the claim at once.
func (s *Surveyor) giveUp() {
	s.opt.Report(nil)
	if s.has {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.opt.Redis.Del(ctx, s.opt.Keys.Survey()).Err() // else it ends by itself
	}
}

// read reads everything, one app and one group after the other, so that Redis is never busy with it
// for long.
func (s *Surveyor) read(ctx context.Context, d *apps.Directory) (*telemetry.Survey, error) {
	found := &telemetry.Survey{}
	for i, app := range d.Apps() {
		if i < most {
			report, err := s.usage.Report(ctx, app)
			if err != nil {
				return nil, err
			}
			found.Apps = append(found.Apps, appUse(app, report))
		}
		for _, g := range app.Groups {
			if len(found.Groups) == most {
				break
			}
			state, err := s.groups.State(ctx, app, g)
			if err != nil {
				return nil, err
			}
			found.Groups = append(found.Groups, telemetry.GroupState{
				App: app.ID, Group: g.Name, Lag: state.Lag, Pending: state.Pending, Dead: state.Dead, Bytes: state.Bytes, MaxBytes: g.MaxBytes,
				OldestAge: time.Duration(state.OldestAgeMs) * time.Millisecond,
			})
		}
	}
	return found, nil
}

func appUse(app *apps.App, report usage.Report) telemetry.AppUse {
	use := telemetry.AppUse{App: app.ID, Connections: report.ConcurrentNow, Messages: report.MessagesUsed, Capped: !app.Plan.Overages()}
	use.MaxConnections, use.MaxMessages = app.Plan.MaxConcurrentConnections, app.Plan.MaxMessagesPerPeriod
	return use
}

package history

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
)

const (
	// rulesLook is how often a node looks whether there is a new document.
	rulesLook = time.Second
	rulesTime = 10 * time.Second
)

// Run follows the apps document until ctx ends: when the rules of an app change, all that
// its channels remember is looked at anew. So what no rule matches any more is
// forgotten, and does not come back with a later rule.
func (s *Sweeper) Run(ctx context.Context) {
	var seen *apps.Directory
	tick := time.NewTicker(rulesLook)
	defer tick.Stop()
	for {
		if current := s.opt.Directory(); current != seen && s.follow(ctx, current) {
			seen = current
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// follow compares the rules of all apps with those that nodes have seen to last.
func (s *Sweeper) follow(ctx context.Context, current *apps.Directory) (done bool) {
	ctx, cancel := context.WithTimeout(ctx, rulesTime)
	defer cancel()
	for _, app := range current.Apps() {
		if err := s.followApp(ctx, app); err != nil {
			return false
		}
	}
	return true
}

func (s *Sweeper) followApp(ctx context.Context, app *apps.App) error {
	key, rules := s.opt.Keys.HistoryRules(app.ID), rulesOf(app)
	was, err := s.opt.Redis.Get(ctx, key).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	if was == rules || was == "" && len(app.History) == 0 {
		return nil
	}
	if err := s.mark(ctx, app.ID); err != nil {
		return err
	}
	return s.opt.Redis.Set(ctx, key, rules, 0).Err()
}

// rulesOf stands for the rules of an app.
func rulesOf(app *apps.App) string {
	h := sha256.New()
	for _, r := range app.History {
		fmt.Fprintf(h, "%q %d %d\n", r.Pattern.String(), r.Size, r.TTL)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// mark has nodes look at all that the app's channels remember.
func (s *Sweeper) mark(ctx context.Context, app string) error {
	var calls []*redisconn.Call
	var sets []deadline.Set
	for b := range s.opt.Keys.Buckets(app) {
		calls = append(calls, &redisconn.Call{Script: markedScript, Keys: []string{b.HistoryIndex(), b.Due(string(deadline.History))}})
		sets = append(sets, deadline.Set{Kind: deadline.History, Bucket: b})
	}
	// Which of them have any, only the scripts say.
	if err := redisconn.Exec(ctx, s.opt.Redis, calls); err != nil {
		return err
	}
	var touched []deadline.Set
	for i, call := range calls {
		if n, err := call.Reply.Int(); err == nil && n == 1 {
			touched = append(touched, sets[i])
		}
	}
	if len(touched) == 0 {
		return nil
	}
	return redisconn.Exec(ctx, s.opt.Redis, []*redisconn.Call{deadline.Touch(s.opt.Keys, touched...)})
}

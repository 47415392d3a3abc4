package command

import (
	"context"
	"strings"
	"sync"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/batch"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// How commands that have ended are counted.
const (
	maxRetained = 100
	// retainLater is how long commands that have ended wait for others, as no caller waits for
	// that. One that goes alone costs Redis twenty times as much.
	retainLater = 50 * time.Millisecond
)

// ended is a command of an app that has ended: its tag and local id, a space, and its bytes.
type ended struct{ app, name string }

// retaining are the commands that have ended and are not counted yet.
type retaining struct {
	mu      sync.Mutex
	waiting []ended
	running bool          // a goroutine is going to count them
	hurry   chan struct{} // closed: it must not wait for others
	all     sync.WaitGroup
}

// retain counts commands that have ended against the budget of their app. It does not
// wait for that. If this process dies meanwhile, they are kept until they expire by
// themselves, and not counted.
func (s *Store) retain(b rediskeys.Bucket, locals reply) {
	_, app, err := s.opt.Keys.ParseBucket(string(b))
	if err != nil {
		return // it is no bucket of ours
	}
	r := &s.retaining
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := 0; i+1 < len(locals); i += 2 {
		if locals.text(i) == "!" {
			s.look(b)
			continue
		}
		bytes, status, _ := strings.Cut(locals.text(i+1), " ")
		s.opt.Ended(Status(status))
		r.waiting = append(r.waiting, ended{app, b.Tag() + locals.text(i) + " " + bytes})
	}
	if len(r.waiting) == 0 || r.running {
		return
	}
	r.running = true
	if r.hurry == nil {
		r.hurry = make(chan struct{})
	}
	hurry := r.hurry
	r.all.Go(func() { s.retainSoon(hurry) })
}

// retainSoon counts what has ended, and what ends meanwhile.
func (s *Store) retainSoon(hurry <-chan struct{}) {
	select {
	case <-time.After(retainLater):
	case <-hurry:
	}
	for {
		r := &s.retaining
		r.mu.Lock()
		some := batch.Take(&r.waiting, maxRetained)
		r.running = len(some) > 0
		r.mu.Unlock()
		if len(some) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), tripTime)
		if err := s.retainAll(ctx, some); err != nil {
			s.complain(err)
		}
		cancel()
	}
}

// look has nodes look for deadlines in the bucket at once. If this process dies meanwhile,
// they do when another deadline there is over.
func (s *Store) look(b rediskeys.Bucket) {
	s.retaining.all.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), tripTime)
		defer cancel()
		touch := deadline.Touch(s.opt.Keys, deadline.Set{Kind: deadline.Commands, Bucket: b})
		_ = redisconn.Exec(ctx, s.opt.Redis, []*redisconn.Call{touch})
	})
}

// complain says so once a minute at most: Redis may be away, and thousands of commands end.
func (s *Store) complain(err error) {
	now, last := time.Now().Unix(), s.complained.Load()
	if now-last >= 60 && s.complained.CompareAndSwap(last, now) {
		s.opt.Log.Warn("ended commands are not counted against the budgets of their apps; they are kept for 24 h. Repetitions within a minute are not logged", "err", err)
	}
}

// Finish does what calls have left to be done behind them. A process that may be frozen calls
// it before it answers.
func (s *Store) Finish() {
	r := &s.retaining
	r.mu.Lock()
	if r.hurry != nil {
		close(r.hurry)
		r.hurry = nil
	}
	r.mu.Unlock()
	r.all.Wait()
}

// retainAll makes one round trip for commands that have ended, and forgets those that
// their apps have no room for.
func (s *Store) retainAll(ctx context.Context, all []ended) error {
	var calls []*redisconn.Call
	of := map[string]*redisconn.Call{}
	var names []string
	for _, e := range all {
		call := of[e.app]
		if call == nil {
			call = &redisconn.Call{
				Script: retainScript, Keys: []string{s.opt.Keys.EndedCommands(e.app), s.opt.Keys.EndedCommandBytes(e.app)},
				Args: []any{s.budget(e.app), Kept.Milliseconds()},
			}
			of[e.app] = call
			calls, names = append(calls, call), append(names, e.app)
		}
		call.Args = append(call.Args, e.name)
	}
	if err := redisconn.Exec(ctx, s.opt.Redis, calls); err != nil {
		return err
	}
	var forget []*redisconn.Call
	for i, call := range calls {
		gone, err := call.Reply.StringSlice()
		if err != nil {
			return err
		}
		forget = append(forget, s.forgetCalls(names[i], gone)...)
	}
	if len(forget) == 0 {
		return nil
	}
	return redisconn.Exec(ctx, s.opt.Redis, forget)
}

func (s *Store) forgetCalls(app string, names []string) (calls []*redisconn.Call) {
	of := map[rediskeys.Bucket]*redisconn.Call{}
	for _, name := range names {
		p, ok := placeOf(s.opt.Keys, app, idPrefix+name)
		if !ok {
			continue
		}
		if of[p.bucket] == nil {
			of[p.bucket] = s.call(s.scripts.forget, p.bucket)
			calls = append(calls, of[p.bucket])
		}
		of[p.bucket].Args = append(of[p.bucket].Args, p.local)
	}
	return calls
}

// budget is how many bytes of ended commands the app may have.
func (s *Store) budget(app string) int64 {
	if a, ok := s.opt.Apps.Current().App(app); ok {
		return a.CommandBytes
	}
	return apps.DefaultCommandBytes // its bytes may be counted once more before they expire
}

package command

import (
	"context"
	"errors"
	"fmt"

	"fleetwire/pkg/quota"
)

// Admission is what holds a command against the limits of its app and its key.
type Admission struct {
	Counter quota.Counter // of the app's messages
	Bucket  *quota.Bucket // of the key's requests; nil: the request has a token
}

// args are those of create.lua.
func (a Admission) args() []any {
	var b quota.Bucket
	if a.Bucket != nil {
		b = *a.Bucket
	}
	return []any{a.Counter.Limit, a.Counter.ExpiresAt.Unix(), b.PerSec, b.Burst}
}

// ErrNotAdmitted: Redis did not say whether the message may be sent, so nothing was.
var ErrNotAdmitted = errors.New("redis did not admit the command")

// Create admits the command, counts it as a message, stores it, and publishes it to the nodes
// that have subscribers. With quota.ErrOverRate, ErrNobody, ErrFull, ErrConflict and
// Repeated it did nothing; with quota.ErrOverCap it only counted.
//
// On one server this is one script. On a Redis Cluster the app's limits and the channel lie in
// two slots, so it takes two trips, and what was counted and then not created is given back:
// the cap is never passed, and a crash between the two loses one place.
func (s *Store) Create(ctx context.Context, n New) (Created, error) {
	ctx = context.WithoutCancel(ctx)
	if n.Admission == nil || !s.inSteps {
		return s.createWithin(ctx, &n)
	}
	created, err := s.admit(ctx, &n)
	if err != nil || created.Repeated {
		return created, err
	}
	created, err = s.createWithin(ctx, &n)
	if created.Repeated || NotCreated(err) {
		s.giveBack(ctx, n.Admission.Counter)
	}
	return created, err
}

func (s *Store) createWithin(ctx context.Context, n *New) (Created, error) {
	ctx, cancel := context.WithTimeout(ctx, tripTime)
	defer cancel()
	return s.create(ctx, n)
}

// admit takes a token and counts the message. A command that repeats another costs nothing, so
// that an app which has used all its messages still hears what became of the last of them.
func (s *Store) admit(ctx context.Context, n *New) (Created, error) {
	step, cancel := context.WithTimeout(ctx, tripTime)
	defer cancel()
	next, err := quota.Admit(step, s.opt.Redis, n.Admission.Counter, n.Admission.Bucket)
	switch {
	case err == nil, errors.Is(err, quota.ErrOverRate):
		return Created{Next: next}, err
	case !errors.Is(err, quota.ErrOverCap):
		return Created{}, fmt.Errorf("%w: %w", ErrNotAdmitted, err)
	}
	if id, failed := s.repeats(step, n); failed == nil && id != "" {
		s.giveBack(ctx, n.Admission.Counter)
		return Created{ID: id, Repeated: true}, nil
	}
	return Created{}, err
}

// giveBack uncounts a message that is known not to have been sent.
func (s *Store) giveBack(ctx context.Context, counter quota.Counter) {
	ctx, cancel := context.WithTimeout(ctx, tripTime)
	defer cancel()
	if err := counter.GiveBack(ctx, s.opt.Redis); err != nil {
		s.opt.Log.Warn("a message is counted that was not sent", "err", err)
	}
}

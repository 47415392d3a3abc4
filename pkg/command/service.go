package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// tripTime bounds a round trip to Redis.
const tripTime = 1500 * time.Millisecond

// Usage counts what channels and senders cost: usage.Recorder.
type Usage interface {
	Published(appID, channel, peer string, bytes int)
}

// ServiceOptions set a Service up.
type ServiceOptions struct {
	Store *Store
	// Creator creates commands; nil: Store.
	Creator Creator
	Waits   *Waits
	Keys    rediskeys.Namespace
	// Up says whether Redis is there; nil: it is tried.
	Up    func() bool
	Usage Usage // nil: no usage is counted
	// Observe is called with the outcome of each command that is to be created: the status
	// with which it is answered, or its error code; nil: it is not observed.
	Observe func(result string)
	Now     func() time.Time // nil: time.Now
}

// Service is what backends do with commands: it admits, creates, waits, reads and cancels.
type Service struct{ opt ServiceOptions }

// Creator creates commands: a Store, or a node that can hand them over in the same step.
type Creator interface {
	Create(ctx context.Context, n New) (Created, error)
}

// NewService returns a Service.
func NewService(opt ServiceOptions) *Service {
	if opt.Creator == nil {
		opt.Creator = opt.Store
	}
	if opt.Up == nil {
		opt.Up = func() bool { return true }
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Observe == nil {
		opt.Observe = func(string) {}
	}
	return &Service{opt}
}

// Refusal is why a command was not created.
type Refusal struct {
	*protocol.Error
	RetryAfter time.Duration // with rate_limited and over_message_quota
	Cause      error         // for the log; nil: there is no more to say
}

// Create takes a token of the key for the request, counts the message, creates the
// command, and waits for its end, at most so long. One that nobody would get, that
// repeats another, or for which there is no room is not counted. The command is nil
// if it is gone: its idempotency key stands for one that has ended and was forgotten.
func (s *Service) Create(ctx context.Context, n New, wait time.Duration) (*Command, *Refusal) {
	c, refusal := s.create(ctx, n, wait)
	if refusal != nil {
		s.opt.Observe(string(refusal.Code))
	} else {
		s.opt.Observe(string(c.Status))
	}
	return c, refusal
}

func (s *Service) create(ctx context.Context, n New, wait time.Duration) (*Command, *Refusal) {
	if !s.opt.Up() {
		return nil, &Refusal{Error: protocol.Errorf(protocol.BackendError, "Redis takes no commands now; nothing was sent, try again")}
	}
	now := s.opt.Now()
	n.Admission = &Admission{Counter: quota.Messages(s.opt.Keys, n.Key.App, now)}
	if !n.HasToken {
		b := quota.RESTBucket(s.opt.Keys, n.Key)
		n.Admission.Bucket = &b
	}
	var waiting *Wait
	n.ID = s.opt.Store.NewID(n.Key.App.ID, n.Channel)
	if wait > 0 {
		if waiting = s.opt.Waits.Begin(n.Key.App.ID, n.Key.ID, n.ID); waiting != nil {
			defer waiting.End()
			waiting.data = n.Data
			n.WokenBy = s.opt.Waits.Process()
		}
	}
	created, err := s.opt.Creator.Create(ctx, n)
	switch {
	case err != nil:
		return nil, refused(err, &n, created.Next, now)
	case created.Repeated:
		c, err := s.Wait(ctx, n.Key, created.ID, wait)
		return c, unread(err, created.ID)
	}
	if s.opt.Usage != nil {
		s.opt.Usage.Published(n.Key.App.ID, n.Channel, n.From, len(n.Data))
	}
	if waiting == nil {
		c, err := s.Read(ctx, n.Key.App.ID, created.ID)
		return c, unread(err, created.ID)
	}
	c, err := waiting.Until(ctx, wait, nil)
	return c, unread(err, created.ID)
}

// unexpected is err, unless it is one that a caller expects.
func unexpected(err error) error {
	for _, expected := range []error{quota.ErrOverRate, quota.ErrOverCap, ErrNobody, ErrFull, ErrConflict, ErrNotFound, ErrFinal} {
		if errors.Is(err, expected) {
			return nil
		}
	}
	return err
}

// NotCreated says whether an error of Create proves that there is no command.
func NotCreated(err error) bool {
	return err != nil && (unexpected(err) == nil || errors.Is(err, ErrNotAdmitted) || redisconn.Undone(err))
}

// refused is what the caller is told of a command that was not created.
func refused(err error, n *New, next time.Duration, now time.Time) *Refusal {
	refusal := &Refusal{Cause: unexpected(err)}
	switch {
	case errors.Is(err, quota.ErrOverRate):
		refusal.Error, refusal.RetryAfter = protocol.Errorf(protocol.RateLimited, "key %s is over its rate", n.Key.ID), next
	case errors.Is(err, quota.ErrOverCap):
		_, end := quota.Period(now)
		refusal.Error = protocol.Errorf(protocol.OverMessageQuota, "the app has used its %d messages of this period; it ends at %s", n.Key.App.Plan.MaxMessagesPerPeriod, end.Format(time.RFC3339))
		refusal.RetryAfter = end.Sub(now)
	case errors.Is(err, ErrNobody):
		refusal.Error = protocol.Errorf(protocol.NobodySubscribed, "nobody is subscribed to the channel by name, so nothing was sent; give the command a ttlMs to hand it over later")
	case errors.Is(err, ErrFull):
		refusal.Error = protocol.Errorf(protocol.QueueFull, "%d commands of the channel may still be handed over, the most there may be; wait until some have ended, cancel some, or use a collapseKey", MaxQueued)
	case errors.Is(err, ErrConflict):
		refusal.Error = protocol.Errorf(protocol.IdempotencyConflict, "the idempotencyKey was used for this channel with another body; use a new key for a new command")
	case errors.Is(err, ErrNotAdmitted):
		refusal.Error = protocol.Errorf(protocol.BackendError, "Redis did not admit the command; nothing was sent, try again")
	case redisconn.Undone(err):
		refusal.Error = protocol.Errorf(protocol.BackendError, "Redis did not take the command; nothing was sent, try again")
	default:
		refusal.Error = protocol.Unknownf("Redis did not answer; whether command %s was created is not known: read it, or repeat the request with the same idempotencyKey", n.ID)
	}
	return refusal
}

// unread is what the caller is told of a command that was created and cannot be read.
func unread(err error, id string) *Refusal {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotFound):
		return &Refusal{Error: protocol.Errorf(protocol.CommandNotFound, "command %s is not kept any more: it had ended and its time was over, or Redis has lost it", id)}
	default:
		return &Refusal{Error: protocol.Unknownf("command %s was created, but Redis does not say what has become of it: read it later", id), Cause: err}
	}
}

// Wait is the command as it is when it has ended, or after so long at most. With wait 0, or
// if the request must not wait, it is read once.
func (s *Service) Wait(ctx context.Context, key *apps.Key, id string, wait time.Duration) (*Command, error) {
	c, waiting, err := s.begin(ctx, key, id, wait)
	if err != nil || waiting == nil {
		return c, err
	}
	defer waiting.End()
	return waiting.Until(ctx, wait, c)
}

// begin reads the command once, after the request has begun to wait.
func (s *Service) begin(ctx context.Context, key *apps.Key, id string, wait time.Duration) (*Command, *Wait, error) {
	var waiting *Wait
	if wait > 0 {
		waiting = s.opt.Waits.Begin(key.App.ID, key.ID, id)
	}
	if waiting == nil {
		c, err := s.Read(ctx, key.App.ID, id)
		return c, nil, err
	}
	c, err := waiting.read(ctx)
	if err != nil {
		waiting.End()
		return nil, nil, err
	}
	return c, waiting, nil
}

// Channel is Store.Channel.
func (s *Service) Channel(ctx context.Context, app, id string) (string, error) {
	step, cancel := context.WithTimeout(context.WithoutCancel(ctx), tripTime)
	defer cancel()
	return s.opt.Store.Channel(step, app, id)
}

// Read is the command as it is now.
func (s *Service) Read(ctx context.Context, app, id string) (*Command, error) {
	step, cancel := context.WithTimeout(context.WithoutCancel(ctx), tripTime)
	defer cancel()
	return s.opt.Store.Read(step, app, id, "")
}

// Cancel is Store.Cancel.
func (s *Service) Cancel(ctx context.Context, app, id string) (*Command, error) {
	return s.opt.Store.Cancel(ctx, app, id)
}

// List is Store.List.
func (s *Service) List(ctx context.Context, app, channel string, status Status, after string, limit int) (Page, error) {
	return s.opt.Store.List(ctx, app, channel, status, after, limit)
}

// OfPeer is Store.OfPeer.
func (s *Service) OfPeer(ctx context.Context, app, peer, after string, limit int, shown func(channel string) bool) (OfPeerPage, error) {
	return s.opt.Store.OfPeer(ctx, app, peer, after, limit, shown)
}

// Answers is Store.Answers.
func (s *Service) Answers(ctx context.Context, app, id string, status Status, after string, limit int) (AnswersPage, error) {
	return s.opt.Store.Answers(ctx, app, id, status, after, limit)
}

// Explain turns an error of Read, Wait, Cancel, List or Answers into the one for the caller.
func Explain(err error) error {
	switch {
	case errors.Is(err, ErrNotFound):
		return protocol.Errorf(protocol.CommandNotFound, "there is no such command")
	case errors.Is(err, ErrFinal):
		return protocol.Errorf(protocol.CommandFinal, "the command has ended, so it can't be cancelled")
	default:
		return fmt.Errorf("%w: %w", protocol.Errorf(protocol.BackendError, "Redis does not say what has become of the command; try again"), err)
	}
}

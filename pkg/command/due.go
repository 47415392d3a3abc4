package command

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// System is whom snapshots are from.
const System = "_system"

// Publisher is the door for messages: publish.Service.
type Publisher interface {
	Publish(ctx context.Context, m publish.Message) publish.Result
}

// The deadlines of a command stand under its id, with one of these before it, or neither.
const (
	tells = "n" // when its next snapshot is due
	paces = "p" // when more peers may be handed it
)

// Due sees to commands whose deadlines are over: it is the handler of their kind
// (pkg/deadline).
func (s *Store) Due(ctx context.Context, due []deadline.Due) error {
	var failed error
	for _, d := range due {
		var ends, snapshots, paced []string
		for _, id := range d.IDs {
			switch local := id[min(1, len(id)):]; {
			case len(local) < secretBytes:
				ends = append(ends, id)
			case strings.HasPrefix(id, tells):
				snapshots = append(snapshots, local)
			case strings.HasPrefix(id, paces):
				paced = append(paced, local)
			}
		}
		failed = cmp.Or(failed, s.settle(ctx, d.Bucket, ends), s.goOn(ctx, d.Bucket, paced), s.tellAll(ctx, d, snapshots))
	}
	return failed
}

// goOn has nodes claim commands of a bucket again that are handed over at a pace.
func (s *Store) goOn(ctx context.Context, b rediskeys.Bucket, locals []string) error {
	if len(locals) == 0 {
		return nil
	}
	calls := make([]*redisconn.Call, len(locals))
	for i, local := range locals {
		calls[i] = s.call(s.scripts.pace, b, local)
	}
	err := redisconn.Exec(ctx, s.opt.Redis, calls)
	for _, call := range calls {
		_, _ = s.replied(b, call)
	}
	return err
}

// tellAll publishes the snapshots that are due.
func (s *Store) tellAll(ctx context.Context, d deadline.Due, locals []string) error {
	var failed error
	for _, local := range locals {
		failed = cmp.Or(failed, s.tell(ctx, d.App, place{d.Bucket, local}))
	}
	return failed
}

// tell publishes a snapshot, unless another node has taken it. If Redis does not take it,
// it comes again; one that the key may not publish any more is dropped.
func (s *Store) tell(ctx context.Context, app string, p place) error {
	r, err := s.run(ctx, p.bucket, s.call(s.scripts.tell, p.bucket, p.local, "take", 0))
	if err != nil || len(r) == 0 {
		return err
	}
	taken, channel, key := r.number(0), r.text(1), r.text(2)
	status, counts, err := parseState(r.text(3))
	if err != nil {
		return fmt.Errorf("command %s: %w", p.id(), err)
	}
	if grant, ok := s.mayTell(app, key); ok {
		result := s.opt.Publisher.Publish(ctx, publish.Message{
			Grant: grant, Channel: channel, From: System, Data: appendSnapshot(nil, p.id(), status, counts),
		})
		if result.Err != nil && result.Err.Code == protocol.BackendError && result.Err.Outcome != protocol.OutcomeUnknown {
			return nil // it is due again in some seconds
		}
	}
	_, err = s.run(ctx, p.bucket, s.call(s.scripts.tell, p.bucket, p.local, "sent", taken))
	return err
}

// mayTell is what the key of a command may do now. Publishing checks the channel.
func (s *Store) mayTell(app, id string) (*auth.Grant, bool) {
	key, ok := s.opt.Apps.Current().Key(id)
	if !ok || key.App.ID != app || key.App.Suspended || key.Role == apps.RoleViewer || s.opt.Publisher == nil {
		return nil, false
	}
	return auth.KeyGrant(key, System, nil), true
}

func appendSnapshot(b []byte, id string, status Status, c Counts) []byte {
	b = fmt.Appendf(b, `{"id":"%s","status":"%s","counts":`, id, status)
	return append(AppendCounts(b, c), '}')
}

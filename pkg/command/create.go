package command

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/idempotency"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// New is a command to be created. Its fields are as the contract has them; they have
// been checked.
type New struct {
	ID      string    // drawn by NewID for the app and the channel; "": Create draws one
	Key     *apps.Key // of the caller, who may publish to the channel
	Channel string
	From    string
	Data    []byte
	TTL     time.Duration
	Timeout time.Duration
	Expect  int // 0: as many peers as are there, at least 1

	IdempotencyKey string // "": none
	CollapseKey    string // "": none
	Notify         string // the channel of the snapshots; "": none
	Rollout        Rollout

	HasToken bool // the request has taken its token already (Service.Create)
	// Admission is what the app and the key may do; nil: they have been asked already.
	Admission *Admission
	// Node and Peers are the identity of this node, and those to whose connections it can
	// write the command at once. If they are all that are in the channel, and nothing goes
	// before it, Create hands it to them (Created.Handed).
	Node  string
	Peers []string
	// WokenBy is the process that waits for the end ([Waits.Process]); "": none.
	WokenBy string
}

// Rollout is the pace at which a command is handed over.
type Rollout struct {
	PerMinute int // 0: any number of hand-overs
	// The command is aborted when FailedPct percent of the peers that have ended have
	// failed, rejected it or timed out, and at least MinAnswered have ended. 0: it is not.
	FailedPct, MinAnswered int
}

// fingerprint is that of all that the caller asked for.
func (n *New) fingerprint() string {
	return idempotency.Fingerprint(string(n.Data), n.From, n.TTL.String(), n.Timeout.String(), fmt.Sprint(n.Expect), n.CollapseKey, n.Notify, fmt.Sprint(n.Rollout))
}

// NewID draws the id of a command of the channel.
func (s *Store) NewID(app, channel string) string { return newPlace(s.opt.Keys, app, channel).id() }

// Created is what became of a New.
type Created struct {
	ID string
	// Repeated: it is that of an earlier command with the same idempotency key and body, and
	// nothing was done; that one may be gone.
	Repeated bool
	// Handed: it was handed to the Peers. They are written it when its message comes
	// (envelope.Command.AtCreation).
	Handed bool
	// Next is the time until the key's next token, with quota.ErrOverRate.
	Next time.Duration
}

// create makes the trip.
func (s *Store) create(ctx context.Context, n *New) (Created, error) {
	p, drawn := placeOf(s.opt.Keys, n.Key.App.ID, n.ID)
	if !drawn {
		p = newPlace(s.opt.Keys, n.Key.App.ID, n.Channel)
	}
	open := n.TTL
	switch {
	case open == 0:
		open = Grace
	case n.Rollout.PerMinute > 0:
		open = min(open, time.Second)
	}
	if len(n.Peers) > 0 {
		open = min(open, n.Timeout)
	}
	call := s.createCall(n, p, open)
	var touch []rediskeys.Bucket // if the script does not
	if s.inSteps {
		touch = []rediskeys.Bucket{p.bucket}
	}
	if err := s.exec(ctx, touch, open, []*redisconn.Call{call}); err != nil {
		return Created{}, err
	}
	r, err := s.replied(p.bucket, call)
	if err != nil {
		return Created{}, err
	}
	switch r.text(0) {
	case "created":
		return Created{ID: p.id(), Handed: r.number(1) == 1}, nil
	case "repeated":
		return Created{ID: place{p.bucket, r.text(1)}.id(), Repeated: true}, nil
	case "rate":
		return Created{Next: time.Duration(r.number(1)) * time.Millisecond}, quota.ErrOverRate
	case "cap":
		return Created{}, quota.ErrOverCap
	case "nobody":
		return Created{}, ErrNobody
	case "full":
		return Created{}, ErrFull
	case "conflict":
		return Created{}, ErrConflict
	default:
		return Created{}, fmt.Errorf("create.lua returned %v", r)
	}
}

// createCall is the call of create.lua. Nodes look for its deadline after open.
func (s *Store) createCall(n *New, p place, open time.Duration) *redisconn.Call {
	payload := envelope.EncodeCommand(random(p.local), envelope.Command{ID: p.id(), Timeout: n.Timeout, TTL: n.TTL},
		&envelope.Message{App: n.Key.App.ID, Channel: n.Channel, From: n.From, Data: n.Data})
	keep, print := "-", ""
	if n.IdempotencyKey != "" {
		keep, print = idempotency.ID(n.Channel, n.IdempotencyKey), n.fingerprint()
	}
	call := s.call(s.scripts.create, p.bucket, p.local, n.Channel, payload, n.From, n.TTL.Milliseconds(), n.Timeout.Milliseconds(),
		n.Expect, n.CollapseKey, n.Notify, n.Key.ID, print, n.WokenBy, bytesOf(n, payload),
		n.Rollout.PerMinute, n.Rollout.FailedPct, n.Rollout.MinAnswered,
		deadline.Member(deadline.Commands, p.bucket), open.Milliseconds())
	call.Keys = append(call.Keys, p.bucket.Members(n.Channel), p.bucket.Idempotency(keep))
	var admission Admission
	if !s.inSteps {
		call.Keys = append(call.Keys, s.opt.Keys.DueIndex(), s.opt.Keys.DueTouched())
		if n.Admission != nil {
			admission = *n.Admission
			call.Keys = append(call.Keys, admission.Counter.Key)
		}
		if admission.Bucket != nil {
			call.Keys = append(call.Keys, admission.Bucket.Key)
		}
	}
	call.Args = append(call.Args, admission.args()...)
	call.Args = append(call.Args, n.Node)
	for _, peer := range n.Peers {
		call.Args = append(call.Args, peer)
	}
	return call
}

// repeats returns the id of an earlier command with the same idempotency key and body; "":
// there is none.
func (s *Store) repeats(ctx context.Context, n *New) (string, error) {
	if n.IdempotencyKey == "" {
		return "", nil
	}
	b := s.opt.Keys.Bucket(n.Key.App.ID, n.Channel)
	value, err := s.opt.Redis.Get(ctx, b.Idempotency(idempotency.ID(n.Channel, n.IdempotencyKey))).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	if local, same := idempotency.Kept(value, n.fingerprint()); err == nil && same {
		return place{b, local}.id(), nil
	}
	return "", err
}

// bytesOf is roughly what Redis takes for a command that no peer has.
func bytesOf(n *New, payload []byte) int {
	return 900 + len(payload) + 2*len(n.Channel) + len(n.CollapseKey) + len(n.Notify)
}

// random makes a number of the random part of an id.
func random(local string) envelope.ID {
	var b [16]byte
	_, _ = encoding.Decode(b[:], []byte(local))
	return envelope.ID{Process: binary.BigEndian.Uint64(b[:8]), Sequence: binary.BigEndian.Uint64(b[8:])}
}

package command

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// settleRuns bounds how often a caller has a script see to what has fallen due of one
// command: 500 peers each time.
const settleRuns = 400

// Read is the command as it is now. wokenBy is the process that waits for its end; "":
// none. Without such a command the error is ErrNotFound.
func (s *Store) Read(ctx context.Context, app, id, wokenBy string) (*Command, error) {
	p, ok := placeOf(s.opt.Keys, app, id)
	if !ok {
		return nil, ErrNotFound
	}
	for range settleRuns {
		r, err := s.run(ctx, p.bucket, s.call(s.scripts.read, p.bucket, p.local, wokenBy))
		if err != nil {
			return nil, err
		}
		v := r.list(0)
		if v == nil {
			return nil, ErrNotFound
		}
		if v.number(2) == 1 {
			continue
		}
		return parseView(p.bucket, v)
	}
	return nil, fmt.Errorf("command %s: peers still fall due after %d runs", id, settleRuns)
}

// Cancel ends the command as cancelled. With ErrFinal it has ended before.
func (s *Store) Cancel(ctx context.Context, app, id string) (*Command, error) {
	p, ok := placeOf(s.opt.Keys, app, id)
	if !ok {
		return nil, ErrNotFound
	}
	notice := envelope.EncodeCancelled(random(newPlace(s.opt.Keys, app, "").local), id)
	r, err := s.run(ctx, p.bucket, s.call(s.scripts.end, p.bucket, p.local, "cancel", notice))
	if err != nil {
		return nil, err
	}
	switch what := r.text(0); what {
	case "not_found":
		return nil, ErrNotFound
	case "final":
		return nil, ErrFinal
	default:
		return parseView(p.bucket, r.list(2))
	}
}

// settle sees to what has fallen due of commands of a bucket.
func (s *Store) settle(ctx context.Context, bucket rediskeys.Bucket, locals []string) error {
	for range settleRuns {
		calls := make([]*redisconn.Call, len(locals))
		for i, local := range locals {
			calls[i] = s.call(s.scripts.end, bucket, local, "settle")
		}
		err := redisconn.Exec(ctx, s.opt.Redis, calls)
		var open []string
		for i, call := range calls {
			if r, failed := s.replied(bucket, call); failed == nil && r.number(1) == 1 {
				open = append(open, locals[i])
			}
		}
		if err != nil || len(open) == 0 {
			return err
		}
		locals = open
	}
	return nil
}

// parseView reads what view in state.lua returns.
func parseView(b rediskeys.Bucket, v reply) (*Command, error) {
	f := v.list(1)
	var d envelope.Delivery
	if err := d.Decode([]byte(f.text(3))); err != nil {
		return nil, fmt.Errorf("command %s: %w", v.text(0), err)
	}
	c := &Command{
		ID: place{b, v.text(0)}.id(), Status: Status(f.text(0)), Channel: f.text(1), From: f.text(2), Data: d.Data(), seq: f.text(4),
		CreatedAt: f.number(5), Expect: int(f.number(8)), More: v.text(4) != "",
	}
	if ttl := f.number(6); ttl > 0 {
		c.ExpiresAt = c.CreatedAt + ttl
	}
	var err error
	if c.Counts, err = parseCounts(f.text(9)); err != nil {
		return nil, fmt.Errorf("command %s: %w", c.ID, err)
	}
	c.Counts.Missing = int(f.number(10))
	c.Answers, err = parseAnswers(v.list(3))
	return c, err
}

func parseCounts(text string) (c Counts, err error) {
	fields := strings.Fields(text)
	all := []*int{&c.Sent, &c.Received, &c.Running, &c.Succeeded, &c.Failed, &c.Rejected, &c.TimedOut}
	if len(fields) != len(all) {
		return c, fmt.Errorf("%q are no counts", text)
	}
	for i, field := range fields {
		if *all[i], err = strconv.Atoi(field); err != nil {
			return c, err
		}
	}
	return c, nil
}

// parseAnswers reads what records in state.lua returns.
func parseAnswers(flat reply) ([]PeerAnswer, error) {
	answers := make([]PeerAnswer, 0, len(flat)/3)
	for i := 0; i+2 < len(flat); i += 3 {
		a, err := parseAnswer(flat.text(i), flat.text(i+1), flat.text(i+2))
		if err != nil {
			return nil, err
		}
		answers = append(answers, a)
	}
	return answers, nil
}

func parseAnswer(peer, record, late string) (a PeerAnswer, err error) {
	head, data, ok := strings.Cut(record, "\n")
	f := strings.Fields(head)
	if !ok || len(f) != 5 {
		return a, fmt.Errorf("the record %q of peer %q has no five fields", head, peer)
	}
	a = PeerAnswer{Peer: peer, Status: Status(f[0]), Data: present(data)}
	a.Attempt, err = strconv.Atoi(f[1])
	for i, at := range []*int64{&a.SentAt, &a.AnsweredAt} {
		if err == nil {
			*at, err = strconv.ParseInt(f[2+i], 10, 64)
		}
	}
	if err == nil && late != "" {
		head, data, _ := strings.Cut(late, "\n")
		status, at, _ := strings.Cut(head, " ")
		a.Late = &LateAnswer{Status: Status(status), Data: present(data)}
		a.Late.AnsweredAt, err = strconv.ParseInt(at, 10, 64)
	}
	return a, err
}

func present(data string) []byte {
	if data == "" {
		return nil
	}
	return []byte(data)
}

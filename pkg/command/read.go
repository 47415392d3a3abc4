package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// settleRuns bounds how often a caller has a script see to what has fallen due of one
// command: 150 peers each time.
const settleRuns = 1000

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
		if v.number(4) == 1 {
			continue
		}
		return parseView(p.bucket, v)
	}
	return nil, fmt.Errorf("command %s: peers still fall due after %d runs", id, settleRuns)
}

// Channel is the channel of a command. It costs less than Read.
func (s *Store) Channel(ctx context.Context, app, id string) (string, error) {
	p, ok := placeOf(s.opt.Keys, app, id)
	if !ok {
		return "", ErrNotFound
	}
	fixed, err := s.opt.Redis.HGet(ctx, p.bucket.Command(p.local), "fixed").Result()
	if errors.Is(err, redis.Nil) {
		return "", ErrNotFound
	}
	if err != nil {
		return "", err
	}
	var c Command
	if err := c.parseFixed(fixed); err != nil {
		return "", fmt.Errorf("command %s: %w", id, err)
	}
	return c.Channel, nil
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

// parseView reads what view in view.lua returns.
func parseView(b rediskeys.Bucket, v reply) (*Command, error) {
	c := &Command{ID: place{b, v.text(0)}.id(), More: v.text(6) != ""}
	err := c.parseFixed(v.text(1))
	if err == nil {
		c.Status, c.Counts, err = parseState(v.text(2))
	}
	if err == nil {
		var d envelope.Delivery
		if err = d.Decode([]byte(v.text(3))); err == nil {
			c.Data = d.Data()
		}
	}
	if err == nil {
		c.Answers, err = parseAnswers(v.list(5))
	}
	if err != nil {
		return nil, fmt.Errorf("command %s: %w", c.ID, err)
	}
	return c, nil
}

// parseEnd reads what wake in state.lua publishes behind the id.
func parseEnd(p place, said string) (*Command, error) {
	head, rest, _ := strings.Cut(said, "\n")
	var parts [3]string
	lengths := strings.Fields(head)
	if len(lengths) != len(parts) {
		return nil, fmt.Errorf("%q are not three lengths", head)
	}
	for i, length := range lengths {
		n, err := strconv.Atoi(length)
		if err != nil || n < 0 || n > len(rest) {
			return nil, fmt.Errorf("%q are not the lengths of what follows", head)
		}
		parts[i], rest = rest[:n], rest[n:]
	}
	c := &Command{ID: p.id()}
	err := c.parseFixed(parts[0])
	if err == nil {
		c.Status, c.Counts, err = parseState(parts[1])
	}
	if err == nil {
		c.Answers, err = parseAnswers(reply{parts[2], rest, ""})
	}
	return c, err
}

// parseFixed reads the field fixed of state.lua: what never changes.
func (c *Command) parseFixed(text string) error {
	lines := strings.SplitN(text, "\n", 6)
	numbers := strings.Fields(lines[0])
	if len(lines) < 6 || len(numbers) < 5 {
		return fmt.Errorf("%q are not the fields of a command", text)
	}
	c.Channel, c.From, c.seq = lines[1], lines[5], numbers[0]
	created, err := strconv.ParseInt(numbers[1], 10, 64)
	ttl, err2 := strconv.ParseInt(numbers[2], 10, 64)
	expect, err3 := strconv.Atoi(numbers[4])
	if c.CreatedAt, c.Expect = created, expect; ttl > 0 {
		c.ExpiresAt = created + ttl
	}
	return cmp.Or(err, err2, err3)
}

// parseState reads the field state of state.lua: what changes.
func parseState(text string) (status Status, c Counts, err error) {
	fields := strings.Fields(text)
	all := []*int{&c.Missing, &c.Sent, &c.Received, &c.Running, &c.Succeeded, &c.Failed, &c.Rejected, &c.TimedOut}
	const first = 9 // of the counts
	if len(fields) < first+len(all) {
		return "", c, fmt.Errorf("%q is no state of a command", text)
	}
	for i, into := range all {
		if *into, err = strconv.Atoi(fields[first+i]); err != nil {
			return "", c, err
		}
	}
	return Status(fields[0]), c, nil
}

// parseAnswers reads what records in view.lua returns.
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
	if !ok || len(f) != 6 {
		return a, fmt.Errorf("the record %q of peer %q has no six fields", head, peer)
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

package send

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/group"
	"fleetwire/pkg/history"
	"fleetwire/pkg/idempotency"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
)

var (
	//go:embed admit.lua
	admitLua string
	//go:embed send.lua
	sendLua string
	//go:embed publish.lua
	publishLua string

	publishScript = redisconn.NewScript(waitingLua + quota.BucketLua + admitLua + sendFunction(specialLua) + publishLua)
	waitingLua    = "local function new_waiting()\n" + group.Lua + "end\n"
	specialLua    = history.Lua + idempotency.Lua + subscribersLua + sendLua
)

// sendFunction makes a body the function that publish.lua and deliver.lua call.
func sendFunction(body string) string {
	return "local function send(at, base, n, limited, room, micros, reply, waiting, full)\n" + body + "end\n"
}

// Answers of publish.lua for a batch, and in place of a number of nodes.
const (
	batchRan  = 0
	batchLate = 1
	batchVoid = 2
	batchLost = 3
	// batchElsewhere, of deliveries alone: some other node has their slot.
	batchElsewhere = 4

	overCap     = -1
	overRate    = -2
	forbidden   = -3
	conflicting = -4
	groupFull   = -6
)

const (
	// sentLife is how long Redis keeps a process's last batch of an app (publish.lua).
	sentLife = 10 * time.Minute
	// A batch is sent so often while connections break under it, and if there is no
	// answer then, Redis is asked once more, for so long.
	maxTries   = 3
	askTimeout = 300 * time.Millisecond
	// publishTime is how long Redis has if the caller names no deadline.
	publishTime = 1500 * time.Millisecond
)

var (
	errLate      = errors.New("the messages reached redis after their deadline, so it did not publish them")
	errLost      = errors.New("redis has lost its data while the messages were under way")
	errForbidden = errors.New("redis does not let this user publish: it needs the right to the pub/sub channels of the app (ACL: &)")
)

// ran is the last batch of an app that Redis has said something about.
type ran struct {
	number  int64
	at      time.Time
	renewed time.Time // when Redis was last told to keep it
}

// sending is one app's batch under way.
type sending struct {
	Batch
	app    string
	number int64
	call   *redisconn.Call
	counts countCalls
	tries  int

	clock   *clock // of the Redis that has the app's slot
	special bool   // some of its messages are (Outgoing.special), and are published with it
	notes   []note // what Redis said besides
	waiting *group.Batch
	freed   []group.Freed
	over    map[string]int64 // by how many bytes groups take too much, as admitting it has found

	admits   bool   // it is only admitted, and published in another step
	underWay bool   // it may have reached Redis, which has not answered
	server   string // the Redis that it was sent to first
	heard    int64  // the number that this process had heard of before
	renew    bool   // what Redis keeps of it is to live on
	settled  bool   // its outcome is known, or known to be unknowable
	unknown  bool
	err      error // why not everything was done
}

// send sends the batches, again if their connection breaks, and at last asks
// what became of those that Redis gave no answer to.
func (sender *Sender) send(ctx context.Context, batches []Batch) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(publishTime)
	}
	all := make([]*sending, 0, len(batches))
	for _, batch := range batches {
		if len(batch.Messages) > 0 {
			all = append(all, &sending{Batch: batch, app: batch.Messages[0].app})
		}
	}
	if err := sender.findClocks(ctx, all); err != nil {
		sender.observe(err)
		return err // nothing was sent
	}
	open := unsettled(all)
	for _, s := range open {
		sender.begin(s)
	}
	if sender.cluster == nil {
		left, answered := sender.run(ctx, deadline, open)
		sender.observe(sender.ask(ctx, deadline, left, answered))
		return sender.finish(all)
	}
	// A master that hangs may have some of the time, and not that in which the others publish.
	soon := time.Now().Add(time.Until(deadline) / 2)
	admitting, cancel := context.WithDeadline(ctx, soon)
	left, _ := sender.run(admitting, soon, open)
	cancel()
	_ = sender.deliver(ctx, deadline, all)
	_ = sender.ask(ctx, deadline, left, nil) // what was admitted nevertheless is given back
	sender.giveBack(ctx, all)
	return sender.finish(all)
}

// run runs publish.lua until the outcome of each batch is known, or cannot be. left are those
// that it is not known of. The error says whether Redis has answered.
func (sender *Sender) run(ctx context.Context, deadline time.Time, open []*sending) (left []*sending, answered error) {
	for range maxTries {
		answered = sender.try(ctx, open, deadline, false)
		if open = unsettled(open); len(open) == 0 || !time.Now().Before(deadline) || noneSent(open) {
			break
		}
	}
	return open, answered
}

// ask asks what became of batches that Redis gave no answer to, if there are any. The error
// says whether Redis has answered that, or else what went before.
func (sender *Sender) ask(ctx context.Context, deadline time.Time, open []*sending, before error) (answered error) {
	answered = before
	open = slices.DeleteFunc(open, func(s *sending) bool { return !s.underWay })
	if len(open) > 0 && !noneSent(open) {
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), sender.askTime)
		answered = sender.try(redisconn.Alone(asking), open, deadline, true)
		cancel()
	}
	return answered
}

// noneSent says that the last try of each batch was not sent: there is no connection.
func noneSent(open []*sending) bool {
	return !slices.ContainsFunc(open, func(s *sending) bool { return !redisconn.NotSent(s.call.Reply.Err()) })
}

// findClocks finds out by which clock each batch goes.
func (sender *Sender) findClocks(ctx context.Context, all []*sending) error {
	if sender.cluster != nil {
		return sender.findMasters(ctx, all)
	}
	asked := false
	err := redisconn.PastBroken(ctx, func() (err error) {
		asked, err = sender.clock.ask(ctx, sender.redis)
		return err
	})
	if asked && err == nil {
		sender.epochs.Forget()
	}
	for _, s := range all {
		s.clock = &sender.clock
	}
	return err
}

// begin gives the batch its number.
func (sender *Sender) begin(s *sending) {
	sender.batches++
	s.number, s.server = sender.batches, s.clock.server
	s.admits = sender.cluster != nil
	s.special = !s.admits && slices.ContainsFunc(s.Messages, (*Outgoing).special)
	s.waiting = waiting(s.app, s.Messages)
	s.renew = true
	if last, ok := sender.ran[s.app]; ok && time.Since(last.at) < sentLife/2 {
		s.heard = last.number
		s.renew = time.Since(last.renewed) > sentLife/4
	}
}

func unsettled(all []*sending) (open []*sending) {
	for _, s := range all {
		if !s.settled {
			open = append(open, s)
		}
	}
	return open
}

// try makes one round trip for the batches. With ask they are not sent again:
// Redis is asked what became of them, and runs none that it has not run.
// The error says whether Redis has answered.
func (sender *Sender) try(ctx context.Context, open []*sending, deadline time.Time, ask bool) error {
	calls := make([]*redisconn.Call, 0, 2*len(open))
	for _, s := range open {
		sender.prepare(s, s.clock.deadline(deadline), ask)
		calls = append(calls, s.call)
	}
	for _, s := range open {
		if !s.admits {
			s.counts = sender.subscribersCalls(counting(s.Messages))
			calls = append(calls, s.counts.calls...)
		}
	}
	sent := time.Now()
	err := redisconn.Exec(ctx, sender.redis, calls)
	received := time.Now()
	for _, s := range open {
		shown, replied := s.settle()
		if !replied {
			sender.observeAt(s.Counter.Key, s.call.Reply.Err())
			continue
		}
		s.clock.learn(sent, received, shown)
		sender.heed(ctx, s, s.waiting, s.notes, "", sent)
		if s.settled {
			sender.remember(s, received)
		} else if s.clock.deadline(deadline) <= shown {
			s.settled = true // late by a clock that is known well
		}
		if !s.admits {
			s.counts.read(counting(s.Messages))
		}
	}
	return err
}

// prepare makes the call.
func (sender *Sender) prepare(s *sending, deadline int64, ask bool) {
	sentKey := sender.keys.Sent(s.app, sender.name)
	s.tries++
	before := ""
	if s.underWay {
		before = cmp.Or(s.server, "?") + " " + strconv.FormatInt(s.heard, 10)
	}
	keep := ""
	if s.renew {
		keep = "renew"
	}
	if !s.admits && slices.ContainsFunc(s.Messages, func(o *Outgoing) bool { return o.kind == envelope.KindPeer }) {
		keep = "exact renew"
	}
	keys := append(make([]string, 0, 2+len(s.Rates)), s.Counter.Key, sentKey)
	args := append(make([]any, 0, 7+4*len(s.Rates)+2*len(s.Messages)),
		s.number, deadline, s.Counter.Limit, s.Counter.ExpiresAt.Unix(), before, keep, "")
	script := publishScript
	if s.admits {
		script = admitScript
	}
	if !ask {
		if s.special || s.admits {
			args[6] = strconv.Itoa(len(s.Rates)) + " " + strconv.Itoa(len(s.Messages))
		}
		if s.waiting != nil {
			args[6] = fmt.Sprint(args[6], " ", s.waiting.Len())
		}
		for _, r := range s.Rates {
			keys = append(keys, r.Bucket.Key)
			args = append(args, r.Bucket.PerSec, r.Bucket.Burst, len(r.Messages))
			for _, i := range r.Messages {
				args = append(args, i+1)
			}
		}
		if s.waiting != nil {
			keys, args = s.waiting.AppendCounts(keys, sender.keys), s.waiting.AppendArgs(args, sender.keys, nil)
		}
		switch {
		case s.admits: // which publishes in another step
		case s.special:
			keys, args = sender.appendSpecial(s.App, s.Messages, "", keys, args)
		default:
			for _, o := range s.Messages {
				args = append(args, o.topic, o.payload)
			}
		}
	}
	s.call = &redisconn.Call{Script: script, Keys: keys, Args: args}
}

// counting is those of the messages whose subscribers are counted.
func counting(messages []*Outgoing) (counting []*Outgoing) {
	for _, o := range messages {
		if o.CountSubscribers && o.IdempotencyKey == "" {
			counting = append(counting, o)
		}
	}
	return counting
}

// settle reads what Redis said of the batch. It returns Redis's clock, unless
// Redis said nothing.
func (s *sending) settle() (shown int64, replied bool) {
	reply, err := s.call.Reply.Slice()
	switch {
	case err == nil && len(reply) < 2:
		err = fmt.Errorf("publish.lua returned %d values", len(reply))
		fallthrough
	case err != nil:
		s.err = err
		// An error that is an answer, or a batch that did not go out, leaves only an
		// earlier try open.
		s.underWay = s.underWay || !redisconn.Undone(err)
		s.settled = !s.underWay
		return 0, false
	}
	s.err, s.settled = nil, true
	switch number(reply[0]) {
	case batchRan:
		s.err = s.fill(reply[2:])
	case batchLate: // it may go out once more, with what is now known of the clock
		s.err, s.settled, s.underWay = errLate, false, false
	case batchVoid:
		s.err = errLate
	default:
		s.err, s.unknown = errLost, true
	}
	return number(reply[1]), true
}

func number(v any) int64 {
	n, _ := v.(int64)
	return n
}

// fill fills in what became of the messages of a batch that ran.
func (s *sending) fill(outcomes []any) error {
	allAdmitted := s.admits && len(outcomes) == len(s.Rates)
	if allAdmitted || len(outcomes) == 0 && s.tries > 1 { // all was admitted, or published
		for _, o := range s.Messages {
			o.admitted, o.Accepted, o.nodes = s.admits, !s.admits, 1
		}
		return nil
	}
	want := len(s.Rates) + len(s.Messages)
	if len(outcomes) < want || len(outcomes) > want && !s.special && s.waiting == nil {
		s.unknown = true
		return fmt.Errorf("publish.lua returned %d values for %d rates and messages", len(outcomes), want)
	}
	waits, outcomes, extra := outcomes[:len(s.Rates)], outcomes[len(s.Rates):want], outcomes[want:]
	var err error
	if s.admits {
		for i, o := range s.Messages {
			outcome := number(outcomes[i])
			o.admitted, o.OverRate, o.OverCap, o.Full = outcome == 0, outcome == overRate, outcome == overCap, outcome == groupFull
		}
	} else if s.unknown, err = fill(s.Messages, outcomes); s.unknown {
		return err
	}
	for i, r := range s.Rates {
		for _, m := range r.Messages {
			if o := s.Messages[m]; o.OverRate {
				o.RetryAfter = time.Duration(number(waits[i])) * time.Millisecond
			}
		}
	}
	s.notes = notice(s.Messages, extra)
	s.over = s.readOver()
	return err
}

// fill fills in the outcomes of messages that were published, or were not. With unknown, the
// outcomes make no sense.
func fill(messages []*Outgoing, outcomes []any) (unknown bool, err error) {
	for i, o := range messages {
		if text, ok := outcomes[i].(string); ok {
			if err := o.read(text); err != nil {
				return true, err
			}
			continue
		}
		switch nodes := number(outcomes[i]); nodes {
		case overRate:
			o.OverRate = true
		case overCap:
			o.OverCap = true
		case forbidden:
			err = errForbidden
		case conflicting:
			o.Conflict = true
		case groupFull:
			o.Full = true
		default:
			o.Accepted, o.nodes, o.Found = true, nodes, nodes > 0
		}
	}
	return false, err
}

// remember keeps the last batch of each app, of apps that publish.
func (sender *Sender) remember(s *sending, now time.Time) {
	if len(sender.ran) >= 1024 {
		for app, r := range sender.ran {
			if now.Sub(r.at) >= sentLife/2 {
				delete(sender.ran, app)
			}
		}
	}
	r := ran{s.number, now, sender.ran[s.app].renewed}
	if s.renew {
		r.renewed = now
	}
	sender.ran[s.app] = r
}

// finish marks messages with an unknown outcome, and returns why not everything was done.
func (sender *Sender) finish(all []*sending) error {
	var failed error
	for _, s := range all {
		failed = cmp.Or(failed, s.err)
		for _, o := range s.Messages {
			// A message that was only admitted was not published.
			o.Unknown = o.Unknown || !s.admits && (s.unknown || s.underWay && !s.settled)
		}
	}
	return failed
}

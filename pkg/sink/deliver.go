package sink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"fleetwire/pkg/group"
)

const (
	// maxNack and maxRetry bound what a target, or an attempt, makes of a delay.
	maxNack  = 4 * time.Hour
	maxRetry = 12 * time.Hour
	// spare is what is left of the leases, at least, when a delivery ends that takes as long as it
	// may: for Redis to be told.
	spare = time.Second
	// tellAgain is how often Redis is told at most that a sink delivers, or why it refuses.
	tellAgain = time.Second
)

// verdict is what became of messages.
type verdict struct {
	acks    []string
	nacks   []group.Nack
	back    []group.Message // the target did not take them, and that is not their fault
	refused string          // why the last one was refused
	failed  error           // why the target takes nothing now; nil: it does
}

// deliver delivers a batch: messages that come for the first time together, others alone, so that
// one that the target cannot take does not take others with it. When the target takes nothing, what
// is left is given back.
func (s *sinking) deliver(b *batch) {
	rest := b.messages
	for begun := false; len(rest) > 0; begun = true {
		if begun && (s.pulling.Err() != nil || time.Until(b.due) < s.runner.opt.pace.deliver+spare) {
			s.settle(b, verdict{back: rest})
			return
		}
		n := atOnce(rest)
		v := s.deliverSome(b, rest[:n])
		rest = rest[n:]
		if v.failed != nil || len(v.back) > 0 {
			v.back = append(v.back, rest...)
			rest = nil
		}
		s.tell(b, v)
		s.settle(b, v)
	}
}

// atOnce is how many of the messages are delivered in one call.
func atOnce(messages []group.Message) (n int) {
	for n < len(messages) && messages[n].Attempt == 1 {
		n++
	}
	return max(n, 1)
}

// deliverSome delivers messages, and says what became of each.
func (s *sinking) deliverSome(b *batch, messages []group.Message) (v verdict) {
	out := make([]Message, len(messages))
	for i := range messages {
		m := &messages[i]
		out[i] = Message{
			ID: m.ID(s.at.app, s.at.group), App: s.at.app, Group: s.at.group, Channel: m.Channel, From: m.From,
			Data: m.Data, PublishedAt: m.PublishedAt, Attempt: m.Attempt,
		}
		if len(m.FromMetadata) > 0 {
			out[i].FromMetadata = m.FromMetadata
		}
	}
	ctx, cancel := context.WithTimeout(s.runner.cut, s.runner.opt.pace.deliver)
	defer cancel()
	began := time.Now()
	results, err := guard(s.log, func() ([]error, error) { return b.target.Deliver(ctx, out), nil })
	s.observe.Took(time.Since(began))
	switch {
	case err != nil:
		results = All(len(messages), err)
	case len(results) != len(messages):
		results = All(len(messages), fmt.Errorf("the target said of %d messages what became of them, and was given %d", len(results), len(messages)))
	}
	for i, result := range results {
		s.judge(&v, &messages[i], result)
	}
	return v
}

// judge adds what became of a message to a verdict.
func (s *sinking) judge(v *verdict, m *group.Message, result error) {
	var refused *Refused
	switch {
	case result == nil:
		v.acks = append(v.acks, m.AckID)
	case errors.As(result, &refused):
		v.refused = refused.Reason
		v.nacks = append(v.nacks, group.Nack{AckID: m.AckID, Delay: s.nackDelay(m.Attempt)})
	default:
		v.back = append(v.back, *m)
		if s.runner.cut.Err() == nil && !errors.Is(v.failed, ErrGone) {
			v.failed = s.plain(result) // ErrGone counts more than others, and the last of others counts
		}
	}
}

// plain says in plain words that a target has taken too long.
func (s *sinking) plain(err error) error {
	var unavailable *Unavailable
	if errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &unavailable) {
		return &Unavailable{Reason: fmt.Sprintf("the target did not answer within %v", s.runner.opt.pace.deliver)}
	}
	return err
}

// nackDelay is how long a message waits that was refused at an attempt: twice as long each time.
func (s *sinking) nackDelay(attempt int) time.Duration {
	delay := maxNack
	if attempt < 30 {
		delay = min(maxNack, s.runner.opt.pace.nack<<(attempt-1))
	}
	return delay - rand.N(delay/4+1)
}

// tell tells Redis, and so the other nodes, how the sink does.
func (s *sinking) tell(b *batch, v verdict) {
	s.observe.Delivered(len(v.acks))
	s.observe.Refused(len(v.nacks))
	if v.failed != nil || v.refused != "" {
		s.holder.doubt()
	}
	if v.failed != nil {
		s.tellFailed(b, v.failed, len(v.acks) > 0)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), pullTime)
	defer cancel()
	if b.try || len(v.acks) > 0 && s.said.due(&s.said.delivered, tellAgain) {
		recovered, err := s.runner.states.works(ctx, b.about, len(v.acks) > 0)
		if err != nil {
			s.away(err)
		}
		if recovered {
			s.log.Info("a sink takes messages again")
			s.observe.Is(OK)
			s.runner.groups.Wake(ctx, b.now.app, b.now.group)
		}
	}
	if v.refused != "" && s.said.due(&s.said.refused, tellAgain) {
		if err := s.runner.states.refused(ctx, b.about, v.refused); err != nil {
			s.away(err)
		}
	}
}

// due says whether something is to be told again, and notes that it is.
func (t *sayings) due(last *time.Time, every time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(*last) < every {
		return false
	}
	*last = time.Now()
	return true
}

// forget has it told again when it is due next.
func (t *sayings) forget(last *time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*last = time.Time{}
}

// tellFailed tells that the target takes nothing now, or for good.
func (s *sinking) tellFailed(b *batch, why error, progress bool) {
	s.observe.Failed()
	s.said.forget(&s.said.delivered) // the next delivery is after this, and shows that the sink works
	ctx, cancel := context.WithTimeout(context.Background(), pullTime)
	defer cancel()
	switch {
	case errors.Is(why, ErrGone):
		news, err := s.runner.states.stopped(ctx, b.about, why.Error())
		if err != nil {
			s.away(err)
		}
		if news {
			s.log.Error("a sink is stopped: its target wants no more messages; they wait until the sink's entry in the apps document changes, or it is resumed", "err", why)
		}
		s.observe.Is(Stopped)
	default:
		var after time.Duration
		var unavailable *Unavailable
		if errors.As(why, &unavailable) {
			after = min(unavailable.RetryAfter, maxRetry)
		}
		news, retry, err := s.runner.states.failed(ctx, b.about, why.Error(), after, progress)
		if err != nil {
			s.away(err)
		}
		if news {
			s.log.Warn("a sink is failing: its messages wait", "err", why, "retryIn", retry)
		}
		s.observe.Is(Failing)
	}
}

// tellUnable tells that this node cannot make the target. Others may: a secret that is new is not
// on all nodes at once. So the sink is failing only if none has delivered for a while.
func (s *sinking) tellUnable(b *batch, why error) {
	if s.pulling.Err() != nil || !s.said.due(&s.said.unable, s.runner.opt.pace.look) && !b.try {
		return
	}
	s.observe.Failed()
	s.observe.Is(Failing)
	ctx, cancel := context.WithTimeout(context.Background(), pullTime)
	defer cancel()
	news, bytes, err := s.runner.states.unable(ctx, b.about, why.Error(), s.said.waitsFor(false), s.runner.opt.pace.unable)
	if err != nil {
		s.away(err)
		return
	}
	s.observe.Holds(bytes)
	if bytes <= 0 {
		s.said.waitsFor(true)
	}
	if news {
		s.log.Warn("a sink is failing: this node cannot make its target, and no other delivers its messages; they wait", "err", why)
	}
}

// settle tells Redis what became of messages, until it answers or their leases end.
func (s *sinking) settle(b *batch, v verdict) {
	for _, m := range v.back {
		v.nacks = append(v.nacks, group.Nack{AckID: m.AckID, Uncounted: true})
	}
	s.observe.GivenBack(len(v.back))
	for {
		ctx, cancel := context.WithTimeout(context.Background(), pullTime)
		_, err := s.runner.groups.Ack(ctx, b.now.app, b.now.group, v.acks, v.nacks)
		cancel()
		if err == nil {
			return
		}
		pause := s.away(err)
		b.worker.consumer = s.consumer()
		if time.Until(b.due) < pause {
			return // the messages are delivered again
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.runner.cut.Done():
			timer.Stop()
			return
		}
	}
}

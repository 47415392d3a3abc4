package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"fleetwire/chaos/internal/books"
	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

const (
	// answerIn is how long a sender waits for its answer, late when an answer counts as
	// late: the service's bound is 2 s, and machines are busy.
	answerIn = 6 * time.Second
	late     = 3500 * time.Millisecond
)

// work has all that send begin.
func (f *Fleet) work() {
	for g := range f.Size.Groups {
		for i := range f.Size.Writers {
			f.mu.Lock()
			d := f.devices[fmt.Sprintf("device-%d-%d", g, i)]
			f.mu.Unlock()
			d.poisons = i == 0
			plain, remembered := f.books.Stream(d.peer, events(g), false, false), f.books.Stream(d.peer, logOf(g), true, false)
			f.senders.Go(func() {
				f.repeat(func(round int) {
					if round%2 == 0 {
						d.publish(f.ctx, plain, events(g))
					} else {
						d.publish(f.ctx, remembered, logOf(g))
					}
				})
			})
		}
	}
	for i := range f.Size.Backends {
		g, peer := i%f.Size.Groups, fmt.Sprintf("backend-%d", i)
		plain, remembered := f.books.Stream(peer, events(g), false, true), f.books.Stream(peer, logOf(g), true, true)
		f.senders.Go(func() {
			f.repeat(func(round int) {
				if round%2 == 0 {
					f.request(plain, peer, events(g))
				} else {
					f.request(remembered, peer, logOf(g))
				}
			})
		})
		f.senders.Go(func() { f.repeat(func(int) { f.command() }) })
	}
}

// repeat does something once an interval, not all at the same moment, until Quiet.
func (f *Fleet) repeat(do func(round int)) {
	pause := time.NewTimer(rand.N(f.Size.Interval))
	defer pause.Stop()
	for round := 0; ; round++ {
		select {
		case <-f.writers.Done():
			return
		case <-pause.C:
		}
		if f.Size.Messages > 0 && f.Acked() >= f.Size.Messages {
			return
		}
		begin := time.Now()
		do(round)
		pause.Reset(max(f.Size.Interval-time.Since(begin), 0))
	}
}

// publish sends one message, and waits for its answer.
func (d *device) publish(ctx context.Context, s *books.Stream, channel string) {
	connection, node, live := d.now()
	if !live {
		return // as a device without a connection does: it has no answer to wait for
	}
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	begin := time.Now()
	n := s.Sent(begin, connection, node)
	if d.poisons && poisonous(n) {
		s.Poison(n)
	}
	data, _ := json.Marshal(note{d.peer, n, d.poisons && poisonous(n)})
	published, err := d.client.PublishMessage(ctx, client.Outgoing{Channel: channel, Data: json.RawMessage(data)})
	end := time.Now()
	s.Answered(n, end, outcome(err), published.Position, err)
	d.f.settle(err)
	if again, _, _ := d.now(); end.Sub(begin) > late+d.f.Size.Slack && again == connection {
		d.f.books.Took(begin, end, node, fmt.Sprintf("the answer to a publish of %s (%v)", d.peer, err))
	}
}

func outcome(err error) books.Outcome {
	var refused *client.Error
	switch {
	case err == nil:
		return books.Acked
	case errors.As(err, &refused) && refused.Outcome != protocol.OutcomeUnknown:
		return books.Refused
	default:
		return books.Unknown
	}
}

// request publishes one message with REST.
func (f *Fleet) request(s *books.Stream, peer, channel string) {
	ctx, cancel := context.WithTimeout(f.ctx, 2*answerIn)
	defer cancel()
	n := s.Sent(time.Now(), 0, -1)
	data, _ := json.Marshal(note{peer, n, false})
	published, err := f.rest.PublishMessage(ctx, client.Outgoing{Channel: channel, Data: json.RawMessage(data), From: peer})
	o := outcome(err)
	if o == books.Refused {
		o = books.Unknown // an earlier try of the same request may have been published
	}
	s.Answered(n, time.Now(), o, published.Position, err)
	f.settle(err)
}

// command commands a device that is there.
func (f *Fleet) command() {
	peer := fmt.Sprintf("device-%d-%d", rand.IntN(f.Size.Groups), rand.IntN(f.Size.Writers))
	ctx, cancel := context.WithTimeout(f.ctx, 2*answerIn)
	defer cancel()
	f.mu.Lock()
	d := f.devices[peer]
	f.mu.Unlock()
	connection, _, live := d.now()
	n := f.books.Command(time.Now(), peer)
	c, err := f.rest.Command(ctx, commandsOf(peer), map[string]int{"n": n}, client.CommandOptions{Timeout: answerIn})
	var data string
	if len(c.Answers) > 0 {
		_ = json.Unmarshal(c.Answers[0].Data, &data) // "": the books say that it is not what was answered
	}
	again, _, stayed := d.now()
	f.books.CommandEnded(n, time.Now(), books.Ending{Status: c.Status, Data: data, Err: err,
		Refused: client.CodeOf(err) == protocol.NobodySubscribed, There: live && stayed && again == connection})
}

// settle counts what is acked. A sender that is refused pauses, however short its interval is.
func (f *Fleet) settle(err error) {
	if err == nil {
		f.acked.Add(1)
	} else if f.Size.Interval < tryAgain {
		pause(f.writers, tryAgain)
	}
}

// Acked is how many messages were.
func (f *Fleet) Acked() int { return int(f.acked.Load()) }

// AwaitAcked waits until all messages of the fleet's Size are acked.
func (f *Fleet) AwaitAcked() error {
	for f.Acked() < f.Size.Messages {
		if err := f.ctx.Err(); err != nil {
			return err
		}
		pause(f.ctx, tryAgain)
	}
	return nil
}

package commands

import (
	"context"
	"sync"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/batch"
	"fleetwire/pkg/command"
	"fleetwire/pkg/redisconn"
)

// maxAnswers bounds the answers of one trip, maxWaiting those that wait for one.
const (
	maxAnswers = 1000
	maxWaiting = 50_000
)

// Answerer is told what became of an answer: nil if Redis has taken it. Flush is called
// when what belongs to the same trip is told. Neither must block.
type Answerer interface {
	Answered(*protocol.Error)
	Flush()
}

type answer struct {
	command.Answer
	by Answerer
}

// answers takes answers of peers to Redis.
type answers struct {
	store Store
	taken func([]*answer)
	wake  batch.Signal

	mu      sync.Mutex
	waiting []*answer
}

func newAnswers(store Store, taken func([]*answer)) *answers {
	return &answers{store: store, taken: taken, wake: batch.NewSignal()}
}

func (q *answers) add(a command.Answer, by Answerer) {
	q.mu.Lock()
	full := len(q.waiting) >= maxWaiting
	if !full {
		q.waiting = append(q.waiting, &answer{a, by})
	}
	q.mu.Unlock()
	if full {
		by.Answered(protocol.Errorf(protocol.BackendError, "too many answers wait for Redis; try again"))
		by.Flush()
		return
	}
	q.wake.Set()
}

func (q *answers) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		for ctx.Err() == nil {
			q.mu.Lock()
			some := batch.Take(&q.waiting, maxAnswers)
			q.mu.Unlock()
			if len(some) == 0 {
				break
			}
			q.trip(ctx, some)
		}
	}
}

func (q *answers) trip(ctx context.Context, some []*answer) {
	ctx, cancel := context.WithTimeout(ctx, tripTime)
	defer cancel()
	all := make([]*command.Answer, len(some))
	for i, a := range some {
		all[i] = &a.Answer
	}
	_ = q.store.Answer(ctx, all) // each has its own
	for _, a := range some {
		a.by.Answered(refusal(&a.Answer))
	}
	for _, a := range some {
		a.by.Flush()
	}
	q.taken(some)
}

// refusal is what the peer is told of an answer; nil: Redis has taken it.
func refusal(a *command.Answer) *protocol.Error {
	switch {
	case redisconn.Undone(a.Err):
		return protocol.Errorf(protocol.BackendError, "Redis did not take the answer; try again")
	case a.Err != nil:
		return protocol.Unknownf("Redis did not say whether it has the answer; it can be given again")
	case a.Outcome == command.AnswerFinal:
		return protocol.Errorf(protocol.CommandFinal, "this peer has already given another final answer to %q", a.ID)
	case a.Outcome == command.AnswerNotFound:
		return protocol.Errorf(protocol.CommandNotFound, "this peer was not handed a command with the id %.60q", a.ID)
	default:
		return nil
	}
}

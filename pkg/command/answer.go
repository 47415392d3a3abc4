package command

import (
	"context"
	"fmt"
	"slices"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// Answer is what a peer says of a command that it was handed. Its fields have been
// checked: Status is one of protocol.AnswerStatuses, Data one JSON value of at most protocol.MaxAnswerBytes, or nil.
type Answer struct {
	App    string
	Peer   string // whose authenticated connection it came from
	ID     string
	Status Status
	Data   []byte

	// Outcome and Err are filled in. With Err, whether Redis took it is not known.
	Outcome AnswerOutcome
	Err     error
}

// AnswerOutcome is what became of an answer.
type AnswerOutcome uint8

// The outcomes. Taken and TakenLate are acked; so is an answer that was given before, or
// that says what a later one has overtaken.
const (
	Taken          AnswerOutcome = iota + 1
	TakenLate                    // the peer had timed out; the answer is kept beside that
	AnswerFinal                  // command_final: another final answer stands
	AnswerNotFound               // command_not_found: there is no such command, or the peer was not handed it
)

// maxAnswers bounds the answers of one run: Redis is through with them in a millisecond.
const maxAnswers = 150

// Answer takes answers, in one round trip. Each has its own outcome; the error is the
// first.
func (s *Store) Answer(ctx context.Context, answers []*Answer) error {
	type run struct {
		bucket  rediskeys.Bucket
		call    *redisconn.Call
		answers []*Answer
	}
	waits, process := s.waits.Load(), ""
	if waits != nil {
		process = waits.process
	}
	var runs []*run
	of := map[rediskeys.Bucket]*run{}
	for _, a := range answers {
		p, ok := placeOf(s.opt.Keys, a.App, a.ID)
		if !ok {
			a.Outcome = AnswerNotFound
			continue
		}
		in := of[p.bucket]
		if in == nil || len(in.answers) == maxAnswers {
			in = &run{bucket: p.bucket, call: s.call(s.scripts.answer, p.bucket, process)}
			of[p.bucket] = in
			runs = append(runs, in)
		}
		in.answers = append(in.answers, a)
		in.call.Args = append(in.call.Args, p.local, a.Peer, string(a.Status), a.Data)
	}
	if len(runs) == 0 {
		return nil
	}
	calls := make([]*redisconn.Call, len(runs))
	var touched []rediskeys.Bucket
	for i, in := range runs {
		calls[i] = in.call
		if slices.ContainsFunc(in.answers, func(a *Answer) bool { return a.Status == Received || a.Status == Running }) {
			touched = append(touched, in.bucket) // final answers set no deadlines
		}
	}
	err := s.exec(ctx, touched, MinTimeout, calls)
	for _, in := range runs {
		r, err := s.replied(in.bucket, in.call)
		for _, said := range r.list(0) {
			waits.wakeAbout(in.bucket, said)
		}
		for i, a := range in.answers {
			if a.Err = err; err == nil {
				a.Outcome, a.Err = outcome(r.text(1 + i))
			}
		}
	}
	return err
}

func outcome(said string) (AnswerOutcome, error) {
	switch said {
	case "ok":
		return Taken, nil
	case "late":
		return TakenLate, nil
	case "final":
		return AnswerFinal, nil
	case "not_found":
		return AnswerNotFound, nil
	default:
		return 0, fmt.Errorf("answer.lua returned %q", said)
	}
}

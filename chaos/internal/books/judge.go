package books

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"fleetwire/chaos/internal/plan"
	"fleetwire/clients/go/protocol"
)

// A Kind says in which way the service failed.
type Kind string

// The kinds of findings.
const (
	Lost      Kind = "lost"      // acked, and not heard by one who listened
	Doubled   Kind = "doubled"   // heard twice, or done twice
	Reordered Kind = "reordered" // heard before one that was sent earlier
	Undead    Kind = "undead"    // heard or done though it was refused
	Invented  Kind = "invented"  // a position, an answer or a message that nobody sent
	Ghost     Kind = "ghost"     // shown as present or online, and gone
	Missing   Kind = "missing"   // present, and not shown
	Overrun   Kind = "overrun"   // let in or accepted over a cap
	Underrun  Kind = "underrun"  // refused below a cap
	Miscount  Kind = "miscount"  // a usage that is not what was used
	Closed    Kind = "closed"    // a socket that ended
	Late      Kind = "late"      // an answer, or being live again
	Rebuffed  Kind = "refused"   // a message that was refused, or of which nothing is known
	Failed    Kind = "failed"    // a command that did not succeed though nothing was wrong
	Skipped   Kind = "gap"       // messages that a subscriber was told that it missed
	Stuck     Kind = "stuck"     // messages that wait for a group, and come to no ingester
)

// Kinds are all of them.
var Kinds = []Kind{Lost, Doubled, Reordered, Undead, Invented, Ghost, Missing, Overrun, Underrun, Miscount, Closed, Late, Rebuffed, Failed, Skipped, Stuck}

// A Finding is one thing that is not as without faults. Allowed says that the fault may
// cost that.
type Finding struct {
	Kind    Kind
	At      time.Time
	Text    string
	Count   int // of what; 0 is one
	Allowed bool
}

// A Row is what one period came to.
type Row struct {
	Period                  Period
	Acked, Refused, Unknown int // messages that were sent in it
	Commands, Succeeded     int
	Deliveries              int
	Ingested, Again, Buried int // messages that ingesters got; deliveries that were not the first; dead letters
	Findings                []Finding
}

// Count is how many there are of a kind that are allowed, or are not.
func (r Row) Count(k Kind, allowed bool) (n int) {
	for _, f := range r.Findings {
		if f.Kind == k && f.Allowed == allowed {
			n += max(f.Count, 1)
		}
	}
	return n
}

// Violations are the findings that are not allowed.
func (r Row) Violations() (v []Finding) {
	for _, f := range r.Findings {
		if !f.Allowed {
			v = append(v, f)
		}
	}
	return v
}

// Judge goes through the books when all has come that was under way. There is a row for each
// period, in their order; what is of none belongs to the one before it, or to the first.
func (b *Books) Judge() []Row {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := &judge{b: b, rows: make([]Row, len(b.periods))}
	for i, p := range b.periods {
		j.rows[i].Period = p
		j.rows[i].Findings = slices.Clone(p.Other)
	}
	if len(j.rows) == 0 {
		return nil
	}
	for _, key := range slices.SortedFunc(maps.Keys(b.streams), compareKeys) {
		j.stream(key, b.streams[key])
	}
	for _, l := range b.listeners {
		j.listener(l)
	}
	j.judgeCommands()
	j.judgeCloses()
	j.judgeAnswers()
	j.judgeMemories()
	for _, g := range b.groups {
		j.judgeGroup(g)
	}
	return j.rows
}

type judge struct {
	b    *Books
	rows []Row
}

// row is that of a moment.
func (j *judge) row(at time.Time) *Row {
	i := len(j.rows) - 1
	for i > 0 && at.Before(j.rows[i].Period.Start.Add(-200*time.Millisecond)) {
		i--
	}
	return &j.rows[i]
}

func (j *judge) find(k Kind, at time.Time, allowed bool, format string, args ...any) {
	r := j.row(at)
	r.Findings = append(r.Findings, Finding{Kind: k, At: at, Allowed: allowed, Text: fmt.Sprintf(format, args...)})
}

// during says whether a fault that meets the condition went on in a stretch of time.
func (j *judge) during(from, to time.Time, is func(plan.Step) bool) bool {
	return slices.ContainsFunc(j.rows, func(r Row) bool {
		begin, end := r.Period.window()
		return is(r.Period.Step) && !from.After(end) && !to.Before(begin)
	})
}

// losesData says whether Redis may have lost data in the period of a moment, also before or
// after the fault itself: lost data does not come back.
func (j *judge) losesData(at time.Time) bool { return j.row(at).Period.Step.Fault.Data }

func (j *judge) stream(key streamKey, s *Stream) {
	for n, m := range s.sent {
		r := j.row(m.at)
		if m.outcome != Acked && !j.mayRefuse(m) {
			j.find(Rebuffed, m.at, false, "%s to node %d was not taken after %v: %s", name(key, n), m.node, m.answered.Sub(m.at).Round(time.Millisecond), m.err)
		}
		switch m.outcome {
		case Acked:
			r.Acked++
		case Refused:
			r.Refused++
		default:
			r.Unknown++
		}
	}
	for _, l := range j.b.listeners {
		if !l.matches(s.channel) {
			continue
		}
		times := make([]int, len(s.sent))
		for _, h := range l.heard[key] {
			if h.n >= 0 && h.n < len(times) {
				times[h.n]++
			}
		}
		for n := range s.sent {
			j.delivery(key, s, n, l, times[n])
		}
		j.order(key, s, l)
	}
}

// margin is how long a listener must have been live after an ack to be owed the message:
// it notices the end of its connection late.
const margin = 2 * time.Second

// delivery judges one message and one listener, to which it came so many times.
func (j *judge) delivery(key streamKey, s *Stream, n int, l *Listener, times int) {
	m := s.sent[n]
	j.row(m.at).Deliveries += times
	switch {
	case times > 1:
		j.find(Doubled, m.at, s.rest && j.losesData(m.at), "%s: %d times at %s", name(key, n), times, l.name)
	case times == 1 && m.outcome == Refused:
		j.find(Undead, m.at, false, "%s was refused, and came to %s", name(key, n), l.name)
	case times == 0 && m.outcome == Acked && l.remembered:
		if l.owedRemembered(m) && !l.knowsGap(s.channel, m.position, m.at) {
			j.find(Lost, m.at, false, "%s at %v did not come to %s, and no gap was told", name(key, n), m.position, l.name)
		}
	case times == 0 && m.outcome == Acked:
		if node, owed := l.owed(m); owed {
			j.find(Lost, m.at, j.mayLose(m, node), "%s, acked %s, did not come to %s on node %d", name(key, n), m.answered.Format("15:04:05.000"), l.name, node)
		}
	}
}

// mayLose says whether a fault that was going on may have cost a subscriber on a node
// the message.
func (j *judge) mayLose(m sent, node int) bool {
	return j.during(m.at, m.answered, func(s plan.Step) bool {
		return s.Fault.Loses == plan.Everywhere || s.Fault.Loses == plan.OnItsNode && s.Node == node
	})
}

// mayRefuse says whether a fault that was going on may have kept the service from taking
// the message.
func (j *judge) mayRefuse(m sent) bool {
	answered := m.answered
	if answered.IsZero() {
		answered = m.at.Add(time.Minute)
	}
	return j.during(m.at, answered, func(s plan.Step) bool {
		return s.Fault.Refuses == plan.Everywhere || s.Fault.Refuses == plan.OnItsNode && (m.node < 0 || m.node == s.Node)
	})
}

// owed says whether the listener was live all the while, and on which node.
func (l *Listener) owed(m sent) (node int, owed bool) {
	for _, s := range l.spans {
		if !s.from.After(m.at) && (s.to.IsZero() || !s.to.Before(m.answered.Add(margin))) {
			return s.node, true
		}
	}
	return 0, false
}

// owedRemembered says whether the listener was subscribed before the message: breaks are
// made up for.
func (l *Listener) owedRemembered(m sent) bool {
	return len(l.spans) > 0 && !l.spans[0].from.After(m.at)
}

// knowsGap says whether a gap that the listener was told of covers the position of a message of
// a moment. Redis may begin several epochs in a row; a listener hears of the last.
func (l *Listener) knowsGap(channel string, p protocol.Position, at time.Time) bool {
	return slices.ContainsFunc(l.gaps, func(g Gap) bool {
		after := g.After.Epoch == p.Epoch && g.After.Offset < p.Offset
		until := g.Until.Epoch == p.Epoch && p.Offset <= g.Until.Offset
		switch {
		case g.Channel != channel:
			return false
		case g.After.Epoch == g.Until.Epoch:
			return after && until
		case g.After.Epoch != p.Epoch && g.Until.Epoch != p.Epoch:
			return !g.At.Before(at)
		default:
			return after || until
		}
	})
}

// order judges in which order a listener heard a stream.
func (j *judge) order(key streamKey, s *Stream, l *Listener) {
	last := -1
	for _, h := range l.heard[key] {
		if h.n < 0 || h.n >= len(s.sent) {
			j.find(Invented, h.at, false, "%s came to %s, and was not sent", name(key, h.n), l.name)
			continue
		}
		if last > h.n {
			was, is := s.sent[last], s.sent[h.n]
			// On another connection, or after nobody knew what became of it, the order
			// is not promised.
			if was.connection == is.connection && (!s.rest || is.outcome == Acked) {
				j.find(Reordered, is.at, false, "%s came to %s after message %d", name(key, h.n), l.name, last)
			}
		}
		last = max(last, h.n)
	}
}

func name(key streamKey, n int) string {
	return fmt.Sprintf("message %d of %s in %s", n, key.writer, key.channel)
}

// listener judges what a listener of channels that remember was told.
func (j *judge) listener(l *Listener) {
	for _, h := range l.holes {
		switch {
		case h.back:
			j.find(Reordered, h.at, false, "%s heard %s %v after %v", l.name, h.channel, h.first, h.last)
		case !l.knowsGap(h.channel, h.first, h.at) || !l.knowsGap(h.channel, h.last, h.at):
			j.find(Lost, h.at, false, "%s heard nothing of %s %v to %v, and no gap was told", l.name, h.channel, h.first, h.last)
		}
	}
	for _, g := range l.gaps {
		f := j.row(g.At).Period.Step.Fault
		j.find(Skipped, g.At, f.Data || f.Epoch, "%s was told that messages of %s after %v up to %v are missing", l.name, g.Channel, g.After, g.Until)
	}
	for key, all := range l.heard {
		if j.b.streams[key] == nil {
			j.find(Invented, all[0].at, false, "%s heard messages of %s in %s, which sent none", l.name, key.writer, key.channel)
		}
	}
}

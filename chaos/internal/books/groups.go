package books

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"fleetwire/chaos/internal/plan"
)

// A Group is the books of a group of ingesters: what waits for it, and what ingesters got.
type Group struct {
	b       *Books
	name    string
	matches func(channel string) bool
	lease   time.Duration
	handed  map[streamKey][]*Handed
	buried  []Buried
	// Sink says that a target gets the messages. The same attempt may come to it again, and so may
	// what it took, if the service did not hear of that.
	Sink bool
}

// Handed is one delivery of a message to an ingester.
type Handed struct {
	n, attempt int
	at         time.Time
	settled    Settled
	settledAt  time.Time
}

// Settled is what became of a delivery.
type Settled int

// A delivery of which nothing is known is Open: its ingester did not acknowledge it, or was not
// told what became of that.
const (
	Open   Settled = iota
	Held           // the service took the acknowledgement, and the lease was held
	Lapsed         // the lease was lost before
	Nacked         // the ingester refused the message
)

// Buried is a dead letter.
type Buried struct {
	Writer, Channel string
	N, Attempts     int
	Reason          string
}

// Group opens the books of a group whose leases last so long.
func (b *Books) Group(name string, lease time.Duration, matches func(channel string) bool) *Group {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := &Group{b: b, name: name, lease: lease, matches: matches, handed: map[streamKey][]*Handed{}}
	b.groups = append(b.groups, g)
	return g
}

// Poison marks the nth message of a writer as one that every ingester refuses: it must become a
// dead letter.
func (s *Stream) Poison(n int) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.sent[n].poison = true
}

// Handed records that an ingester got the nth message of a writer, for the attempt-th time.
func (g *Group) Handed(at time.Time, writer, channel string, n, attempt int) *Handed {
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	h := &Handed{n: n, attempt: attempt, at: at}
	key := streamKey{writer, channel}
	g.handed[key] = append(g.handed[key], h)
	return h
}

// Settled records what became of a delivery.
func (g *Group) Settled(h *Handed, at time.Time, s Settled) {
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	h.settled, h.settledAt = s, at
}

// Buried records the dead letters that the group has at the end.
func (g *Group) Buried(letters []Buried) {
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	g.buried = append(g.buried, letters...)
}

// judgeGroup judges what ingesters of a group got.
func (j *judge) judgeGroup(g *Group) {
	dead := map[streamKey]map[int]int{} // number → attempts
	for _, l := range g.buried {
		key := streamKey{l.Writer, l.Channel}
		s := j.b.streams[key]
		if s == nil || l.N < 0 || l.N >= len(s.sent) {
			j.find(Invented, j.end(), false, "%s is a dead letter of %s, and was not sent", name(key, l.N), g.name)
			continue
		}
		if dead[key] == nil {
			dead[key] = map[int]int{}
		}
		dead[key][l.N]++
		m := s.sent[l.N]
		if !g.Sink {
			j.row(m.at).Buried++
		}
		if !m.poison {
			j.find(Failed, m.at, false, "%s is a dead letter of %s after %d attempts (%s), and no ingester refuses it always", name(key, l.N), g.name, l.Attempts, l.Reason)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(j.b.streams), compareKeys) {
		if s := j.b.streams[key]; g.matches(s.channel) {
			j.ingested(g, key, s, dead[key])
		}
	}
	for key, all := range g.handed {
		if s := j.b.streams[key]; s == nil || !g.matches(s.channel) {
			j.find(Invented, all[0].at, false, "ingesters of %s got messages of %s in %s, which sent none", g.name, key.writer, key.channel)
		}
	}
}

func compareKeys(a, b streamKey) int {
	return cmp.Or(cmp.Compare(a.channel, b.channel), cmp.Compare(a.writer, b.writer))
}

// end is when the last period ended.
func (j *judge) end() time.Time { return j.rows[len(j.rows)-1].Period.End }

// ingested judges what a group got of a stream. Of dead letters there are so many of each message.
func (j *judge) ingested(g *Group, key streamKey, s *Stream, dead map[int]int) {
	of := make([][]*Handed, len(s.sent))
	for _, h := range g.handed[key] {
		if h.n < 0 || h.n >= len(of) {
			j.find(Invented, h.at, false, "%s came to an ingester of %s, and was not sent", name(key, h.n), g.name)
			continue
		}
		of[h.n] = append(of[h.n], h)
	}
	for n, m := range s.sent {
		got := len(of[n]) + dead[n]
		r := j.row(m.at)
		if !g.Sink {
			r.Ingested += min(got, 1)
			r.Again += repetitions(of[n])
		}
		switch {
		case got > 0 && m.outcome == Refused:
			j.find(Undead, m.at, false, "%s was refused, and came to an ingester of %s", name(key, n), g.name)
		case got == 0 && m.outcome == Acked:
			j.find(Lost, m.at, j.mayForget(g, m), "%s, acked %s, came to no ingester of %s", name(key, n), m.answered.Format("15:04:05.000"), g.name)
		case m.poison && m.outcome == Acked && dead[n] != 1:
			j.find(Lost, m.at, j.during(m.at, j.end(), losesData), "%s is refused by every ingester of %s, and is %d dead letters", name(key, n), g.name, dead[n])
		}
		if !g.Sink {
			j.repeated(g, key, s, n, of[n])
		}
	}
	j.handedInOrder(g, key, s, of)
}

// repetitions is how many deliveries were not the first.
func repetitions(all []*Handed) (n int) {
	for _, h := range all {
		if h.attempt > 1 {
			n++
		}
	}
	return n
}

func losesData(s plan.Step) bool { return s.Fault.Data }

// mayForget says whether a fault may have cost a group a message that waits: what a promoted
// replica had not got, or all that a server that comes back empty had.
func (j *judge) mayForget(g *Group, m sent) bool {
	return j.during(m.at, m.answered, losesData) || j.during(m.at, m.answered.Add(10*g.lease), func(s plan.Step) bool { return s.Fault.Empties })
}

// repeated: a message comes again only with a higher attempt, and never once the service took its
// acknowledgement. But a replica that is promoted may not know what was delivered, or acknowledged, of
// what waited then; and ingesters may read late what the former primary has sent them.
func (j *judge) repeated(g *Group, key streamKey, s *Stream, n int, all []*Handed) {
	m := s.sent[n]
	first, held := map[int]*Handed{}, (*Handed)(nil)
	for _, h := range all {
		if h.settled == Held && (held == nil || h.attempt < held.attempt) {
			held = h
		}
		if before := first[h.attempt]; before != nil {
			j.find(Doubled, h.at, j.during(m.at, h.at, losesData) || s.rest && j.losesData(m.at), "%s came to two ingesters of %s with attempt %d", name(key, n), g.name, h.attempt)
		}
		first[h.attempt] = h
	}
	for _, h := range all {
		if held != nil && h.attempt > held.attempt {
			j.find(Doubled, h.at, j.during(m.at, h.at, losesData), "%s came to an ingester of %s again, with attempt %d, though attempt %d was acknowledged", name(key, n), g.name, h.attempt, held.attempt)
		}
	}
}

// handedInOrder: a stream's messages come first in the order in which they were sent, but for those
// that came again: an ingester that stood still reads late what others got since.
func (j *judge) handedInOrder(g *Group, key streamKey, s *Stream, of [][]*Handed) {
	last := -1
	seen := map[int]bool{}
	for _, h := range g.handed[key] {
		if h.attempt != 1 || h.n < 0 || h.n >= len(of) || g.Sink && seen[h.n] {
			continue
		}
		seen[h.n] = true
		if last > h.n {
			was, is := s.sent[last], s.sent[h.n]
			again := slices.ContainsFunc(of[h.n], func(o *Handed) bool { return o.attempt > 1 })
			if !again && was.connection == is.connection && (!s.rest || is.outcome == Acked) {
				j.find(Reordered, is.at, j.during(is.at, h.at, losesData), "%s came to an ingester of %s after message %d, with attempt 1", name(key, h.n), g.name, last)
			}
		}
		last = max(last, h.n)
	}
}

package books

import (
	"sync"
	"time"

	"fleetwire/chaos/internal/plan"
	"fleetwire/clients/go/protocol"
)

// An Outcome is what became of a message, as its sender was told.
type Outcome int

// The outcomes.
const (
	Waiting Outcome = iota // no answer yet; at the end it counts as Unknown
	Acked
	Refused // nothing was published, and nothing will be
	Unknown
)

// Books are the records of one run. Its methods may be called from any goroutine.
type Books struct {
	mu        sync.Mutex
	streams   map[streamKey]*Stream
	listeners []*Listener
	commands  []*command
	closes    []closing
	answers   []answer
	caps      []*Cap
	memories  []memories
	groups    []*Group
	periods   []Period
}

// New are empty books.
func New() *Books { return &Books{streams: map[streamKey]*Stream{}} }

// A Period is the time of one step: from its begin to that of the next one.
type Period struct {
	Step   plan.Step
	Start  time.Time // the fault begins
	Lifted time.Time // it ends
	Live   time.Time // all nodes deliver to each other again
	End    time.Time // presence is right as well
	Other  []Finding // what is not in the books of messages
}

// window is when a fault may cost messages. Clocks are read before and after what they
// time, so it begins a little early and ends a little late.
func (p Period) window() (from, to time.Time) {
	return p.Start.Add(-200 * time.Millisecond), p.Live.Add(500 * time.Millisecond)
}

// Add records a period that is over.
func (b *Books) Add(p Period) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.periods = append(b.periods, p)
}

// A Stream is what one writer sends to one channel.
type Stream struct {
	b          *Books
	writer     string
	channel    string
	remembered bool
	rest       bool
	sent       []sent
}

type streamKey struct{ writer, channel string }

type sent struct {
	at, answered time.Time
	connection   int
	node         int // -1: that of a request is not known
	outcome      Outcome
	err          string
	position     protocol.Position
	poison       bool // every ingester refuses it
}

// Stream opens the books of a writer and a channel, which remembers or not. rest: its
// messages are requests that may be sent again under an idempotency key.
func (b *Books) Stream(writer, channel string, remembered, rest bool) *Stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &Stream{b: b, writer: writer, channel: channel, remembered: remembered, rest: rest}
	b.streams[streamKey{writer, channel}] = s
	return s
}

// Sent records a message that goes out now, on the writer's nth connection, to a node (-1:
// it is not known), and returns its number in the stream.
func (s *Stream) Sent(at time.Time, connection, node int) int {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.sent = append(s.sent, sent{at: at, connection: connection, node: node})
	return len(s.sent) - 1
}

// Answered records what the sender of a message was told; err is why it was not acked.
func (s *Stream) Answered(n int, at time.Time, o Outcome, p protocol.Position, err error) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	m := &s.sent[n]
	m.answered, m.outcome, m.position = at, o, p
	if err != nil {
		m.err = err.Error()
	}
}

// A Listener is a subscription by name or by pattern.
type Listener struct {
	b          *Books
	name       string
	matches    func(channel string) bool
	remembered bool
	spans      []span
	heard      map[streamKey][]heard
	places     map[string]protocol.Position // the last of each channel
	holes      []hole
	gaps       []Gap
}

// span is when a listener was live, and on which node.
type span struct {
	from, to time.Time // to is zero while it lasts
	node     int
}

type heard struct {
	n  int
	at time.Time
}

// hole is where the offsets that a listener heard are not consecutive.
type hole struct {
	channel     string
	first, last protocol.Position // that are missing
	at          time.Time
	back        bool // the offset is not above the former
}

// A Gap is what a listener was told that it missed.
type Gap struct {
	Channel      string
	After, Until protocol.Position
	At           time.Time
}

// Listener opens the books of a subscription. remembered: its channels remember, and it
// goes on after a break where it was.
func (b *Books) Listener(name string, remembered bool, matches func(channel string) bool) *Listener {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &Listener{b: b, name: name, remembered: remembered, matches: matches,
		heard: map[streamKey][]heard{}, places: map[string]protocol.Position{}}
	b.listeners = append(b.listeners, l)
	return l
}

// Live records that from now on the listener hears all, on a node.
func (l *Listener) Live(at time.Time, node int) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.down(at)
	l.spans = append(l.spans, span{from: at, node: node})
}

// Down records that the listener's connection has ended.
func (l *Listener) Down(at time.Time) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.down(at)
}

func (l *Listener) down(at time.Time) {
	if n := len(l.spans); n > 0 && l.spans[n-1].to.IsZero() {
		l.spans[n-1].to = at
	}
}

// Heard records a message that came: the nth of a writer's in a channel.
func (l *Listener) Heard(at time.Time, writer, channel string, n int, p protocol.Position) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	key := streamKey{writer, channel}
	l.heard[key] = append(l.heard[key], heard{n, at})
	if !l.remembered || p.Epoch == "" {
		return
	}
	last, known := l.places[channel]
	switch {
	case !known || last.Epoch != p.Epoch:
	case p.Offset <= last.Offset:
		l.holes = append(l.holes, hole{channel: channel, first: p, last: last, at: at, back: true})
	case p.Offset > last.Offset+1:
		missing := hole{channel: channel, first: last, last: p, at: at}
		missing.first.Offset++
		missing.last.Offset--
		l.holes = append(l.holes, missing)
	}
	l.places[channel] = p
}

// Missed records what a listener was told that it missed.
func (l *Listener) Missed(g Gap) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.gaps = append(l.gaps, g)
}

type closing struct {
	at   time.Time
	peer string
	node int
	why  string
}

// Closed records the end of a connection that its device did not ask for.
func (b *Books) Closed(at time.Time, peer string, node int, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closes = append(b.closes, closing{at, peer, node, why})
}

type answer struct {
	sent, at time.Time
	node     int
	what     string
}

// Took records an answer that came late, on a connection that stayed.
func (b *Books) Took(sent, at time.Time, node int, what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers = append(b.answers, answer{sent, at, node, what})
}

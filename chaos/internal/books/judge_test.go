package books

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetwire/chaos/internal/plan"
	"fleetwire/clients/go/protocol"
)

// scene is a run of one fault, from second 10 to second 20: a writer, a listener by name on
// node 0, one to a channel that remembers, and a device that does commands.
type scene struct {
	*Books
	plain, log    *Stream
	rest          *Stream
	named, recall *Listener
	group         *Group
	telemetry     *Stream // waits for the group
}

var zero = time.Unix(1_800_000_000, 0)

func at(seconds float64) time.Time {
	return zero.Add(time.Duration(seconds * float64(time.Second)))
}

func open(fault string, node int) *scene {
	f, _ := plan.ByName(fault)
	s := &scene{Books: New()}
	s.Add(Period{Step: plan.Step{Fault: f, Node: node}, Start: at(10), Lifted: at(14), Live: at(15), End: at(20)})
	s.plain, s.log = s.Stream("w", "plain", false, false), s.Stream("w", "log", true, false)
	s.rest = s.Stream("b", "plain", false, true)
	s.named = s.Listener("named", false, func(c string) bool { return c == "plain" })
	s.recall = s.Listener("recall", true, func(c string) bool { return c == "log" })
	s.group = s.Group("ingest", time.Second, func(c string) bool { return c == "telemetry" })
	s.telemetry = s.Stream("t", "telemetry", false, false)
	s.named.Live(at(0), 0)
	s.recall.Live(at(0), 0)
	return s
}

// send is a message that is answered a tenth of a second later.
func (s *scene) send(stream *Stream, seconds float64, o Outcome, p protocol.Position) int {
	n := stream.Sent(at(seconds), 1, 0)
	stream.Answered(n, at(seconds+0.1), o, p, nil)
	return n
}

func (s *scene) hear(seconds float64, n ...int) {
	for _, n := range n {
		s.named.Heard(at(seconds), "w", "plain", n, protocol.Position{})
	}
}

// ingest has an ingester get message n of the group's stream, and the service say so of its
// acknowledgement.
func (s *scene) ingest(seconds float64, n, attempt int, settled Settled) {
	h := s.group.Handed(at(seconds), "t", "telemetry", n, attempt)
	s.group.Settled(h, at(seconds+0.1), settled)
}

func (s *scene) bury(n int) {
	s.group.Buried([]Buried{{Writer: "t", Channel: "telemetry", N: n, Attempts: 5, Reason: "nack"}})
}

// room is a Room in which all is well, but for what mutate does to it.
func (s *scene) room(mutate func(*Room)) {
	r := Room{Group: "small", Most: 1000, Each: 400, Accepted: []int{0, 1, 4}, Refused: []int{2, 3}, Full: [2]bool{true, true}, Bytes: 800, Used: 3,
		Heard: map[int]int{0: 1, 1: 1, 4: 1}, Ingested: map[int]int{0: 1, 1: 2, 4: 1}}
	mutate(&r)
	s.periods[0].Other = r.Judge(at(19))
}

func position(offset uint64) protocol.Position { return protocol.Position{Epoch: "e", Offset: offset} }

// remember publishes messages 1 to n in second 5, and has the listener hear those that are
// named.
func (s *scene) remember(n int, heard ...uint64) {
	for i := range n {
		s.send(s.log, 5, Acked, position(uint64(i+1)))
	}
	for _, offset := range heard {
		s.recall.Heard(at(6), "w", "log", int(offset)-1, position(offset))
	}
}

// Each mutant is a fault of the service, fed to the books: they must report it, and nothing
// else. Without one they must report nothing.
func TestTheBooksFindEachMutant(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  string
		mutate func(*scene)
		want   string // kinds that are found, "(…)" around those that are allowed
	}{
		{"all is well", "redis-killed", func(s *scene) {
			s.hear(5, s.send(s.plain, 5, Acked, position(0)), s.send(s.plain, 12, Unknown, position(0)))
			s.send(s.plain, 12, Refused, position(0))
			s.remember(3, 1, 2, 3)
			n := s.Command(at(5), "d")
			s.Ran(n, at(5), "yes")
			s.CommandEnded(n, at(5), Ending{Status: "succeeded", Data: "yes", Refused: false, There: true})
			a, b, c2 := s.send(s.telemetry, 5, Acked, position(0)), s.send(s.telemetry, 5.1, Acked, position(0)), s.send(s.telemetry, 5.2, Acked, position(0))
			s.telemetry.Poison(c2)
			s.ingest(6, a, 1, Open)
			s.ingest(8, a, 2, Held)
			s.ingest(8, b, 1, Held)
			s.ingest(8, c2, 1, Nacked)
			s.bury(c2)
			s.send(s.telemetry, 12, Refused, position(0))
			s.ingest(13, s.send(s.telemetry, 12, Unknown, position(0)), 1, Held)
			s.room(func(*Room) {})
			c := s.Cap("app", 2, 1)
			c.Opened()
			c.Sent(Acked, false)
			c.Sent(Acked, false)
			c.Sent(Refused, true)
			if found := c.Judge(at(5), 3, false); len(found) > 0 {
				s.periods[0].Other = found
			}
		}, ""},
		{"an acked message is lost", "redis-killed", func(s *scene) { s.send(s.plain, 5, Acked, position(0)) }, "lost"},
		{"one is lost while Redis is away", "redis-killed", func(s *scene) { s.send(s.plain, 12, Acked, position(0)) }, "(lost)"},
		{"one is lost behind the window", "redis-killed", func(s *scene) { s.send(s.plain, 15.6, Acked, position(0)) }, "lost"},
		{"one is lost while a link is slow", "link-slow", func(s *scene) { s.send(s.plain, 12, Acked, position(0)) }, "lost"},
		{"one is lost on another node", "link-deaf on node 1", func(s *scene) { s.send(s.plain, 12, Acked, position(0)) }, "lost"},
		{"one is lost on the node itself", "link-deaf", func(s *scene) { s.send(s.plain, 12, Acked, position(0)) }, "(lost)"},
		{"one is lost on a connection that ends", "redis-killed", func(s *scene) {
			s.send(s.plain, 5, Acked, position(0))
			s.named.Down(at(6))
		}, ""},
		{"one comes twice", "redis-killed", func(s *scene) {
			n := s.send(s.plain, 5, Acked, position(0))
			s.hear(5, n, n)
		}, "doubled"},
		{"one of REST comes twice after Redis lost its data", "redis-killed", func(s *scene) {
			n := s.send(s.rest, 12, Acked, position(0))
			s.named.Heard(at(16), "b", "plain", n, protocol.Position{})
			s.named.Heard(at(17), "b", "plain", n, protocol.Position{})
		}, "(doubled)"},
		{"two come in the wrong order", "redis-killed", func(s *scene) {
			a, b := s.send(s.plain, 5, Acked, position(0)), s.send(s.plain, 5.2, Acked, position(0))
			s.hear(6, b, a)
		}, "reordered"},
		{"a refused one comes", "redis-killed", func(s *scene) { s.hear(13, s.send(s.plain, 12, Refused, position(0))) }, "undead"},
		{"one is refused though nothing is wrong", "redis-killed", func(s *scene) { s.send(s.plain, 5, Refused, position(0)) }, "refused"},
		{"one is refused on another node", "link-gone on node 1", func(s *scene) { s.send(s.plain, 12, Refused, position(0)) }, "refused"},
		{"one has no answer while a link is slow", "link-slow", func(s *scene) { s.plain.Sent(at(12), 1, 0) }, "refused"},
		{"one comes that nobody sent", "redis-killed", func(s *scene) { s.hear(5, 0) }, "invented"},
		{"one comes of a writer that there is not", "redis-killed", func(s *scene) {
			s.named.Heard(at(5), "x", "plain", 0, protocol.Position{})
		}, "invented"},
		{"one that is remembered is lost", "redis-stopped", func(s *scene) { s.remember(3, 1, 2) }, "lost"},
		{"a hole in what is remembered", "redis-stopped", func(s *scene) { s.remember(3, 1, 3) }, "lost lost"},
		{"what is remembered goes back", "redis-stopped", func(s *scene) { s.remember(3, 1, 3, 2, 3) }, "doubled lost reordered reordered"},
		{"a gap that is told, and Redis has lost nothing", "redis-stopped", func(s *scene) {
			s.remember(3, 1, 3)
			s.recall.Missed(Gap{Channel: "log", After: position(1), Until: position(2), At: at(6)})
		}, "gap"},
		{"a gap that is told after a server was a replica", "redis-readonly", func(s *scene) {
			s.remember(1, 1)
			s.recall.Missed(Gap{Channel: "log", After: position(1), Until: protocol.Position{Epoch: "f", Offset: 1}, At: at(14)})
		}, "(gap)"},
		{"a gap that is told after Redis lost its data", "redis-killed", func(s *scene) {
			s.remember(3, 1)
			s.recall.Missed(Gap{Channel: "log", After: position(1), Until: protocol.Position{Epoch: "f"}, At: at(16)})
		}, "(gap)"},
		{"a gap over two epochs at once", "redis-killed", func(s *scene) {
			s.remember(1, 1)
			s.send(s.log, 14, Acked, protocol.Position{Epoch: "f", Offset: 1})
			s.recall.Missed(Gap{Channel: "log", After: position(1), Until: protocol.Position{Epoch: "g", Offset: 1}, At: at(16)})
		}, "(gap)"},
		{"a gap that was told before another epoch", "redis-killed", func(s *scene) {
			s.remember(1, 1)
			s.recall.Missed(Gap{Channel: "log", After: position(1), Until: protocol.Position{Epoch: "g", Offset: 1}, At: at(12)})
			s.send(s.log, 14, Acked, protocol.Position{Epoch: "f", Offset: 1})
		}, "(gap) lost"},
		{"a command fails until devices are known again", "redis-emptied", func(s *scene) {
			s.CommandEnded(s.Command(at(16), "d"), at(16.1), Ending{Status: "", Data: "", Refused: true, There: true})
			s.CommandEnded(s.Command(at(18), "d"), at(18.1), Ending{Status: "", Data: "", Refused: true, There: true})
		}, "(failed) failed"},
		{"all is remembered but what is too old", "redis-stopped", func(s *scene) {
			s.remember(3, 1, 2, 3)
			s.Remembers(at(19), "log", "e", []Memory{{2, "w", 1}, {3, "w", 2}})
		}, ""},
		{"one is not remembered", "redis-stopped", func(s *scene) {
			s.remember(3, 1, 2, 3)
			s.Remembers(at(19), "log", "e", []Memory{{1, "w", 0}, {3, "w", 2}})
		}, "lost"},
		{"another is remembered in its place", "redis-stopped", func(s *scene) {
			s.remember(2, 1, 2)
			s.Remembers(at(19), "log", "e", []Memory{{1, "w", 1}, {2, "w", 0}})
		}, "lost lost"},
		{"nothing is remembered", "redis-stopped", func(s *scene) {
			s.remember(1, 1)
			s.Remembers(at(19), "log", "e", nil)
		}, "lost"},
		{"one is remembered that was refused", "redis-stopped", func(s *scene) {
			s.send(s.log, 12, Refused, position(0))
			s.Remembers(at(19), "log", "e", []Memory{{1, "w", 0}})
		}, "undead"},
		{"one is remembered that nobody sent", "redis-stopped", func(s *scene) {
			s.Remembers(at(19), "log", "e", []Memory{{1, "x", 0}})
		}, "invented"},
		{"a command is done twice", "redis-stopped", func(s *scene) {
			n := s.Command(at(5), "d")
			s.Ran(n, at(5), "yes")
			s.Ran(n, at(6), "yes")
			s.CommandEnded(n, at(6), Ending{Status: "succeeded", Data: "yes", Refused: false, There: true})
		}, "doubled"},
		{"a command that was refused is done", "redis-stopped", func(s *scene) {
			n := s.Command(at(5), "d")
			s.Ran(n, at(5), "yes")
			s.CommandEnded(n, at(6), Ending{Status: "", Data: "", Refused: true, There: true})
		}, "undead"},
		{"an answer that the device did not give", "redis-stopped", func(s *scene) {
			n := s.Command(at(5), "d")
			s.Ran(n, at(5), "yes")
			s.CommandEnded(n, at(6), Ending{Status: "succeeded", Data: "no", Refused: false, There: true})
		}, "invented"},
		{"a command fails though nothing is wrong", "redis-stopped", func(s *scene) {
			s.CommandEnded(s.Command(at(5), "d"), at(6), Ending{Status: "timed_out", Data: "", Refused: false, There: true})
		}, "failed"},
		{"a command fails whose device is away", "redis-stopped", func(s *scene) {
			s.CommandEnded(s.Command(at(5), "d"), at(6), Ending{Refused: true})
		}, "(failed)"},
		{"a command fails while Redis stands still", "redis-stopped", func(s *scene) {
			s.CommandEnded(s.Command(at(11), "d"), at(12), Ending{Status: "timed_out", Data: "", Refused: false, There: true})
		}, "(failed)"},
		{"a cap on messages is passed", "redis-stopped", func(s *scene) {
			c := s.Cap("app", 1, 1)
			c.Sent(Acked, false)
			c.Sent(Acked, false)
			s.periods[0].Other = c.Judge(at(19), 2, false)
		}, "overrun"},
		{"a cap on messages is passed after Redis lost its data", "redis-killed", func(s *scene) {
			c := s.Cap("app", 1, 1)
			c.Sent(Acked, false)
			c.Sent(Acked, false)
			s.periods[0].Other = c.Judge(at(19), 2, true)
		}, "(overrun)"},
		{"a cap on messages is passed by more than a new count allows", "redis-killed", func(s *scene) {
			c := s.Cap("app", 1, 1)
			for range 3 {
				c.Sent(Acked, false)
			}
			s.periods[0].Other = c.Judge(at(19), 3, true)
		}, "overrun"},
		{"messages are dropped below the cap", "redis-stopped", func(s *scene) {
			c := s.Cap("app", 2, 1)
			c.Sent(Acked, false)
			c.Sent(Refused, true)
			s.periods[0].Other = c.Judge(at(19), 2, false)
		}, "underrun"},
		{"a usage that is not what was used", "redis-stopped", func(s *scene) {
			c := s.Cap("app", 2, 1)
			c.Sent(Acked, false)
			s.periods[0].Other = c.Judge(at(19), 0, false)
		}, "miscount"},
		{"a cap on connections is passed", "redis-stopped", func(s *scene) {
			c := s.Cap("app", 1, 1)
			c.Opened()
			c.Opened()
			s.periods[0].Other = c.Judge(at(19), 0, false)
		}, "overrun"},
		{"a socket ends with Redis", "redis-killed", func(s *scene) { s.Closed(at(12), "w", 0, "1011") }, "closed"},
		{"a socket ends with its node", "node-killed", func(s *scene) { s.Closed(at(12), "w", 0, "eof") }, "(closed)"},
		{"a socket ends with another node", "node-killed on node 1", func(s *scene) { s.Closed(at(12), "w", 0, "eof") }, "closed"},
		{"an answer is late", "redis-stopped", func(s *scene) { s.Took(at(12), at(16), 0, "the answer") }, "late"},
		{"an answer of a node that stands still is late", "node-stopped", func(s *scene) { s.Took(at(12), at(16), 0, "the answer") }, "(late)"},
		{"a group loses an acked message", "redis-restarted", func(s *scene) { s.send(s.telemetry, 12, Acked, position(0)) }, "lost"},
		{"a group loses what a replica had not got", "failover-killed", func(s *scene) { s.send(s.telemetry, 12, Acked, position(0)) }, "(lost)"},
		{"a group loses what a replica had", "failover-killed", func(s *scene) { s.send(s.telemetry, 5, Acked, position(0)) }, "lost"},
		{"a group loses what waited when Redis was emptied", "redis-emptied", func(s *scene) { s.send(s.telemetry, 5, Acked, position(0)) }, "(lost)"},
		{"a group loses what waited long after Redis was emptied", "redis-emptied", func(s *scene) { s.send(s.telemetry, 16, Acked, position(0)) }, "lost"},
		{"a group gets a message that was refused", "redis-stopped", func(s *scene) {
			s.ingest(13, s.send(s.telemetry, 12, Refused, position(0)), 1, Held)
		}, "undead"},
		{"a group gets a message that nobody sent", "redis-stopped", func(s *scene) { s.ingest(13, 7, 1, Held) }, "invented"},
		{"a group gets a message of another channel", "redis-stopped", func(s *scene) {
			n := s.send(s.plain, 5, Acked, position(0))
			s.hear(5, n)
			s.group.Handed(at(6), "w", "plain", n, 1)
		}, "invented"},
		{"two ingesters get the same delivery", "node-killed", func(s *scene) {
			n := s.send(s.telemetry, 5, Acked, position(0))
			s.ingest(6, n, 1, Held)
			s.ingest(6, n, 1, Lapsed)
		}, "doubled"},
		{"two ingesters get the same delivery, since a replica did not know of the first", "failover-killed", func(s *scene) {
			n := s.send(s.telemetry, 9, Acked, position(0))
			s.ingest(9.9, n, 1, Held)
			s.ingest(16, n, 1, Held)
		}, "(doubled)"},
		{"a message comes again after its acknowledgement", "node-killed", func(s *scene) {
			n := s.send(s.telemetry, 5, Acked, position(0))
			s.ingest(6, n, 1, Held)
			s.ingest(9, n, 2, Held)
		}, "doubled"},
		{"a group goes back though nothing comes again", "ingester-paused", func(s *scene) {
			a, b := s.send(s.telemetry, 5, Acked, position(0)), s.send(s.telemetry, 5.2, Acked, position(0))
			s.ingest(6, b, 1, Held)
			s.ingest(6, a, 1, Held)
		}, "reordered"},
		{"an ingester that stood still reads late", "ingester-paused", func(s *scene) {
			a, b := s.send(s.telemetry, 5, Acked, position(0)), s.send(s.telemetry, 5.2, Acked, position(0))
			s.ingest(12, a, 2, Held)
			s.ingest(12, b, 1, Held)
			s.ingest(14, a, 1, Lapsed)
		}, ""},
		{"a message dies that ingesters take", "ingester-killed", func(s *scene) { s.bury(s.send(s.telemetry, 5, Acked, position(0))) }, "failed"},
		{"a dead letter that nobody sent", "ingester-killed", func(s *scene) { s.bury(3) }, "invented"},
		{"a poisonous message does not die", "ingester-killed", func(s *scene) {
			n := s.send(s.telemetry, 5, Acked, position(0))
			s.telemetry.Poison(n)
			s.ingest(6, n, 1, Nacked)
		}, "lost"},
		{"a poisonous message dies twice", "ingester-killed", func(s *scene) {
			n := s.send(s.telemetry, 5, Acked, position(0))
			s.telemetry.Poison(n)
			s.bury(n)
			s.bury(n)
		}, "lost"},
		{"a dead letter is gone since Redis was emptied", "redis-emptied", func(s *scene) {
			n := s.send(s.telemetry, 5, Acked, position(0))
			s.telemetry.Poison(n)
			s.ingest(6, n, 1, Nacked)
		}, "(lost)"},
		{"a target gets a message several times", "node-killed", func(s *scene) {
			s.group.Sink = true
			a, b := s.send(s.telemetry, 5, Acked, position(0)), s.send(s.telemetry, 5.1, Acked, position(0))
			for range 2 {
				s.ingest(6, a, 1, Open)
				s.ingest(6, b, 1, Open)
			}
		}, ""},
		{"a target gets messages in the wrong order", "sink-slow", func(s *scene) {
			s.group.Sink = true
			a, b := s.send(s.telemetry, 5, Acked, position(0)), s.send(s.telemetry, 5.1, Acked, position(0))
			s.ingest(6, b, 1, Open)
			s.ingest(6, a, 1, Open)
		}, "reordered"},
		{"a target does not get a message", "sink-killed", func(s *scene) {
			s.group.Sink = true
			s.send(s.telemetry, 12, Acked, position(0))
		}, "lost"},
		{"a full group takes messages", "group-full", func(s *scene) { s.room(func(r *Room) { r.Full[1] = false }) }, "overrun"},
		{"a group takes more than it may", "group-full", func(s *scene) { s.room(func(r *Room) { r.Bytes = 1001 }) }, "overrun"},
		{"a group is full that is not", "group-full", func(s *scene) { s.room(func(r *Room) { r.Bytes = 400 }) }, "underrun"},
		{"a message that a full group refuses counts", "group-full", func(s *scene) { s.room(func(r *Room) { r.Used = 4 }) }, "miscount"},
		{"a full group loses what it took", "group-full", func(s *scene) { s.room(func(r *Room) { delete(r.Ingested, 1) }) }, "lost"},
		{"subscribers do not get what a full group took", "group-full", func(s *scene) { s.room(func(r *Room) { delete(r.Heard, 1) }) }, "lost"},
		{"subscribers get what a full group refused", "group-full", func(s *scene) { s.room(func(r *Room) { r.Heard[2] = 1 }) }, "undead"},
		{"ingesters get what a full group refused", "group-full", func(s *scene) { s.room(func(r *Room) { r.Ingested[2] = 1 }) }, "undead"},
		{"a full group makes a message", "group-full", func(s *scene) { s.room(func(r *Room) { r.Ingested[9] = 1 }) }, "invented"},
		{"a group that is drained takes nothing", "group-full", func(s *scene) { s.room(func(r *Room) { r.AfterDrained = errors.New("full") }) }, "underrun"},
		{"a group that is drained counts bytes", "group-full", func(s *scene) { s.room(func(r *Room) { r.Left = 64 }) }, "miscount"},
		{"a ghost", "node-killed", func(s *scene) {
			s.periods[0].Other = []Finding{{Kind: Ghost, At: at(19)}}
		}, "ghost"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fault, node, _ := strings.Cut(tt.fault, " on node ")
			s := open(fault, len(node)) // "": 0; "1": 1
			tt.mutate(s)
			var got []string
			for _, f := range s.Judge()[0].Findings {
				text := string(f.Kind)
				if f.Allowed {
					text = "(" + text + ")"
				}
				got = append(got, text)
			}
			slices.Sort(got)
			if strings.Join(got, " ") != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

// A message counts in the row of the period in which it was sent.
func TestARowHasWhatWasSentInIt(t *testing.T) {
	s := open("redis-killed", 0)
	f, _ := plan.ByName("redis-full")
	s.Add(Period{Step: plan.Step{Fault: f}, Start: at(22), Lifted: at(23), Live: at(24), End: at(25)})
	s.hear(5, s.send(s.plain, 5, Acked, position(0)))
	s.send(s.plain, 12, Refused, position(0))
	s.send(s.plain, 23, Unknown, position(0))
	rows := s.Judge()
	if a := rows[0]; a.Acked != 1 || a.Refused != 1 || a.Unknown != 0 || a.Deliveries != 1 {
		t.Errorf("the first: %+v", a)
	}
	if b := rows[1]; b.Acked != 0 || b.Refused != 0 || b.Unknown != 1 || b.Deliveries != 0 {
		t.Errorf("the second: %+v", b)
	}
}

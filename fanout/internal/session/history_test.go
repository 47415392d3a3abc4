package session

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/replay"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/history"
)

// process is that of the node under test, whose publisher's messages name it.
const process = 7

// memory stands in for what Redis remembers: channels of so many messages each.
type memory struct {
	mu       sync.Mutex
	size     int
	channels map[string]*remembered
	err      error           // what Read answers
	gate     chan struct{}   // nil, or each Read waits for one, before it reads
	reads    []*history.Read // that were asked for
	asked    chan struct{}   // one for each Read that waits at the gate
}

type remembered struct {
	epoch    string
	offset   uint64
	messages []history.Message
}

func newMemory(size int) *memory {
	return &memory{size: size, channels: map[string]*remembered{}, asked: make(chan struct{}, 100)}
}

func (m *memory) channel(name string) *remembered {
	c := m.channels[name]
	if c == nil {
		c = &remembered{epoch: "E1"}
		m.channels[name] = c
	}
	return c
}

// publish remembers a message, and returns what a node gets of it.
func (m *memory) publish(name, from string, connection uint64, data string) envelope.Delivery {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.channel(name)
	c.offset++
	one := history.Message{ID: envelope.ID{Process: process, Sequence: c.offset}, Connection: connection, Offset: c.offset, From: from, Data: []byte(data)}
	c.messages = append(c.messages, one)
	if len(c.messages) > m.size {
		c.messages = slices.Clone(c.messages[1:])
	}
	return envelope.Delivery{
		ID: one.ID, App: "app_test", Channel: name, Frame: one.Frame(name, false, false), Publisher: connection,
		Position: protocol.Position{Epoch: c.epoch, Offset: c.offset},
	}
}

// begin begins an epoch, which has no messages.
func (m *memory) begin(name, epoch string) {
	m.mu.Lock()
	m.channels[name] = &remembered{epoch: epoch}
	m.mu.Unlock()
}

func (m *memory) Read(_ context.Context, reads []*history.Read) error {
	m.mu.Lock()
	gate := m.gate
	m.mu.Unlock()
	if gate != nil {
		m.asked <- struct{}{}
		<-gate
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads = append(m.reads, reads...)
	if m.err != nil {
		for _, r := range reads {
			r.Err = m.err
		}
		return m.err
	}
	for _, r := range reads {
		m.channel(r.Channel).read(r)
	}
	return nil
}

func (c *remembered) read(r *history.Read) {
	r.Position = protocol.Position{Epoch: c.epoch, Offset: c.offset}
	from := len(c.messages)
	switch {
	case r.Last > 0:
		from = max(0, from-r.Last)
	case r.Since != nil:
		from = 0
		r.Recovered = r.Since.Epoch == c.epoch && r.Since.Offset <= c.offset && c.offset-r.Since.Offset <= uint64(len(c.messages))
		if r.Recovered {
			from = len(c.messages) - int(c.offset-r.Since.Offset)
		}
	}
	bytes := 0
	for _, one := range c.messages[from:] {
		if bytes += len(one.Data); bytes > r.MaxBytes && len(r.Messages) > 0 {
			r.More = true
			return
		}
		r.Messages = append(r.Messages, one)
	}
}

// remembering has a world whose channels devices/log/* remember so many messages each.
func remembering(t *testing.T, size int) (*world, *memory) {
	w, m := newWorld(t), newMemory(size)
	reader := replay.NewReader(replay.Options{Store: m, Process: process, Log: w.opt.Conn.Log})
	w.opt.History = reader
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		reader.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		m.open()
		<-done
	})
	return w, m
}

// close has each Read wait until it is let through, or open is called.
func (m *memory) close() {
	m.mu.Lock()
	m.gate = make(chan struct{})
	m.mu.Unlock()
}

func (m *memory) open() {
	m.mu.Lock()
	if m.gate != nil {
		close(m.gate)
		m.gate = nil
	}
	m.mu.Unlock()
}

// remembers is a grant for a peer in channels that remember.
func (w *world) remembers(peer string) *auth.Grant {
	pattern, err := channel.Compile("devices/log/*")
	check(w.t, err)
	app := *w.key.App
	app.History = []apps.HistoryRule{{Pattern: pattern, Size: 1000, TTL: time.Hour}}
	key := *w.key
	key.App = &app
	return &auth.Grant{App: &app, Key: &key, Peer: peer, Actions: key.Actions}
}

const logA = "devices/log/a"

// happens publishes messages, which reach the node.
func (w *world) happens(m *memory, from, to int) {
	for i := from; i <= to; i++ {
		w.deliver(m.publish(logA, "sender", 0, fmt.Sprint(i)))
	}
}

// misses publishes messages that do not reach the node.
func (m *memory) misses(from, to int) {
	for i := from; i <= to; i++ {
		m.publish(logA, "sender", 0, fmt.Sprint(i))
	}
}

func (w *world) deliver(all ...envelope.Delivery) {
	for len(all) > 0 {
		all = all[w.opt.Hub.Broadcast(all):]
	}
}

// live and replayed are messages whose data is their offset.
func live(from, to int) []want     { return messages(from, to, "") }
func replayed(from, to int) []want { return messages(from, to, `,"replayed":true`) }

func messages(from, to int, more string) (all []want) {
	for i := from; i <= to; i++ {
		all = append(all, aText(fmt.Sprintf(`{"type":"message","channel":"%s","from":"sender","data":%d,"offset":%d%s}`, logA, i, i, more)))
	}
	return all
}

func ackAt(requestID, epoch string, offset int) want {
	return aText(fmt.Sprintf(`{"type":"ack","requestId":"%s","epoch":"%s","offset":%d}`, requestID, epoch, offset))
}

func ackSince(requestID, epoch string, offset int, recovered bool) want {
	return aText(fmt.Sprintf(`{"type":"ack","requestId":"%s","epoch":"%s","offset":%d,"recovered":%v}`, requestID, epoch, offset, recovered))
}

func gap(epoch string, offset int) want {
	return aText(fmt.Sprintf(`{"type":"gap","channel":"%s","epoch":"%s","offset":%d}`, logA, epoch, offset))
}

func (p *peer) wants(all ...[]want) {
	p.TB.Helper()
	for _, some := range all {
		p.Want(some...)
	}
	p.Want(alive)
}

// asks subscribes, with fields such as ,"last":1
func (p *peer) asks(requestID, fields string) {
	p.TB.Helper()
	p.Write(text(`{"type":"subscribe","channel":"` + logA + `","requestId":"` + requestID + `"` + fields + `}`))
}

func since(epoch string, offset int) string {
	return fmt.Sprintf(`,"since":{"epoch":"%s","offset":%d}`, epoch, offset)
}

func one(w want) []want { return []want{w} }

// Protocol §9: the ack says where the channel is. The messages that the channel remembers
// follow, and then live ones.
func TestReplay(t *testing.T) {
	for _, tt := range []struct {
		name, fields string
		ack          want
		replay       []want
	}{
		{"nothing", "", ackAt("r", "E1", 20), nil},
		{"none of the last", `,"last":0`, ackAt("r", "E1", 20), nil},
		{"the last", `,"last":1`, ackAt("r", "E1", 20), replayed(20, 20)},
		{"more than there are", `,"last":1000`, ackAt("r", "E1", 20), replayed(11, 20)},
		{"since a position", since("E1", 15), ackSince("r", "E1", 20, true), replayed(16, 20)},
		{"since the oldest", since("E1", 10), ackSince("r", "E1", 20, true), replayed(11, 20)},
		{"since one that is forgotten", since("E1", 9), ackSince("r", "E1", 20, false), replayed(11, 20)},
		{"since the beginning", since("E1", 0), ackSince("r", "E1", 20, false), replayed(11, 20)},
		{"since the newest", since("E1", 20), ackSince("r", "E1", 20, true), nil},
		{"since one to come", since("E1", 21), ackSince("r", "E1", 20, false), replayed(11, 20)},
		{"since another epoch", since("E0", 20), ackSince("r", "E1", 20, false), replayed(11, 20)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, m := remembering(t, 10)
			m.misses(1, 20)
			p := w.connect(w.remembers("device-1"))
			p.asks("r", tt.fields)
			p.Want(tt.ack)
			p.wants(tt.replay)
			w.happens(m, 21, 23)
			p.wants(live(21, 23))
		})
	}
}

// A subscribe without requestId gets no ack, and the rest all the same.
func TestReplayWithoutAnAck(t *testing.T) {
	w, m := remembering(t, 10)
	m.misses(1, 3)
	p := w.connect(w.remembers("device-1"))
	p.Write(text(`{"type":"subscribe","channel":"` + logA + `","last":2}`))
	p.wants(replayed(2, 3))
	w.happens(m, 4, 4)
	p.wants(live(4, 4))
}

// A channel that remembers nothing says so to those that ask, and costs no read.
func TestNothingToReplay(t *testing.T) {
	w, m := remembering(t, 10)
	p := w.connect(w.remembers("device-1"))
	p.Write(text(`{"type":"subscribe","channel":"devices/a","requestId":"r","since":{"epoch":"E1","offset":1}}`))
	p.Want(aText(`{"type":"ack","requestId":"r","recovered":false}`))
	p.Write(text(`{"type":"subscribe","channel":"devices/a","requestId":"l","last":1}`))
	p.Want(anAck("l"), alive)
	p.Write(text(`{"type":"subscribe","channel":"devices/log/*","requestId":"w"}`))
	p.Want(anAck("w"), alive)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.reads) > 0 {
		t.Errorf("%d reads", len(m.reads))
	}
}

// Wildcards see offsets, and replay nothing.
func TestWildcardsReplayNothing(t *testing.T) {
	w, m := remembering(t, 10)
	p := w.connect(w.remembers("device-1"))
	for _, fields := range []string{`,"last":0`, `,"last":1`, since("E1", 1)} {
		p.Write(text(`{"type":"subscribe","channel":"devices/log/*","requestId":"r"` + fields + `}`))
		p.Want(aText(`{"type":"error","requestId":"r","code":"malformed_message","message":"a channel is replayed to subscribers by name; subscribe to \"devices/log/*\" without since and last"}`))
	}
	p.Write(text(`{"type":"subscribe","channel":"devices/log/*","requestId":"r"}`))
	p.Want(anAck("r"), alive)
	w.happens(m, 1, 2)
	p.wants(live(1, 2))
}

// Messages that are published while the node reads come once, in order: as replayed, or
// live. A message that was replayed does not come again when it reaches the node late.
func TestReplayMeetsLive(t *testing.T) {
	w, m := remembering(t, 100)
	m.misses(1, 5)
	m.close()
	p := w.connect(w.remembers("device-1"))
	p.asks("r", since("E1", 2))
	<-m.asked
	w.happens(m, 6, 8) // before Redis reads
	late := []envelope.Delivery{m.publish(logA, "sender", 0, "9"), m.publish(logA, "sender", 0, "10")}
	m.gate <- struct{}{}
	p.wants(one(ackSince("r", "E1", 10, true)), replayed(3, 10))
	w.deliver(late...)
	w.happens(m, 11, 12)
	p.wants(live(11, 12))
}

// A page that the connection has taken in part only is followed by the next, and by what
// was published meanwhile, which no node holds for it.
func TestReplayInPages(t *testing.T) {
	w, m := remembering(t, 1000)
	m.misses(1, 300)
	const remembered, published = 250, 100
	large := func(i int) string { return fmt.Sprintf(`"%d%s"`, i, string(slices.Repeat([]byte("x"), 30_000))) }
	for i := range remembered {
		m.publish("devices/log/b", "sender", 0, large(i+1))
	}
	p := w.connect(w.remembers("device-1"))
	p.Write(text(`{"type":"subscribe","channel":"devices/log/b","requestId":"r","last":250}`))
	p.Want(ackAt("r", "E1", remembered))
	// The socket is full by now, or will be: the replay is more than a kernel takes by
	// itself. Live messages are more than any connection may have unsent.
	for i := range published {
		w.deliver(m.publish("devices/log/b", "sender", 0, large(remembered+i+1)))
	}
	for i := range remembered + published {
		more := ""
		if i < remembered {
			more = `,"replayed":true`
		}
		p.Want(aText(fmt.Sprintf(`{"type":"message","channel":"devices/log/b","from":"sender","data":%s,"offset":%d%s}`, large(i+1), i+1, more)))
	}
	p.Want(alive)
	w.deliver(m.publish("devices/log/b", "sender", 0, `"end"`))
	p.Want(aText(`{"type":"message","channel":"devices/log/b","from":"sender","data":"end","offset":351}`), alive)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.reads {
		bytes := 0
		for _, one := range r.Messages {
			bytes += len(one.Data)
		}
		if bytes > 256<<10 {
			t.Errorf("a page of %d bytes", bytes)
		}
	}
}

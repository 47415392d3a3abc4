package hub

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/envelope"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("down")

// interest writes down what the hub says to the receiver.
type interest struct {
	mu    sync.Mutex
	calls []string
	err   error // refuses changes that ask for an answer

	subscribers, patterns map[string]int // where that leaves the receiver
}

func newInterest() *interest {
	return &interest{subscribers: map[string]int{}, patterns: map[string]int{}}
}

func (i *interest) note(done func(error), format string, args ...any) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	call := fmt.Sprintf(format, args...)
	if done == nil {
		call += " quietly"
	} else if i.err != nil {
		i.calls = append(i.calls, call+" refused")
		return i.err
	}
	i.calls = append(i.calls, call)
	return nil
}

func (i *interest) SetSubscribers(app, name string, n int, done func(error)) error {
	err := i.note(done, "%s %s = %d", app, name, n)
	if err == nil {
		i.mu.Lock()
		i.subscribers[app+" "+name] = n
		i.mu.Unlock()
	}
	return err
}

func (i *interest) AddPattern(app string, p *channel.Pattern, done func(error)) error {
	err := i.note(done, "%s +%s", app, p)
	if err == nil {
		i.mu.Lock()
		i.patterns[app+" "+p.String()]++
		i.mu.Unlock()
	}
	return err
}

func (i *interest) RemovePattern(app string, p *channel.Pattern) {
	_ = i.note(nil, "%s -%s", app, p)
	i.mu.Lock()
	i.patterns[app+" "+p.String()]--
	i.mu.Unlock()
}

func (i *interest) SetConnections(app, peer string, n int, done func(error)) error {
	return i.note(done, "%s peer %s = %d", app, peer, n)
}

// want checks what was said since the last want.
func (i *interest) want(t *testing.T, calls ...string) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	if !slices.Equal(i.calls, calls) {
		t.Errorf("the receiver was told %q, want %q", i.calls, calls)
	}
	i.calls = nil
}

func deliveries(messages ...sent) []envelope.Delivery {
	batch := make([]envelope.Delivery, len(messages))
	for n, m := range messages {
		batch[n] = m.Delivery
	}
	return batch
}

type sent struct{ envelope.Delivery }

// message is one of app's to a channel, its data a string.
func message(app, name, data string) sent {
	body := protocol.AppendMessage(nil, name, "sender", nil, []byte(`"`+data+`"`))
	return sent{Delivery: envelope.Delivery{App: app, Channel: name, Frame: protocol.AppendTextFrame(nil, body)}}
}

// direct is a message to a peer of app, its data a string.
func direct(app, peer, data string) sent {
	body := protocol.AppendDirect(nil, "sender", nil, []byte(`"`+data+`"`))
	return sent{Delivery: envelope.Delivery{Kind: envelope.KindPeer, App: app, Channel: peer, Frame: protocol.AppendTextFrame(nil, body)}}
}

func (m sent) from(connection uint64) sent { m.Publisher = connection; return m }

// subscriber keeps what it is given, as a session does.
type subscriber struct {
	id       uint64
	sequence uint64
	pending  bool // told to flush
	got      [][]byte
	appends  int // that were queued
	flushes  int
	unsent   int  // bytes since the last flush
	most     int  // that unsent has ever been
	refuses  bool // is closing

	closed  []protocol.CloseCode
	onClose func()
}

func (s *subscriber) ID() uint64 { return s.id }

func (s *subscriber) Append(frame []byte, sequence uint64) (queued, flush bool) {
	if s.sequence == sequence {
		return false, false
	}
	s.sequence = sequence
	if s.refuses {
		return false, false
	}
	s.got = append(s.got, frame)
	s.appends++
	s.unsent += len(frame)
	s.most = max(s.most, s.unsent)
	flush = !s.pending
	s.pending = true
	return true, flush
}

func (s *subscriber) Flush() { s.flushes++; s.pending, s.unsent = false, 0 }

func (s *subscriber) Close(why *protocol.CloseError) bool {
	if s.onClose != nil {
		s.onClose()
	}
	was := !s.refuses
	s.refuses = true
	s.closed = append(s.closed, why.Code)
	return was
}

// taken are the bytes that came since the last taken.
func (s *subscriber) taken() string {
	var all []byte
	for _, f := range s.got {
		all = append(all, f...)
	}
	s.got = nil
	return string(all)
}

func frames(messages ...sent) string {
	var all []byte
	for _, m := range messages {
		all = append(all, m.Frame...)
	}
	return string(all)
}

func none(error) {}

func mustCompile(t testing.TB, s string) *channel.Pattern {
	t.Helper()
	p, err := channel.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// broadcast hands on the messages of each app to the end.
func broadcast(h *Hub, batch []envelope.Delivery) {
	for len(batch) > 0 {
		n := slices.IndexFunc(batch, func(d envelope.Delivery) bool { return d.App != batch[0].App })
		if n < 0 {
			n = len(batch)
		}
		for rest := batch[:n]; len(rest) > 0; {
			rest = rest[h.Broadcast(rest):]
		}
		batch = batch[n:]
	}
}

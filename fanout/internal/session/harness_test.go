package session

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn"
	"fleetwire/fanout/internal/conn/conntest"
	"fleetwire/fanout/internal/hub"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/logtest"
	"fleetwire/pkg/publish"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Short names for what most tests use.
type (
	frame = conntest.Frame
	want  = conntest.Want
)

var (
	text    = conntest.Text
	closing = conntest.Closing
	join    = conntest.Join
	aText   = conntest.WantText
	aClose  = conntest.WantClose
)

// document has room for everything; tests that are about limits lower them.
const document = `{"apps":[{"id":"app_test",
 "limits":{"connectionMessagesPerSec":1000000,"connectionMessagesBurst":1000000},
 "keys":[{"id":"sk_test","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["devices/**","fleets/*"],
          "actions":["publish","subscribe","presence","send"]},
         {"id":"sk_second","secret":"fedcba9876543210fedcba9876543210","channelPatterns":["fleets/*"],"actions":["subscribe"]}]},
 {"id":"app_other",
  "keys":[{"id":"sk_other","secret":"00112233445566778899aabbccddeeff","channelPatterns":["devices/**"],"actions":["subscribe"]}]}]}`

// world is what a node would give its sessions.
type world struct {
	t         testing.TB
	opt       Options
	interest  *interest
	publisher *publisher
	lists     *lists
	commands  *commandsOf
	wills     *willsOf
	clock     *clock
	log       *logBuffer
	dir       *apps.Directory
	store     *apps.Store
	verify    atomic.Pointer[verifier]
	key       *apps.Key
	ids       atomic.Uint64
	peers     sync.Map // by their session's id
	refused   *peer

	revokedSince atomic.Pointer[time.Time] // tokens issued up to then are revoked
	mu           sync.Mutex
	revokedErr   error    // what Redis answers instead
	holds        bool     // answers are held
	held         []func() // answers
}

type verifier func(token, origin string) (*auth.Grant, *protocol.CloseError)

func (w *world) verifyWith(v verifier) { w.verify.Store(&v) }

func newWorld(t testing.TB) *world {
	t.Helper()
	dir, err := apps.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, store: apps.NewStore(dir), interest: &interest{subscribers: map[string]int{}, connections: map[string]int{}}, publisher: &publisher{}, lists: newLists(), commands: &commandsOf{}, wills: &willsOf{}, clock: &clock{}, log: &logBuffer{}}
	w.key, _ = dir.Key("sk_test")
	w.clock.set(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	w.verifyWith(func(token, _ string) (*auth.Grant, *protocol.CloseError) {
		return auth.VerifyToken(dir, token, w.clock.now())
	})
	verify := func(token, origin string) (*auth.Grant, *protocol.CloseError) {
		return (*w.verify.Load())(token, origin)
	}
	loops, err := conn.NewLoops()
	check(t, err)
	ctx, stop := context.WithCancel(context.Background())
	running := make(chan struct{})
	go func() {
		defer close(running)
		loops.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-running
	})
	w.revokedSince.Store(&time.Time{})
	revoked := func(g *auth.Grant, done func(bool, error)) {
		w.mu.Lock()
		defer w.mu.Unlock()
		answer := func() { done(!g.IssuedAt.After(*w.revokedSince.Load()), w.revokedErr) }
		if w.holds {
			w.held = append(w.held, answer)
			return
		}
		go answer()
	}
	w.opt = Options{
		Hub: hub.New(w.interest), Publisher: w.publisher, Members: w.lists, Watchers: w.lists, Commands: w.commands, Verify: verify, Revoked: revoked, Directory: w.store.Current, Now: w.clock.now, SetWill: w.wills.set,
		Conn: conn.Options{Loops: loops, Ticks: w.clock.ticks, Log: slog.New(slog.NewTextHandler(w.log, nil))},
		Left: func(s *Session, how conn.Ended) {
			p := w.peerOf(s)
			p.left.Add(1)
			p.how = how
		},
		Changed: func(s *Session) { w.peerOf(s).changed.Add(1) },
		State: func(s *Session, peer string) {
			p := w.peerOf(s)
			w.mu.Lock()
			defer w.mu.Unlock()
			p.states = append(p.states, peer)
		},
		Ended: func(s *Session, ended conn.Ended) {
			p := w.peerOf(s)
			p.ended = ended
			close(p.done)
		},
	}
	return w
}

// peerOf is the peer that a session was started for.
func (w *world) peerOf(s *Session) *peer {
	if s.ID() == 0 {
		return w.refused
	}
	p, _ := w.peers.Load(s.ID())
	return p.(*peer)
}

// grant lets a peer do everything that its key may, for ever.
func (w *world) grant(peer string) *auth.Grant {
	return &auth.Grant{App: w.key.App, Key: w.key, Peer: peer, Actions: w.key.Actions}
}

// limited is grant with another rate.
func (w *world) limited(peer string, perSec, burst int) *auth.Grant {
	app := *w.key.App
	app.Limits.ConnectionMessagesPerSec, app.Limits.ConnectionMessagesBurst = perSec, burst
	key := *w.key
	key.App = &app
	return &auth.Grant{App: &app, Key: &key, Peer: peer, Actions: key.Actions}
}

// clock is the time of day and, but for when that is set, what has passed.
type clock struct {
	at      atomic.Pointer[time.Time]
	stepped atomic.Int64 // by how much the time of day was set
}

// ticks only run forward.
func (c *clock) ticks() time.Duration {
	return c.now().Sub(time.Unix(1_700_000_000, 0)) - time.Duration(c.stepped.Load())
}

// step sets the time of day.
func (c *clock) step(d time.Duration) {
	c.stepped.Add(int64(d))
	c.advance(d)
}

func (c *clock) now() time.Time               { return *c.at.Load() }
func (c *clock) set(t time.Time)              { c.at.Store(&t) }
func (c *clock) advance(d time.Duration)      { c.set(c.now().Add(d)) }
func (c *clock) in(d time.Duration) time.Time { return c.now().Add(d) }

// interest stands in for the receiver.
type interest struct {
	mu          sync.Mutex
	err         error // refuses every change that asks for an answer
	hold        bool  // answers are kept back until release
	eager       bool  // answers come before the call returns
	held        []func(error)
	subscribers map[string]int // by channel, or by pattern
	connections map[string]int // by peer
}

func (i *interest) SetSubscribers(_, name string, n int, done func(error)) error {
	return i.change(done, func() { i.subscribers[name] = n })
}

func (i *interest) AddPattern(_ string, p *channel.Pattern, done func(error)) error {
	return i.change(done, func() { i.subscribers[p.String()]++ })
}

func (i *interest) RemovePattern(_ string, p *channel.Pattern) {
	_ = i.change(nil, func() { i.subscribers[p.String()]-- })
}

func (i *interest) SetConnections(_, peer string, n int, done func(error)) error {
	return i.change(done, func() { i.connections[peer] = n })
}

func (i *interest) change(done func(error), change func()) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if done != nil && i.err != nil {
		return i.err
	}
	change()
	switch {
	case done == nil:
	case i.hold:
		i.held = append(i.held, done)
	case i.eager:
		done(nil)
	default:
		go done(nil)
	}
	return nil
}

func (i *interest) set(err error, hold bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err, i.hold = err, hold
}

// release answers everything that is held, and says how much that was.
func (i *interest) release(err error) int {
	i.mu.Lock()
	held := i.held
	i.held = nil
	i.mu.Unlock()
	for _, done := range held {
		done(err)
	}
	return len(held)
}

func (i *interest) subscribersOf(name string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.subscribers[name]
}

// publisher keeps what is published, and answers with answer, or well.
type publisher struct {
	mu       sync.Mutex
	messages []publish.Message
	answer   func(publish.Message) (publish.Result, *protocol.Error)
}

func (p *publisher) Submit(m publish.Message, done publish.Completion) *protocol.Error {
	m.Data = bytes.Clone(m.Data)
	var result publish.Result
	if p.answer != nil {
		var refused *protocol.Error
		if result, refused = p.answer(m); refused != nil {
			return refused
		}
	}
	p.mu.Lock()
	p.messages = append(p.messages, m)
	p.mu.Unlock()
	done.Published(result)
	done.Flush()
	return nil
}

func (p *publisher) published() []publish.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.messages
}

// logBuffer is the log as text.
type logBuffer struct{ logtest.Buffer }

func (l *logBuffer) lines(with string) []string {
	var lines []string
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, with) {
			lines = append(lines, line)
		}
	}
	return lines
}

// peer is the other end of a session.
type peer struct {
	*conntest.Peer
	session *Session
	left    atomic.Int32 // how often Options.Left was called
	changed atomic.Int32 // how often what others see of it
	states  []string     // that were asked for (world.mu)
	how     conn.Ended   // as Left was told; done comes after
	ended   conn.Ended   // once done is closed
	done    chan struct{}
}

// connect runs a session, and reads its welcome.
func (w *world) connect(grant *auth.Grant) *peer {
	w.t.Helper()
	p := w.start(grant, nil)
	p.Want(aWelcome)
	return p
}

// start runs a session over a real TCP connection, after prepare, if that is not nil.
func (w *world) start(grant *auth.Grant, prepare func(*Session)) *peer {
	w.t.Helper()
	p := w.open(grant, nil)
	if prepare != nil {
		prepare(p.session)
	}
	p.session.Start()
	return p
}

// open makes a session that has yet to start, or to be refused.
func (w *world) open(grant *auth.Grant, answer []byte) *peer {
	w.t.Helper()
	p, server := w.dial()
	s, err := New(&w.opt, w.ids.Add(1), grant, server, Client{Address: "192.0.2.1"}, nil, answer)
	check(w.t, err)
	p.session = s
	p.starts(func() { w.peers.Store(s.ID(), p) })
	return p
}

func (w *world) dial() (*peer, *net.TCPConn) {
	w.t.Helper()
	p, server := conntest.Dial(w.t)
	return &peer{Peer: p}, server
}

// starts makes it known whose session is about to start.
func (p *peer) starts(known func()) {
	p.done = make(chan struct{})
	known()
	p.TB.Cleanup(func() {
		_ = p.Conn.Close()
		p.wait()
	})
}

// wait returns how the session has ended, when it has.
func (p *peer) wait() conn.Ended {
	p.TB.Helper()
	select {
	case <-p.done:
	case <-time.After(conntest.Patience):
		p.TB.Fatal("the session does not end")
	}
	return p.ended
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Regrant replaces the grant as a refresh does.
func (s *Session) Regrant(g *auth.Grant) (unsubscribed []string, refused *protocol.Error) {
	s.scope.mu.Lock()
	s.scope.asked++
	number := s.scope.asked
	s.scope.mu.Unlock()
	return s.regrantInOrder(g, number)
}

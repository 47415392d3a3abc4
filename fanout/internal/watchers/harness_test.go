package watchers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/wstest"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

var errDown = errors.New("down")

// reply is an error that Redis answers.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

const errWrongType = reply("WRONGTYPE Operation against a key holding the wrong kind of value")

// world is the watchers of a node, and a Redis that announces to them.
type world struct {
	t        testing.TB
	watchers *Watchers
	log      bytes.Buffer

	mu       sync.Mutex
	channels map[presence.ChannelID]*state
	clock    int64         // of incarnations
	loses    bool          // announcements get lost
	down     bool          // interest is refused, loading fails
	hold     chan struct{} // loads wait for it, but for those of other apps than held's
	held     string        // "": all
	refused  string        // the channel that Redis refuses to read
	loads    int
	wanted   map[string]int // by channel or pattern
	meant    func()         // see meanwhile
}

type state struct {
	version presence.Version
	members map[string]string
}

// inBubble runs the test with watchers in a synctest bubble.
func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, channels: map[presence.ChannelID]*state{}, wanted: map[string]int{}}
		w.watchers = New(Options{Interest: w, Load: w.load, Log: slog.New(slog.NewTextHandler(&w.log, nil))})
		w.watchers.encoding = w.encoding
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			w.watchers.Run(ctx)
		}()
		defer func() { cancel(); <-ended }()
		test(t, w)
	})
}

// meanwhile has something happen when next a window is encoded without the lock.
func (w *world) meanwhile(what func()) { w.set(func() { w.meant = what }) }

// happened checks that it has.
func (w *world) happened() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.meant != nil {
		w.t.Fatal("nothing was encoded without the lock")
	}
}

func (w *world) encoding() {
	w.mu.Lock()
	what := w.meant
	w.meant = nil
	w.mu.Unlock()
	if what != nil {
		what()
	}
}

func (w *world) SetWatchers(app, name string, n int, done func(error)) error {
	return w.change(app+" "+name, done, func(int) int { return n })
}

func (w *world) AddWatchPattern(app string, p *channel.Pattern, done func(error)) error {
	return w.change(app+" "+p.String(), done, func(n int) int { return n + 1 })
}

func (w *world) RemoveWatchPattern(app string, p *channel.Pattern) {
	_ = w.change(app+" "+p.String(), nil, func(n int) int { return n - 1 })
}

func (w *world) change(what string, done func(error), change func(int) int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if done != nil && w.down {
		return errDown
	}
	w.wanted[what] = change(w.wanted[what])
	if w.wanted[what] == 0 {
		delete(w.wanted, what)
	}
	if done != nil {
		go done(nil)
	}
	return nil
}

func (w *world) load(_ context.Context, ids []presence.ChannelID) ([]presence.State, error) {
	w.mu.Lock()
	hold := w.hold
	if w.held != "" && w.held != ids[0].App {
		hold = nil
	}
	down := w.down
	var refused error
	states := make([]presence.State, len(ids))
	for i, id := range ids {
		if id.App != ids[0].App {
			w.t.Errorf("one load is of apps %s and %s", id.App, ids[0].App)
		}
		if id.Channel == w.refused {
			refused = errWrongType
		}
		if s := w.channels[id]; s != nil {
			states[i].Version = s.version
			for peer, metadata := range s.members {
				states[i].Members = append(states[i].Members, presence.Member{Peer: peer, Metadata: metadata})
			}
		}
	}
	w.loads += len(ids)
	w.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if down {
		return nil, errDown
	}
	return states, refused
}

const app = "app"

// do makes changes in one step: "+p", "+p{…}" and "-p", as change.lua would.
func (w *world) do(name string, changes ...string) presence.Version {
	w.mu.Lock()
	id := presence.ChannelID{App: app, Channel: name}
	s := w.channels[id]
	if s == nil {
		s = &state{members: map[string]string{}}
		w.channels[id] = s
		w.clock++
		s.version.Incarnation = w.clock
	}
	var lines []string
	for _, c := range changes {
		peer, metadata, _ := strings.Cut(c[1:], "{")
		if metadata != "" {
			metadata = "{" + metadata
		}
		was, there := s.members[peer]
		switch {
		case c[0] == '-' && there:
			lines = append(lines, "-"+peer+"\t"+was)
			delete(s.members, peer)
		case c[0] == '+' && !there:
			lines = append(lines, "+"+peer+"\t"+metadata)
			s.members[peer] = metadata
		case c[0] == '+' && was != metadata:
			lines = append(lines, "~"+peer+"\t"+metadata)
			s.members[peer] = metadata
		}
	}
	if len(lines) > 0 {
		s.version.Number++
	}
	if len(s.members) == 0 {
		delete(w.channels, id)
	}
	version, loses := s.version, w.loses
	w.mu.Unlock()
	if len(lines) > 0 && !loses {
		w.announce(name, version, lines...)
	}
	return version
}

func (w *world) announce(name string, v presence.Version, lines ...string) {
	payload := v.String() + "\n"
	for _, l := range lines {
		payload += l + "\n"
	}
	w.watchers.Announced([]envelope.Delivery{{Kind: envelope.KindPresence, App: app, Channel: name, Frame: []byte(payload)}})
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// watcher accumulates what it is shown, and complains about what makes no sense.
type watcher struct {
	t  testing.TB
	id uint64

	mu      sync.Mutex
	queued  [][]byte
	frames  [][]byte // flushed
	flagged bool
	shown   map[string]map[string]string // by channel
	lines   []string
	lax     bool   // watches patterns: what it knows need not be true
	stable  string // begins the names of peers that never leave; "": there are none
}

func (w *world) watcher(id uint64) *watcher {
	return &watcher{t: w.t, id: id, shown: map[string]map[string]string{}}
}

func (o *watcher) ID() uint64 { return o.id }

func (o *watcher) AppendPresence(frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queued = append(o.queued, frame)
	flush := !o.flagged
	o.flagged = true
	return flush
}

func (o *watcher) AppendSnapshot(frame []byte) bool { return o.AppendPresence(frame) }

func (o *watcher) Flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flagged = false
	for _, f := range o.queued {
		o.frames = append(o.frames, f)
		o.read(f)
	}
	o.queued = nil
}

type presenceFrame struct {
	Type, Channel string
	Joined, Left  []struct {
		PeerID   string          `json:"peerId"`
		Metadata json.RawMessage `json:"metadata"`
	}
	line string // in short
	bad  error
}

// parsed keeps what frames say: they are shared, and read by thousands.
var parsed sync.Map // *byte → *presenceFrame

func parse(frame []byte) *presenceFrame {
	if p, ok := parsed.Load(&frame[0]); ok {
		return p.(*presenceFrame)
	}
	p := &presenceFrame{}
	f, err := wstest.ReadFrame(bytes.NewReader(frame))
	if err == nil {
		err = json.Unmarshal(f.Payload, p)
	}
	if err == nil && (p.Type != "presence" || p.Joined == nil || p.Left == nil) {
		err = errors.New("not a presence frame")
	}
	p.bad = err
	var b strings.Builder
	b.WriteString(p.Channel + ":")
	for _, j := range p.Joined {
		b.WriteString(" +" + j.PeerID + string(j.Metadata))
	}
	for _, l := range p.Left {
		b.WriteString(" -" + l.PeerID)
	}
	p.line = b.String()
	parsed.Store(&frame[0], p)
	return p
}

func (o *watcher) read(frame []byte) {
	p := parse(frame)
	if p.bad != nil {
		o.t.Errorf("%q: %v", frame, p.bad)
		return
	}
	shown := o.shown[p.Channel]
	if shown == nil {
		shown = map[string]string{}
		o.shown[p.Channel] = shown
	}
	for _, j := range p.Joined {
		if was, there := shown[j.PeerID]; there && was == string(j.Metadata) && !o.lax {
			o.t.Errorf("connection %d: %s joins %s again", o.id, j.PeerID, p.Channel)
		}
		shown[j.PeerID] = string(j.Metadata)
	}
	for _, l := range p.Left {
		if was, there := shown[l.PeerID]; (!there || was != string(l.Metadata)) && !o.lax {
			o.t.Errorf("connection %d: %s%s leaves %s, where it was not", o.id, l.PeerID, l.Metadata, p.Channel)
		}
		if o.stable != "" && strings.HasPrefix(l.PeerID, o.stable) {
			o.t.Errorf("connection %d: %s is shown to leave %s, though it is there", o.id, l.PeerID, p.Channel)
			trace("connection %d is shown %s", o.id, p.line)
		}
		delete(shown, l.PeerID)
	}
	o.lines = append(o.lines, p.line)
}

// want checks what was shown since the last want, one line a frame.
func (o *watcher) want(lines ...string) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Equal(o.lines, lines) {
		o.t.Errorf("connection %d was shown %q, want %q", o.id, o.lines, lines)
	}
	o.lines = nil
}

// wantTruth checks that the watcher knows what is.
func (w *world) wantTruth(o *watcher, name string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	truth := map[string]string{}
	if s := w.channels[presence.ChannelID{App: app, Channel: name}]; s != nil {
		truth = s.members
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	shown := o.shown[name]
	if shown == nil {
		shown = map[string]string{}
	}
	if !maps.Equal(shown, truth) {
		w.t.Errorf("connection %d knows of %s %v, and there are %v", o.id, name, shown, truth)
	}
}

// enter has a watcher's own peer join, and watch.
func (w *world) enter(o *watcher, name, peer string) {
	w.watchers.Watch(o, app, name)
	v := w.do(name, "+"+peer)
	w.watchers.Ready(o, app, name, v)
}

// watch has somebody watch who is there already.
func (w *world) watch(o *watcher, name string) {
	w.watchers.Watch(o, app, name)
	w.watchers.Ready(o, app, name, presence.Version{})
}

// pass lets a window close.
func pass() {
	time.Sleep(window)
	synctest.Wait()
}

func mustCompile(t testing.TB, s string) *channel.Pattern {
	t.Helper()
	p, err := channel.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func fleet(n int) []string {
	changes := make([]string, n)
	for i := range changes {
		changes[i] = fmt.Sprintf("+p%04d", i)
	}
	return changes
}

// leaving has the fleet leave.
func leaving(n int) []string {
	changes := fleet(n)
	for i, c := range changes {
		changes[i] = "-" + c[1:]
	}
	return changes
}

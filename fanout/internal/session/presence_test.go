package session

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/members"
	"fleetwire/fanout/internal/watchers"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/presence"
)

// lists stands in for the tracker and the watchers. Its snapshots are made up.
type lists struct {
	mu       sync.Mutex
	err      error // refuses
	hold     bool  // answers are kept back until release
	held     []func(error)
	listed   map[string]string // metadata by channel and connection
	watching map[string]bool   // by channel or pattern, and connection
	snapshot []byte            // nil: there are none
	late     bool              // snapshots are kept back until show
	promised map[string]bool   // snapshots, by channel and connection
	toShow   []string          // the channels
	watcher  watchers.Watcher  // who is to be shown them
	eager    bool              // answers come before the call returns
}

func newLists() *lists {
	return &lists{listed: map[string]string{}, watching: map[string]bool{}, promised: map[string]bool{}}
}

func entry(name string, id uint64) string { return fmt.Sprint(name, " ", id) }

func (l *lists) answer(done func(error), change func()) error {
	l.mu.Lock()
	if err := l.err; err != nil {
		l.mu.Unlock()
		return err
	}
	change()
	if l.hold {
		l.held = append(l.held, done)
	} else if !l.eager {
		go done(nil)
	}
	eager := l.eager
	l.mu.Unlock()
	if eager {
		done(nil)
	}
	return nil
}

func (l *lists) Join(_, name, peer string, connection uint64, metadata []byte, done func(presence.Version, error)) error {
	return l.answer(func(err error) { done(presence.Version{Incarnation: 1, Number: 7}, err) }, func() {
		l.listed[entry(name, connection)] = peer + string(metadata)
	})
}

func (l *lists) Leave(_, name, _ string, connection uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.listed, entry(name, connection))
}

func (l *lists) Watch(w watchers.Watcher, _, name string) (promised bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := entry(name, w.ID())
	promised = l.snapshot != nil && !l.watching[e]
	l.watching[e] = true
	l.promised[e] = l.promised[e] || promised
	return promised
}

func (l *lists) Ready(w watchers.Watcher, _, name string, since presence.Version) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.watching[entry(name, w.ID())] {
		return
	}
	if since.Number != 7 && since != (presence.Version{}) {
		panic("another version than that of the join")
	}
	if !l.promised[entry(name, w.ID())] {
		return
	}
	if l.late {
		l.toShow = append(l.toShow, name)
		l.watcher = w
		return
	}
	delete(l.promised, entry(name, w.ID()))
	if w.AppendSnapshot(l.snapshot) {
		go w.Flush()
	}
}

// show gives the oldest snapshot that is late.
func (l *lists) show() {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.promised, entry(l.toShow[0], l.watcher.ID()))
	l.toShow = l.toShow[1:]
	if l.watcher.AppendSnapshot(l.snapshot) {
		l.watcher.Flush()
	}
}

func (l *lists) Unwatch(w watchers.Watcher, _, name string) (promised bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := entry(name, w.ID())
	promised = l.promised[e]
	delete(l.watching, e)
	delete(l.promised, e)
	return promised
}

func (l *lists) WatchPattern(w watchers.Watcher, _ string, p *channel.Pattern, done func(error)) error {
	return l.answer(done, func() { l.watching[entry(p.String(), w.ID())] = true })
}

func (l *lists) UnwatchPattern(w watchers.Watcher, app string, p *channel.Pattern) {
	l.Unwatch(w, app, p.String())
}

func (l *lists) set(err error, hold bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err, l.hold = err, hold
}

func (l *lists) release(err error) {
	l.mu.Lock()
	held := l.held
	l.held = nil
	l.mu.Unlock()
	for _, done := range held {
		done(err)
	}
}

// want checks who is listed, as in "devices/a 1 device-1", and who watches what.
func (l *lists) want(t *testing.T, listed, watching string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var got []string
	for e, peer := range l.listed {
		got = append(got, e+" "+peer)
	}
	slices.Sort(got)
	if s := strings.Join(got, ", "); s != listed {
		t.Errorf("listed: %s\nwant %s", s, listed)
	}
	if s := strings.Join(slices.Sorted(maps.Keys(l.watching)), ", "); s != watching {
		t.Errorf("watching: %s\nwant %s", s, watching)
	}
}

// withSnapshots shows an empty channel devices/a.
func withSnapshots(w *world) {
	w.lists.snapshot = protocol.AppendTextFrame(nil, []byte(emptySnapshot))
}

const emptySnapshot = `{"type":"presence","channel":"devices/a","joined":[],"left":[]}`

// The snapshot comes after the ack, and only with the presence action. Everybody
// who is subscribed by name is listed, whatever their actions (protocol §4.3).
func TestPresenceIsForThoseWhoMay(t *testing.T) {
	w := newWorld(t)
	withSnapshots(w)
	grant := w.grant("device-1")
	grant.PeerMetadata = []byte(`{"k":1}`)
	p := w.connect(grant)
	p.Write(text(`{"type":"subscribe","requestId":"1","channel":"devices/a"}`))
	p.Want(anAck("1"))
	p.Want(aText(emptySnapshot))
	p.Write(text(`{"type":"subscribe","requestId":"2","channel":"devices/*"}`))
	p.Want(anAck("2"))

	without := w.grant("device-2")
	without.Actions = apps.ActionsOf(apps.ActionSubscribe)
	q := w.connect(without)
	q.Write(text(`{"type":"subscribe","requestId":"1","channel":"devices/a"}`))
	q.Want(anAck("1"))
	q.Write(text(`{"type":"subscribe","requestId":"2","channel":"devices/*"}`))
	q.Want(anAck("2"))
	w.lists.want(t, `devices/a 1 device-1{"k":1}, devices/a 2 device-2`, "devices/* 1, devices/a 1")

	p.Write(text(`{"type":"unsubscribe","requestId":"3","channel":"devices/*"}`))
	p.Want(anAck("3"))
	w.lists.want(t, `devices/a 1 device-1{"k":1}, devices/a 2 device-2`, "devices/a 1")
	p.Write(text(`{"type":"unsubscribe","requestId":"4","channel":"devices/a"}`))
	p.Want(anAck("4"))
	w.lists.want(t, "devices/a 2 device-2", "")
	_ = q.Conn.Close()
	q.wait()
	w.lists.want(t, "", "")
}

// However soon the confirmations come, the snapshot does not get lost: whoever
// has it from there watches by then.
func TestSnapshotWhenConfirmationsAreEarly(t *testing.T) {
	w := newWorld(t)
	withSnapshots(w)
	w.lists.eager, w.interest.eager = true, true
	p := w.connect(w.grant("device-1"))
	p.Write(text(`{"type":"subscribe","requestId":"1","channel":"devices/a"}`))
	p.Want(anAck("1"), aText(emptySnapshot), alive)
}

// The ack waits for the list as well as for the messages.
func TestAckWaitsForTheList(t *testing.T) {
	w := newWorld(t)
	withSnapshots(w)
	p := w.connect(w.grant("device-1"))
	for i, name := range []string{"devices/a", "devices/*"} {
		w.lists.set(nil, true)
		p.Write(text(fmt.Sprintf(`{"type":"subscribe","requestId":"%d","channel":%q}`, i, name)))
		p.Write(text(`{"type":"ping"}`))
		p.Want(aText(pong))
		w.lists.set(nil, false)
		w.lists.release(nil)
		p.Want(anAck(fmt.Sprint(i)))
		if i == 0 {
			p.Want(aText(emptySnapshot))
		}
	}
}

// When the list does not take a peer, nothing of the subscription stays.
func TestListRefuses(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	for i, name := range []string{"devices/a", "devices/*"} {
		w.lists.set(errors.New("down"), false)
		p.Write(text(fmt.Sprintf(`{"type":"subscribe","requestId":"%d","channel":%q}`, i, name)))
		p.Want(anError(protocol.BackendError, fmt.Sprint(i)))
		w.lists.set(nil, true)
		p.Write(text(fmt.Sprintf(`{"type":"subscribe","requestId":"later-%d","channel":%q}`, i, name)))
		p.Write(text(`{"type":"ping"}`))
		p.Want(aText(pong))
		w.lists.release(members.ErrDown)
		p.Want(anError(protocol.BackendError, fmt.Sprint("later-", i)))
		w.lists.set(nil, false)
		if n := w.interest.subscribersOf(name); n != 0 {
			t.Errorf("%s has %d subscribers", name, n)
		}
	}
	w.lists.want(t, "", "")

	// And the other way round.
	for i, name := range []string{"devices/a", "devices/*"} {
		w.interest.set(errors.New("down"), false)
		p.Write(text(fmt.Sprintf(`{"type":"subscribe","requestId":"%d","channel":%q}`, i, name)))
		p.Want(anError(protocol.BackendError, fmt.Sprint(i)))
	}
	w.lists.want(t, "", "")
}

// A grant that loses or gains the action takes effect at once, and new metadata
// is shown.
func TestRegrantPresence(t *testing.T) {
	w := newWorld(t)
	withSnapshots(w)
	grant := w.grant("device-1")
	p := w.connect(grant)
	p.Write(text(`{"type":"subscribe","requestId":"1","channel":"devices/a"}`))
	p.Want(anAck("1"))
	p.Want(aText(emptySnapshot))
	p.Write(text(`{"type":"subscribe","requestId":"2","channel":"devices/*"}`))
	p.Want(anAck("2"))

	without := *grant
	without.Actions = apps.ActionsOf(apps.ActionSubscribe)
	without.PeerMetadata = []byte(`{"n":2}`)
	p.session.Regrant(&without)
	w.lists.want(t, `devices/a 1 device-1{"n":2}`, "")
	p.session.Regrant(grant)
	w.lists.want(t, "devices/a 1 device-1", "devices/* 1, devices/a 1")
	p.Want(aText(emptySnapshot))
	same := *grant
	p.session.Regrant(&same)
	p.Write(text(`{"type":"ping"}`))
	p.Want(aText(pong)) // no second snapshot
}

// A snapshot may be larger than what may be unsent otherwise.
func TestSnapshotOverTheBound(t *testing.T) {
	w := newWorld(t)
	peers := make([]protocol.PresencePeer, 1000)
	for i := range peers {
		peers[i] = protocol.PresencePeer{PeerID: fmt.Sprint("p", i), Metadata: `{"k":"` + strings.Repeat("x", 4000) + `"}`}
	}
	body := protocol.AppendPresence(nil, "devices/a", peers, nil)
	w.lists.snapshot = protocol.AppendTextFrame(nil, body)
	if len(body) < 3*protocol.UnsentBytesLimit {
		t.Fatal("it is too small")
	}
	p := w.connect(w.grant("device-1"))
	p.Write(text(`{"type":"subscribe","requestId":"1","channel":"devices/a"}`))
	p.Want(anAck("1"), aText(string(body)), alive)
}

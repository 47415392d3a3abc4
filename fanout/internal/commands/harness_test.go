package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn"
	"fleetwire/fanout/internal/hub"
	"fleetwire/pkg/command"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn/redistest"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

var errAway = errors.New("redis is away")

// world is a Dispatcher on a hub, with a store that the test answers for.
type world struct {
	t     *testing.T
	d     *Dispatcher
	hub   *hub.Hub
	start time.Time

	mu      sync.Mutex
	away    bool
	awayAt  int                                           // the call from which on it is, until set; 0: none
	calls   []string                                      // of the store
	waiting []string                                      // ids of commands that wait, of any channel
	held    map[string]bool                               // "id peer" that StillHeld says of
	claims  func(*command.Claim, int) *command.HandedOver // of the peer with that index; nil: it has it
	others  bool                                          // another node is to hand over what this one does not take anyhow
	outcome command.AnswerOutcome
	creates func(command.New) (command.Created, error) // nil: nodes have to claim it
	looks   func()                                     // what happens before Redis answers a look
	claimed func()                                     // what happens before Redis answers a claim
}

// inBubble runs a test on a Dispatcher that runs.
func inBubble(t *testing.T, test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, hub: hub.New(noInterest{}), start: time.Now(), held: map[string]bool{}, outcome: command.Taken}
		w.d = NewDispatcher(Options{Store: w, Subscribers: w.hub, Ticks: w.ticks, Log: slog.New(slog.DiscardHandler)})
		w.hub.Commands(w.d.Deliver)
		w.d.SetIdentity("n1")
		ctx, stop := context.WithCancel(t.Context())
		running := make(chan struct{})
		go func() {
			defer close(running)
			w.d.Run(ctx)
		}()
		test(w)
		stop()
		<-running
	})
}

func (w *world) ticks() time.Duration { return time.Since(w.start) + time.Hour }

// did checks what was asked of the store since the last time.
func (w *world) did(want ...string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.calls, want) {
		w.t.Errorf("asked %q\nwant  %q", w.calls, want)
	}
	w.calls = nil
}

func (w *world) note(format string, args ...any) error {
	w.calls = append(w.calls, fmt.Sprintf(format, args...))
	if w.away || w.awayAt > 0 && len(w.calls) >= w.awayAt {
		return errAway
	}
	return nil
}

func (w *world) set(away bool) {
	w.mu.Lock()
	w.away, w.awayAt = away, 0
	w.mu.Unlock()
}

func (w *world) holds(idAndPeer string, held bool) {
	w.mu.Lock()
	w.held[idAndPeer] = held
	w.mu.Unlock()
}

func (w *world) wait(ids ...string) {
	w.mu.Lock()
	w.waiting = ids
	w.mu.Unlock()
}

func (w *world) Create(_ context.Context, n command.New) (command.Created, error) {
	w.mu.Lock()
	err := w.note("create %s for %s", n.ID, strings.Join(n.Peers, " "))
	w.mu.Unlock()
	created := command.Created{ID: n.ID}
	if w.creates != nil && err == nil {
		created, err = w.creates(n)
	}
	return created, err
}

func (w *world) Claim(_ context.Context, claims []*command.Claim) error {
	if w.claimed != nil {
		w.claimed()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range claims {
		var peers []string
		for _, p := range c.Peers {
			mode := ""
			if p.Confirms {
				mode = "!"
			}
			peers = append(peers, p.Peer+mode)
		}
		anyhow := ""
		if c.Anyhow {
			anyhow = " anyhow"
		}
		if c.Err = w.note("claim %s for %s%s", c.ID, strings.Join(peers, " "), anyhow); c.Err != nil {
			continue
		}
		if w.others && !c.Anyhow {
			for i := range c.Peers {
				c.Elsewhere = append(c.Elsewhere, i)
			}
			continue
		}
		if c.ID != "" {
			for i := range c.Peers {
				h := &command.HandedOver{Peer: i, ID: c.ID, Attempt: 1, ExpiresIn: -1, Timeout: time.Second}
				if w.claims != nil {
					h = w.claims(c, i)
				}
				if h != nil {
					c.HandedOver = append(c.HandedOver, *h)
				}
			}
			continue
		}
		most := len(w.waiting)
		if c.Most > 0 {
			most = min(most, c.Most)
		}
		most = min(most, 2) // a portion
		for _, id := range w.waiting[:most] {
			d := delivery(c.Channel, id, time.Minute)
			c.HandedOver = append(c.HandedOver, command.HandedOver{ID: id, Attempt: 1, ExpiresIn: time.Minute, Timeout: time.Second, Delivery: &d})
		}
		w.waiting = w.waiting[most:]
		c.More = len(w.waiting) > 0
	}
	return nil
}

func (w *world) Answer(_ context.Context, answers []*command.Answer) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range answers {
		a.Outcome = w.outcome
		a.Err = w.note("%s of %s: %s", a.ID, a.Peer, a.Status)
	}
	return nil
}

func (w *world) TakeBack(_ context.Context, node string, all []command.Unconfirmed) (left []command.Unconfirmed, failed error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range all {
		if err := w.note("take back %s of %s from %s", u.ID, u.Peer, node); err != nil {
			left, failed = append(left, u), err
		}
	}
	return left, failed
}

func (w *world) AnyWait(_ context.Context, queues []command.Queue) (wait []bool, errs []error) {
	if w.looks != nil {
		w.looks()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	wait = make([]bool, len(queues))
	for i, q := range queues {
		wait[i] = len(w.waiting) > 0
		if err := w.note("look %s", q.Channel); err != nil {
			if errs == nil {
				errs = make([]error, len(queues))
			}
			errs[i] = err
		}
	}
	return wait, errs
}

func (w *world) StillHeld(_ context.Context, _ string, all []command.Unconfirmed) []bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	held := make([]bool, len(all))
	for i, u := range all {
		held[i] = w.held[u.ID+" "+u.Peer]
	}
	return held
}

func (w *world) HandedTo(_ context.Context, _, id string, peers []string) ([]bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	handed := make([]bool, len(peers))
	for i, p := range peers {
		handed[i] = w.held[id+" "+p]
	}
	return handed, nil
}

// delivery is what the receiver brings of a new command. Its data is its id.
func delivery(channelName, id string, ttl time.Duration) envelope.Delivery {
	var d envelope.Delivery
	e := envelope.EncodeCommand(envelope.ID{Process: 1, Sequence: 2}, envelope.Command{ID: id, Timeout: time.Second, TTL: ttl},
		&envelope.Message{Channel: channelName, From: "server", Data: []byte(`"` + id + `"`)})
	if err := d.Decode(e); err != nil {
		panic(err)
	}
	d.App, d.Channel = "app", channelName
	return d
}

func (w *world) deliver(d envelope.Delivery) { w.hub.Broadcast([]envelope.Delivery{d}) }

// stage is the delivery at another stage, for a peer.
func stage(d envelope.Delivery, s envelope.Stage, peer string) envelope.Delivery {
	c := *d.Command
	c.Stage, c.Peer = s, peer
	d.Command = &c
	return d
}

// device is a connection of a peer, subscribed to one channel.
type device struct {
	w        *world
	id       uint64
	peer     string
	confirms bool
	entering atomic.Bool
	full     bool // the socket takes nothing

	mu       sync.Mutex
	got      []string
	portions []*conn.Portion // that it has not taken
}

var ids uint64

func (w *world) device(peer string, confirms bool) *device {
	ids++
	d := &device{w: w, id: ids, peer: peer, confirms: confirms}
	if err := w.hub.Subscribe(d, "app", "c", hub.Options{Confirms: confirms}, func(error) {}); err != nil {
		w.t.Fatal(err)
	}
	return d
}

// enters has the subscription be new, until what it returns is closed.
func (d *device) enters() (over chan struct{}) {
	d.entering.Store(true)
	over = make(chan struct{})
	d.w.d.Enter(d, "app", "c", d.confirms, func() {
		d.entering.Store(false)
		close(over)
	})
	return over
}

func (d *device) leaves() {
	d.w.hub.Unsubscribe(d, "app", "c")
	d.w.d.Left(d.id)
}

func (d *device) ID() uint64                                 { return d.id }
func (d *device) Peer() string                               { return d.peer }
func (d *device) Entering() bool                             { return d.entering.Load() }
func (d *device) Append([]byte, uint64) (queued, flush bool) { return true, false }
func (d *device) Flush()                                     {}
func (d *device) Close(*protocol.CloseError) bool            { return true }

func (d *device) AppendPortion(p *conn.Portion) (flush bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.portions = append(d.portions, p)
	if !d.full {
		d.take()
	}
	return false
}

// take has the socket take what is queued.
func (d *device) take() {
	for _, p := range d.portions {
		for _, f := range p.Frames {
			if f.Until != 0 && d.w.ticks() >= f.Until {
				continue
			}
			text := string(f.Frame[strings.IndexByte(string(f.Frame), '{'):])
			_, id, _ := strings.Cut(text, `"command":{"id":"`)
			id, _, _ = strings.Cut(id, `"`)
			if strings.Contains(text, "command_cancelled") {
				id = "cancelled"
			}
			d.got = append(d.got, id)
		}
		if p.Written != nil {
			p.Written(true)
		}
	}
	d.portions = nil
}

// takes empties the queue of a full socket.
func (d *device) takes() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.take()
}

// has checks what the device was given since the last time.
func (d *device) has(want ...string) {
	d.w.t.Helper()
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.got, want) {
		d.w.t.Errorf("%s got %q, want %q", d.peer, d.got, want)
	}
	d.got = nil
}

type noInterest struct{}

func (noInterest) SetSubscribers(string, string, int, func(error)) error  { return nil }
func (noInterest) SetConnections(string, string, int, func(error)) error  { return nil }
func (noInterest) AddPattern(string, *channel.Pattern, func(error)) error { return nil }
func (noInterest) RemovePattern(string, *channel.Pattern)                 {}

// answerer keeps what an answer was told.
type answerer struct {
	err     *protocol.Error
	flushed bool
}

func (a *answerer) Answered(err *protocol.Error) { a.err = err }
func (a *answerer) Flush()                       { a.flushed = true }

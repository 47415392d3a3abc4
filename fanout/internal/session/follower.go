package session

import (
	"sync"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn"
	"fleetwire/fanout/internal/replay"
)

// maxHeld bounds what a follower holds of live messages. Past it they are dropped, and
// read from Redis later.
const maxHeld = 64 << 10

// Histories reads what channels remember: replay.Reader.
type Histories interface {
	Read(*replay.Request)
	Again(*replay.Request)
	Release(connection uint64, then func())
}

// follower is the session as the hub's Subscriber in a channel that remembers (protocol
// §9), for as long as it is subscribed by name. It knows up to which position the peer was
// sent all, and sends the next message alone. After a subscribe or an outage it reads the
// messages between from Redis (catchup.go). Live messages wait meanwhile.
//
// mu may be held while the queue of the connection is locked, or an event is left to
// another goroutine. Its holder must not lock the scope.
type follower struct {
	*Session
	name string

	mu        sync.Mutex
	at        protocol.Position // the peer was sent all up to it; without an epoch: no position is known
	known     bool              // the first subscribe is answered
	until     uint64            // up to it messages were remembered when the peer asked for them
	showsGaps bool              // it asked for some once, so it is told of gaps
	metadata  bool
	confirms  bool

	asks     []*subscribing  // that wait for their answer
	busy     bool            // a read is under way, or its page is being written
	portion  *conn.Portion   // the page
	behind   bool            // there may be messages that were neither sent nor held
	commands commandStage    // of what waits for the peer
	left     bool            // it is not subscribed any more
	refused  *protocol.Error // with left: why; nil: the peer has unsubscribed

	held      []heldMessage
	heldBytes int

	pending int  // subscribes that were neither answered nor undone
	paused  bool // the connection's frames wait until they are
}

// commandStage is how far a subscription has come with the commands that wait for its peer.
type commandStage uint8

const (
	commandsDue   commandStage = iota // Enter has to be called, once all is replayed
	commandsAsked                     // Enter was called
	commandsOver                      // live messages may pass
)

// heldMessage is a live message that waits. One without a frame is the peer's own.
type heldMessage struct {
	at    protocol.Position
	frame []byte
	old   bool // a read began after it came, so what was before it is known by now
}

// Append is for messages that are not remembered: the publisher had another document of
// apps.
func (f *follower) Append(frame []byte, sequence uint64) (queued, flush bool) {
	return f.AppendAt(frame, sequence, protocol.Position{})
}

// AppendAt queues the message if it is the next (hub.Follower). Without a frame the peer
// has published it itself.
func (f *follower) AppendAt(frame []byte, sequence uint64, at protocol.Position) (queued, flush bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.left:
		return false, false
	case f.passes() && f.isNext(at):
		f.advance(at)
		if frame == nil {
			return false, false
		}
		return f.Session.Append(frame, sequence)
	case frame != nil && !f.Claim(sequence):
		return false, false
	case f.known && at.Epoch == f.at.Epoch && at.Offset <= f.at.Offset:
		return false, false
	}
	f.hold(at, frame)
	return true, f.next()
}

// passes says whether nothing has to come before live messages.
func (f *follower) passes() bool {
	return f.known && !f.busy && !f.behind && f.commands == commandsOver && len(f.asks) == 0 && len(f.held) == 0
}

// isNext says whether there is nothing between what the peer was sent and a message.
func (f *follower) isNext(at protocol.Position) bool {
	return at.Offset == 0 || f.at.Epoch == "" || at.Epoch == f.at.Epoch && at.Offset == f.at.Offset+1
}

// advance notes that a message is sent. The epoch stays as it is: the message's may lie in
// the memory of the whole delivery.
func (f *follower) advance(at protocol.Position) {
	if at.Offset != 0 && f.at.Epoch != "" {
		f.at.Offset = at.Offset
	}
}

func (f *follower) hold(at protocol.Position, frame []byte) {
	if f.heldBytes += len(frame); f.heldBytes > maxHeld && len(f.held) > 0 {
		f.dropHeld()
		f.behind = true
		return
	}
	f.held = append(f.held, heldMessage{at: at, frame: frame})
}

func (f *follower) dropHeld() { f.held, f.heldBytes = nil, 0 }

// next does what comes next, if anything can be done now.
func (f *follower) next() (flush bool) {
	switch {
	case f.left || f.busy || f.commands == commandsAsked:
	case f.known && f.behind:
		f.catchUp()
	case len(f.asks) > 0:
		f.serve(f.asks[0])
	case !f.known: // Redis has yet to confirm the subscription
	case f.commands == commandsDue:
		f.commands = commandsAsked
		f.opt.Commands.Enter(f, f.Grant().App.ID, f.name, f.confirms, f.entered)
	default:
		return f.pass()
	}
	return false
}

// pass sends the messages that were held, up to the first before which some are missing.
func (f *follower) pass() (flush bool) {
	flush = f.sendHeld()
	if f.behind {
		f.catchUp()
	}
	return flush
}

func (f *follower) sendHeld() (flush bool) {
	var frames [][]byte
	passed := 0
	for i := range f.held {
		m := &f.held[i]
		next := f.isNext(m.at)
		past := m.at.Epoch == f.at.Epoch && m.at.Offset <= f.at.Offset
		if !next && !past && !m.old {
			f.behind = true
			break
		}
		passed++
		f.heldBytes -= len(m.frame)
		if next {
			f.advance(m.at)
			if m.frame != nil {
				frames = append(frames, m.frame)
			}
		}
	}
	if f.held = f.held[passed:]; len(f.held) == 0 {
		f.held = nil
	}
	return f.Queue(frames)
}

// Entering says whether what waits for the peer is yet to be sent (commands.Receiver).
func (f *follower) Entering() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.commands != commandsOver
}

// entered goes on when the commands that wait for the peer are sent.
func (f *follower) entered() {
	f.goOn(func() {
		if f.commands == commandsAsked {
			f.commands = commandsOver
		}
	})
}

// goOn does what comes next, after change.
func (f *follower) goOn(change func()) {
	f.mu.Lock()
	change()
	flush := f.next()
	f.mu.Unlock()
	if flush {
		f.Flush()
	}
}

// restored reads the messages that the peer may have missed in an outage.
func (f *follower) restored() { f.goOn(func() { f.behind = true }) }

// stop gives the subscription up.
func (f *follower) stop() {
	f.mu.Lock()
	f.left = true
	portion := f.portion
	f.portion = nil
	f.dropHeld()
	f.dismiss()
	f.settle(f.pending)
	f.mu.Unlock()
	if portion != nil {
		f.Withdraw(portion)
	}
}

package registry

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// Will is a message that is published when its peer is gone (protocol §4.7).
type Will struct {
	Channel string
	Data    []byte // any JSON value
	Delay   time.Duration
	// Key is the id of the key that the credential is from, and IssuedAt when the token
	// was issued (zero: it does not tell): both are checked again when the will is due.
	Key      string
	IssuedAt time.Time
	Metadata []byte // what others see of the peer, or nil
}

// NewWill is the will that a connection with this grant sets. It keeps data.
func NewWill(g *auth.Grant, channel string, data []byte, delay time.Duration) *Will {
	return &Will{channel, data, delay, g.Key.ID, g.IssuedAt, g.PeerMetadata}
}

// encode is how Redis keeps the will: its delay, which scripts read (wills.lua), when its
// token was issued and its key; its channel; its metadata; its data.
func (w *Will) encode() string {
	issued := int64(0)
	if !w.IssuedAt.IsZero() {
		issued = w.IssuedAt.Unix()
	}
	return fmt.Sprintf("%d %d %s\n%s\n%s\n%s", w.Delay.Milliseconds(), issued, w.Key, w.Channel, w.Metadata, w.Data)
}

// parseWill reads what encode wrote. No line but the last can have a line break in it.
func parseWill(text string) (*Will, error) {
	lines := strings.SplitN(text, "\n", 4)
	head := strings.SplitN(lines[0], " ", 3)
	if len(lines) != 4 || len(head) != 3 {
		return nil, fmt.Errorf("the will in redis has %d lines and a head of %d fields, want 4 and 3", len(lines), len(head))
	}
	delay, err := strconv.ParseInt(head[0], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the delay of the will in redis: %w", err)
	}
	issued, err := strconv.ParseInt(head[1], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the iat of the will in redis: %w", err)
	}
	w := &Will{Channel: lines[1], Data: []byte(lines[3]), Delay: time.Duration(delay) * time.Millisecond, Key: head[2]}
	if issued != 0 {
		w.IssuedAt = time.Unix(issued, 0)
	}
	if lines[2] != "" {
		w.Metadata = []byte(lines[2])
	}
	return w, nil
}

// size is more than the bytes that the will takes.
func (w *Will) size() int {
	if w == nil {
		return 0
	}
	return 512 + len(w.Channel) + len(w.Data) + len(w.Metadata)
}

// SetWill is a connection that sets its will, or takes it back.
type SetWill struct {
	App        *apps.App
	Peer       string
	Connection uint64
	Will       *Will // nil: it takes it back
	// Current is the will of the connection. It changes with the call.
	Current *atomic.Pointer[Will]
	// Done is told once that Redis has it; or that Redis does not answer yet, and will be
	// told again. It must not block. nil: it is told to none.
	Done func(*protocol.Error)
}

// maxWaitingWills bounds the bytes of wills that wait for Redis.
const maxWaitingWills = 32 << 20

// SetWill has Redis told of a will. An error is that too many wait: then the connection
// has the will that it had, and Done is not called.
func (r *Recorder) SetWill(s SetWill) *protocol.Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.willBytes+s.size() > r.maxWills {
		return protocol.Errorf(protocol.BackendError, "too many wills wait for Redis; the former one stays, try again")
	}
	r.willBytes += s.size()
	s.Current.Store(s.Will)
	r.queue = append(r.queue, change{will: &s})
	r.wake.Set()
	return nil
}

func (s *SetWill) size() int { return 256 + s.Will.size() }

// answer tells Done, unless it was told.
func (s *SetWill) answer(err *protocol.Error) {
	if s.Done != nil {
		s.Done(err)
		s.Done = nil
	}
}

// answerWills tells those whose wills wait that Redis does not answer.
func (r *Recorder) answerWills() {
	r.mu.Lock()
	var waiting []*SetWill
	for _, c := range r.queue {
		if c.will != nil && c.will.Done != nil {
			waiting = append(waiting, c.will)
		}
	}
	r.mu.Unlock()
	for _, s := range waiting {
		s.answer(notSetYet())
	}
}

func notSetYet() *protocol.Error {
	return protocol.Unknownf("Redis does not answer; the node sets the will as soon as it does. If the node dies before that, the former one counts")
}

// will says what becomes of a connection's will at its end (disconnected.lua): a clean close by
// the peer drops it.
func (d *Disconnected) will() string {
	switch {
	case !d.Will:
		return ""
	case d.Reason == Closed && d.Code == int(protocol.CloseNormal):
		return "drop"
	default:
		return "leave"
	}
}

// willSet is the deadline that the end of a connection with a will sets.
func (d *Disconnected) willSet(b rediskeys.Bucket) deadline.Set {
	return deadline.Set{Kind: deadline.Will, Bucket: b, After: grace(d.App.Peers, d.Code)}
}

func willCall(b rediskeys.Bucket, peer string, connection uint64, w *Will, node, identity string, formers []string) *redisconn.Call {
	text := ""
	if w != nil {
		text = w.encode()
	}
	return &redisconn.Call{
		Script: willScript,
		Keys:   []string{b.Peers(), b.Wills()},
		Args:   []any{peer, holder(identity, node, connection), formerHolders(formers, node, connection), text},
	}
}

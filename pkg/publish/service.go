// Package publish validates, authorizes and publishes every message, from a socket or
// from REST, to a channel or to one peer. The checks come in this order: validate →
// reserved → action → authorization → quota → send (protocol §4.4, §5).
//
// The rate of REST requests (protocol §6) is held in the same round trip as the
// quota, for messages that ask for it: see Message.TakeToken.
//
// Messages that wait at the same time share one round trip to Redis: the first
// goes out at once, those that come while it is under way ride together in the
// next. There is one round trip at a time, which keeps messages in order.
package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/group"
	"fleetwire/pkg/history"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// maxWaitingBytes bounds what may wait for Redis. A message beyond it is
	// refused with backend_error.
	maxWaitingBytes = 64 << 20
	// One round trip carries at most so many messages or bytes, so that Redis is
	// never busy with one for long.
	maxBatchMessages = 512
	maxBatchBytes    = 1 << 20

	// answerTime bounds a round trip, with the making of a connection for it if
	// there is none, and Redis publishes nothing after it. Senders hear within 2 s
	// that Redis hangs, though pkg/publish/send asks a moment longer what was done.
	answerTime = 1500 * time.Millisecond

	// The advice of a backend_error.
	none    = "nothing was published, try again"
	unknown = "whether the message was published is not known; it may have been delivered"
)

// Message is a message to be published, and by whom.
type Message struct {
	Grant        *auth.Grant // what the sender may do
	Channel      string
	To           string // the peer that a direct message is for; with it, Channel is not looked at
	From         string // peer id of the sender
	FromMetadata []byte // JSON object shown to receivers that ask for it, or nil
	Data         []byte // any JSON value, delivered byte for byte
	Connection   uint64 // the sending connection, which does not get the message back; 0 for REST
	Sender       Sender // the sending connection; nil for REST

	// CountSubscribers asks for Result.Subscribers.
	CountSubscribers bool
	// IdempotencyKey, 1 to protocol.MaxIdempotencyKeyBytes bytes, has the message published once in
	// 10 minutes, however often it comes (protocol §9). "": none. A message with the key
	// of another one of the channel is refused with idempotency_conflict.
	IdempotencyKey string
	// IfOffset has the message published only if the channel's newest message has this
	// offset (0: there was none yet) and, unless IfEpoch is "", this epoch; else it is
	// refused with offset_mismatch. The channel must remember.
	IfOffset *uint64
	IfEpoch  string
	// TakeToken has the message take a token from the REST bucket of the grant's
	// key first. Without one it is rate_limited, and counts as no message.
	TakeToken bool
}

// Result is what became of a message.
type Result struct {
	Err         *protocol.Error // nil: published
	Subscribers int64           // connections subscribed by name on all nodes, if asked for
	RetryAfter  time.Duration   // with over_message_quota: until the period ends; with rate_limited: until the next token
	// Position is that of the message; with offset_mismatch, that of the channel's newest.
	// nil: the channel does not remember.
	Position *protocol.Position
	// Current, with offset_mismatch, is the channel's newest message; nil: it is forgotten,
	// or not known.
	Current *history.Message
}

// Completion is told what became of a message given to Submit. Both calls must
// not block.
type Completion interface {
	// Published comes once for each message, in the order submitted.
	Published(Result)
	// Flush comes after Published has come for everything of the same round trip,
	// so that answers to one connection can go out together.
	Flush()
}

// sender is a send.Sender, or a stand-in in tests.
type sender interface {
	Process() uint64
	Prepare(*envelope.Message) *send.Outgoing
	PrepareRemembered(*envelope.Message, *apps.HistoryRule) *send.Outgoing
	Send(context.Context, []send.Batch) error
}

// Options set a Service up.
type Options struct {
	Redis redis.UniversalClient
	Keys  rediskeys.Namespace
	// Health learns what Redis says, and while it knows that Redis does not work,
	// messages are refused at once. nil: each message finds out by itself.
	Health *redisconn.Health
	Log    *slog.Logger
	Now    func() time.Time
	// Observe is called with the app and the outcome of each message: "ok" or its error code.
	Observe func(app, result string)
	// Remembered is called with the bytes of each message that its channel remembers, Evicted
	// with how many others made room for them. nil: nothing is.
	Remembered func(bytes int)
	Evicted    func(why history.Eviction, messages int)
	// Dropped is called with how many messages of groups made room for others. nil: it is not.
	Dropped func(why group.Drop, messages int)
	// Trace is called with each message that tells when it was taken. nil: it is not.
	Trace func(Traced)
	// Usage counts each message that Redis has taken: usage.Recorder. nil:
	// none are counted.
	Usage Usage
}

// Usage counts what each channel and each sending peer cost. It must not block.
type Usage interface {
	Published(appID, channel, peer string, bytes int)
}

// Traced is a message that tells when it was taken (envelope.TimedEvery), and what became of it.
type Traced struct {
	ID                     envelope.ID
	TakenAt                time.Time
	App, Channel, To, From string          // Channel or To is "", as in Message
	Bytes                  int             // of data
	Err                    *protocol.Error // nil: published
}

type uncounted struct{}

func (uncounted) Published(string, string, string, int) {}

var errAway = errors.New("redis is away")

// Service publishes messages. It is safe for concurrent use.
type Service struct {
	opt    Options
	sender sender
	up     func() bool // Redis works, as far as is known

	mu       sync.Mutex
	waiting  queue
	pressure backpressure
	busy     bool // a round trip is under way, or about to be

	batch []*item // of the round trip under way
}

// item is a message that waits.
type item struct {
	next     *item // of the same sender
	app      *apps.App
	bucketOf *apps.Key // whose token it takes, or nil
	outgoing *send.Outgoing
	done     Completion

	channel, to, from string
	bytes             int // of data
}

// New returns a Service.
func New(opt Options) *Service {
	up := func() bool { return true }
	if opt.Health != nil {
		up = opt.Health.Up
	}
	to := send.New(opt.Redis, opt.Keys, opt.Health)
	to.Evicted, to.Dropped = opt.Evicted, opt.Dropped
	return newService(opt, to, up)
}

func newService(opt Options, to sender, up func() bool) *Service {
	if opt.Observe == nil {
		opt.Observe = func(string, string) {}
	}
	if opt.Remembered == nil {
		opt.Remembered = func(int) {}
	}
	if opt.Usage == nil {
		opt.Usage = uncounted{}
	}
	return &Service{opt: opt, sender: to, up: up}
}

// Process is what the messages name as their publisher (envelope.ID).
func (s *Service) Process() uint64 { return s.sender.Process() }

// Publish publishes the message and waits until Redis has taken it, or ctx ends.
func (s *Service) Publish(ctx context.Context, m Message) Result {
	w := make(waiter, 1)
	lead, err := s.enqueue(m, w)
	switch {
	case err != nil:
		return Result{Err: err}
	case lead && ctx.Done() == nil:
		s.lead()
	case lead:
		go s.flush() // the caller may go before the round trip ends
	}
	select {
	case r := <-w:
		return r
	case <-ctx.Done():
		return Result{Err: protocol.Unknownf("the request ended before Redis answered; " + unknown)}
	}
}

type waiter chan Result

func (w waiter) Published(r Result) { w <- r }
func (w waiter) Flush()             {}

// Check says why the message would be refused without Redis being asked: for its
// name, a reserved prefix, the action or its authorization, in this order. Its
// result is observed as the message's outcome.
func (s *Service) Check(m Message) *protocol.Error {
	err := check(&m)
	if err != nil {
		s.opt.Observe(m.Grant.App.ID, string(err.Code))
	}
	return err
}

// Submit checks the message and hands it on to be published. It never blocks.
// An error means that done will not be called. The message's slices are copied
// before Submit returns.
func (s *Service) Submit(m Message, done Completion) *protocol.Error {
	lead, err := s.enqueue(m, done)
	if lead {
		go s.flush()
	}
	return err
}

// enqueue has the message wait for its round trip. With lead, no other is under way:
// the caller must see to it.
func (s *Service) enqueue(m Message, done Completion) (lead bool, refused *protocol.Error) {
	if err := s.Check(m); err != nil {
		return false, err
	}
	if m.To != "" {
		m.Channel = ""
	}
	if !s.up() || !s.reaches(&m) {
		return false, s.refuse(m.Grant.App, "Redis takes no messages now; "+none)
	}
	o := s.prepare(&m)
	it := &item{nil, m.Grant.App, nil, o, done, m.Channel, m.To, m.From, len(m.Data)}
	if m.TakeToken {
		it.bucketOf = m.Grant.Key
	}

	s.mu.Lock()
	if s.waiting.bytes+o.Size() > maxWaitingBytes {
		s.mu.Unlock()
		return false, s.refuse(m.Grant.App, "Redis does not keep up; "+none)
	}
	l := s.waiting.add(it, &m)
	if m.Sender != nil {
		s.pressure.sent(&s.waiting, l, m.Sender)
	}
	lead = !s.busy
	s.busy = true
	s.mu.Unlock()
	return lead, nil
}

// reaches says whether the masters of a Redis Cluster work that the message needs: that of its
// app, and that of its channel or peer.
func (s *Service) reaches(m *Message) bool {
	h := s.opt.Health
	if h == nil || h.AllUp() {
		return true
	}
	app, name := m.Grant.App.ID, m.Channel
	if m.To != "" {
		name = m.To
	}
	return h.UpAt(s.opt.Keys.Connections(app)) && h.UpAt(string(s.opt.Keys.Bucket(app, name)))
}

func (s *Service) prepare(m *Message) *send.Outgoing {
	e := envelope.Message{
		App: m.Grant.App.ID, Channel: m.Channel, To: m.To,
		From: m.From, FromMetadata: m.FromMetadata, Data: m.Data, Connection: m.Connection,
	}
	var rule *apps.HistoryRule
	if m.To == "" {
		rule = m.Grant.App.HistoryOf(m.Channel)
	}
	var o *send.Outgoing
	if rule != nil {
		o = s.sender.PrepareRemembered(&e, rule)
	} else {
		o = s.sender.Prepare(&e)
	}
	o.CountSubscribers = m.CountSubscribers
	if m.To == "" {
		o.Groups = m.Grant.App.GroupsOf(m.Channel)
	}
	o.IfOffset, o.IfEpoch = m.IfOffset, m.IfEpoch
	if m.IdempotencyKey != "" {
		o.IdempotencyKey, o.Fingerprint = m.IdempotencyKey, m.fingerprint()
	}
	return o
}

func (s *Service) refuse(app *apps.App, why string) *protocol.Error {
	s.opt.Observe(app.ID, string(protocol.BackendError))
	return protocol.Errorf(protocol.BackendError, "%s", why)
}

// check holds the order of checks: name → reserved → action → authorization.
func check(m *Message) *protocol.Error {
	if m.To != "" {
		return m.Grant.CheckPeer(apps.ActionSend, m.To)
	}
	if err := m.Grant.Check(apps.ActionPublish, m.Channel); err != nil {
		return err
	}
	return m.checkAsked()
}

// lead makes one round trip for a caller that waits for it, in the caller's own
// goroutine: to start one costs a lone message a tenth of its CPU.
func (s *Service) lead() {
	s.trip()
	s.mu.Lock()
	s.busy = s.waiting.messages > 0
	more := s.busy
	s.mu.Unlock()
	if more {
		go s.flush()
	}
}

// flush publishes what waits, one round trip at a time, until nothing does.
func (s *Service) flush() {
	for s.trip() {
	}
}

// trip makes one round trip, unless nothing waits.
func (s *Service) trip() bool {
	// Callers that were just answered, or are about to send, run first: with
	// many REST requests twice as many share a round trip.
	runtime.Gosched()
	s.mu.Lock()
	batch, bytes := s.waiting.take(s.batch[:0])
	resuming := s.pressure.resuming(&s.waiting)
	s.busy = len(batch) > 0
	s.mu.Unlock()
	for _, sender := range resuming {
		sender.Resume()
	}
	if len(batch) == 0 {
		return false
	}
	began := time.Now()
	s.publish(batch)
	took := time.Since(began)
	s.mu.Lock()
	s.pressure.learn(len(batch), bytes, took)
	s.mu.Unlock()
	clear(batch) // the slice is used again; let go of what was answered
	s.batch = batch
	return true
}

func (s *Service) publish(items []*item) {
	now := s.opt.Now()
	batches := batchesOf(s.opt.Keys, items, now)

	// Messages that waited behind a round trip that timed out do not wait for one of
	// their own.
	err := errAway
	if s.up() {
		ctx, cancel := context.WithTimeout(context.Background(), answerTime)
		err = s.sender.Send(ctx, batches)
		cancel()
	}
	if err != nil {
		s.opt.Log.Error("redis did not take a batch of messages", "messages", len(items), "err", err)
	}

	_, end := quota.Period(now)
	for _, it := range items {
		r := s.result(it, err)
		if r.Err != nil && r.Err.Code == protocol.OverMessageQuota {
			r.Err.Message = fmt.Sprintf("the app has used its %d messages of this period; it ends at %s", it.app.Plan.MaxMessagesPerPeriod, end.Format(time.RFC3339))
			r.RetryAfter = end.Sub(now)
		}
		if r.Err != nil {
			s.opt.Observe(it.app.ID, string(r.Err.Code))
		} else {
			s.opt.Observe(it.app.ID, "ok")
		}
		if s.opt.Trace != nil {
			s.trace(it, r.Err)
		}
		it.done.Published(r)
	}
	for _, it := range items {
		it.done.Flush()
	}
}

func (s *Service) trace(it *item, err *protocol.Error) {
	if at, timed := it.outgoing.ID.TakenAt(); timed {
		s.opt.Trace(Traced{it.outgoing.ID, at, it.app.ID, it.channel, it.to, it.from, it.bytes, err})
	}
}

// result is what became of the item's message. failed says why not everything was done.
func (s *Service) result(it *item, failed error) (r Result) {
	o := it.outgoing
	if o.Position.Epoch != "" {
		r.Position = &o.Position
	}
	switch {
	case o.Accepted, o.Repeated:
		r.Subscribers = o.Subscribers
		if o.Accepted {
			s.opt.Usage.Published(it.app.ID, it.channel, it.from, it.bytes)
			if r.Position != nil {
				s.opt.Remembered(it.bytes)
			}
		}
		if it.to != "" && !o.Found {
			r.Err = protocol.Errorf(protocol.PeerNotFound, "no peer %q is connected", it.to)
		}
	case o.Conflict:
		r.Err = protocol.Errorf(protocol.IdempotencyConflict, "")
	case o.Mismatch:
		r.Err = mismatch(o)
		r.Current = o.Current
	case o.Full:
		r.Err = full(o)
	case o.OverRate:
		r.Err = protocol.Errorf(protocol.RateLimited, "key %s is over its rate", it.bucketOf.ID)
		r.RetryAfter = o.RetryAfter
	case o.Unknown:
		r.Err = protocol.Unknownf("Redis did not answer; " + unknown)
	case failed != nil && !o.OverCap:
		r.Err = protocol.Errorf(protocol.BackendError, "Redis did not take the message; "+none)
	default:
		r.Err = protocol.Errorf(protocol.OverMessageQuota, "")
	}
	return r
}

// batchesOf sorts messages by app, and those that take tokens by bucket.
func batchesOf(keys rediskeys.Namespace, items []*item, now time.Time) []send.Batch {
	var batches []send.Batch
	of := map[string]int{}       // app id → its batch
	rates := map[*apps.Key]int{} // key → the rate in its app's batch
	for _, it := range items {
		i, ok := of[it.app.ID]
		if !ok {
			i = len(batches)
			of[it.app.ID] = i
			batches = append(batches, send.Batch{Counter: quota.Messages(keys, it.app, now), App: it.app})
		}
		b := &batches[i]
		if it.bucketOf != nil {
			r, ok := rates[it.bucketOf]
			if !ok {
				r = len(b.Rates)
				rates[it.bucketOf] = r
				b.Rates = append(b.Rates, send.Rate{Bucket: quota.RESTBucket(keys, it.bucketOf)})
			}
			b.Rates[r].Messages = append(b.Rates[r].Messages, len(b.Messages))
		}
		b.Messages = append(b.Messages, it.outgoing)
	}
	return batches
}

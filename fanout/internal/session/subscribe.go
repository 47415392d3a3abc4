package session

import (
	"errors"
	"sync/atomic"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/hub"
	"fleetwire/fanout/internal/receiver"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/presence"
)

// subscribing is one subscribe on its way. Its steps, in order:
//
//	authorize   the grant covers the channel, and the limit leaves room
//	register    with members, watchers and hub: messages come from here on
//	confirmed   Redis has confirmed each of them
//	ack
//	snapshot    asks for it; it comes later, by AppendSnapshot
//	waiting     commands that wait for the peer in the channel
//	askState    instead of both, for a peer's connectivity: it comes as a message
//
// Until all are done, live messages must wait: register gives the hub an arrival as the
// Subscriber in the channel. In a channel that remembers it is a follower, which has the
// steps from the ack on, with the replay between snapshot and waiting.
type subscribing struct {
	session   *Session
	requestID string
	name      string           // the channel, or the pattern as asked for
	pattern   *channel.Pattern // nil: a channel
	options   hub.Options
	arrival   *arrival  // in a channel that remembers nothing
	follower  *follower // in one that remembers
	standing  *standing // of the subscription
	grant     *auth.Grant
	renewed   bool // the connection is subscribed already

	since     *protocol.Position // replay what came after it
	last      *int               // replay so many
	owed      bool               // with them comes all that the peer has yet to get
	recovered bool               // with owed: what Redis said of since

	missing atomic.Int32          // confirmations
	failed  atomic.Pointer[error] // one of them
	listed  presence.Version      // at which the peer is in the channel
}

// handleSubscribe answers when Redis has confirmed: what is published after the ack is
// delivered, and the peer is listed there.
func (s *Session) handleSubscribe(f *protocol.ClientFrame) *protocol.Error {
	s.scope.mu.Lock()
	defer s.scope.mu.Unlock()
	w := &subscribing{
		session: s, requestID: f.RequestID, name: f.Channel, grant: s.Grant(), since: f.Since, last: f.Last,
		options: hub.Options{Metadata: f.IncludeSenderMetadata, Confirms: f.Commands == protocol.Confirm},
	}
	if refused := w.authorize(); refused != nil {
		return refused
	}
	if w.standing = s.scope.subscriptions.standing(w.name); w.standing == nil {
		w.standing = &standing{}
	}
	if err := w.register(); err != nil {
		return notSubscribed(err, "Redis does not answer")
	}
	w.standing.pending.Add(1)
	s.scope.subscriptions.put(subscription{w.name, w.pattern, w.follower, w.standing})
	return nil
}

// replays says whether the subscribe asks for what the channel remembers, if only for none
// of it: then the peer is told of gaps.
func (w *subscribing) replays() bool { return w.since != nil || w.last != nil }

// authorize is called with the scope locked.
func (w *subscribing) authorize() (refused *protocol.Error) {
	if channel.IsPattern(w.name) {
		if w.options.Confirms {
			return protocol.Errorf(protocol.MalformedMessage, `commands are handed to subscribers by name; subscribe to %.60q without "commands"`, w.name)
		}
		if w.replays() {
			return protocol.Errorf(protocol.MalformedMessage, "a channel is replayed to subscribers by name; subscribe to %.60q without since and last", w.name)
		}
		w.pattern, refused = w.grant.CheckPattern(apps.ActionSubscribe, w.name)
	} else {
		refused = w.grant.Check(apps.ActionSubscribe, w.name)
	}
	if refused != nil {
		return refused
	}
	subscriptions := w.session.scope.subscriptions
	w.renewed = subscriptions.has(w.name)
	if !w.renewed && len(subscriptions) >= protocol.MaxSubscriptions {
		return protocol.Errorf(protocol.ChannelLimitExceeded, "a connection can have %d subscriptions; unsubscribe from one first", protocol.MaxSubscriptions)
	}
	return nil
}

// register asks for all that makes up the subscription. confirm is called for each part,
// maybe before register returns. An error means that nothing has changed, and no
// confirmation follows. It is called with the scope locked.
func (w *subscribing) register() error {
	if w.pattern != nil {
		return w.registerPattern()
	}
	s, app := w.session, w.grant.App.ID
	if channel.NamesConnectivity(w.name) { // nobody is shown who watches a peer
		w.missing.Store(1)
		return s.opt.Hub.Subscribe(s, app, w.name, w.options, w.confirm)
	}
	watches := w.grant.Can(apps.ActionPresence)
	if watches { // first, since a message from a peer that has seen this one may come at once
		s.watch(app, w.name)
	}
	w.missing.Store(2)
	err := s.opt.Members.Join(app, w.name, w.grant.Peer, s.ID(), w.grant.PeerMetadata, w.confirmListed)
	if err == nil {
		err = w.registerSubscriber()
		if err != nil && !w.renewed {
			s.opt.Members.Leave(app, w.name, w.grant.Peer, s.ID())
		}
	}
	if err != nil && watches && !w.renewed {
		s.unwatch(w.grant, w.name, nil)
	}
	return err
}

// registerSubscriber gives the hub the Subscriber in the channel: a follower if the channel
// remembers, else an arrival.
func (w *subscribing) registerSubscriber() error {
	s, app := w.session, w.grant.App
	if app.HistoryOf(w.name) != nil {
		if w.follower = s.scope.subscriptions.follower(w.name); w.follower == nil {
			w.follower = &follower{Session: s, name: w.name}
		}
		w.follower.asked()
		err := s.opt.Hub.Subscribe(w.follower, app.ID, w.name, w.options, w.confirm)
		if err != nil {
			w.follower.unasked()
		}
		return err
	}
	w.arrival = newArrival(s, &w.standing.ended)
	err := s.opt.Hub.Subscribe(w.arrival, app.ID, w.name, w.options, w.confirm)
	if err != nil {
		w.arrival.Release(&w.arrival.live)
	}
	return err
}

func (w *subscribing) registerPattern() error {
	s, app := w.session, w.grant.App.ID
	watches := w.grant.Can(apps.ActionPresence) && !channel.NamesConnectivity(w.name)
	w.missing.Store(1)
	if watches {
		w.missing.Store(2)
		if err := s.opt.Watchers.WatchPattern(s, app, w.pattern, w.confirm); err != nil {
			return err
		}
	}
	err := s.opt.Hub.SubscribePattern(s, app, w.pattern, w.options.Metadata, w.confirm)
	if err != nil && watches && !w.renewed {
		s.opt.Watchers.UnwatchPattern(s, app, w.pattern)
	}
	return err
}

// confirmListed is called when Redis lists the peer, on the tracker's goroutine.
func (w *subscribing) confirmListed(at presence.Version, err error) {
	w.listed = at
	w.confirm(err)
}

// confirm takes one confirmation, or its failure, on the receiver's or the tracker's
// goroutine. The last one goes on with the subscribe.
func (w *subscribing) confirm(err error) {
	if err != nil {
		w.failed.Store(&err)
	}
	if w.missing.Add(-1) > 0 {
		return
	}
	if failed := w.failed.Load(); failed != nil {
		w.undo(*failed)
	} else {
		w.standing.confirmed.Store(true)
		w.standing.pending.Add(-1)
		w.confirmed()
	}
	w.session.Flush()
}

// confirmed does the steps that follow when all is confirmed.
func (w *subscribing) confirmed() {
	if w.follower != nil {
		w.follower.ask(w)
		return
	}
	if w.since == nil {
		w.session.ack(w.requestID)
	} else if w.requestID != "" {
		w.session.Send(func(dst []byte) []byte {
			return protocol.AppendRecovered(dst, w.requestID, protocol.Position{}, false)
		})
	}
	if channel.NamesConnectivity(w.name) {
		w.session.askState(w.name)
		return
	}
	w.snapshot()
	w.waiting()
}

// waiting has the peer sent the commands that wait for it, and then the live messages.
func (w *subscribing) waiting() {
	if w.pattern == nil {
		app, e := w.session.Grant().App.ID, w.arrival
		w.session.opt.Commands.Enter(e, app, w.name, w.options.Confirms, func() { e.over(app, w.name) })
	}
}

// snapshot has the peer shown who is in the channel.
func (w *subscribing) snapshot() {
	if w.pattern == nil {
		w.session.opt.Watchers.Ready(w.session, w.session.Grant().App.ID, w.name, w.listed)
	}
}

// undo answers a subscribe that Redis has not confirmed, and takes the subscription back,
// unless it stands by another subscribe, or one that is yet to be confirmed.
func (w *subscribing) undo(err error) {
	c := &w.session.scope
	c.mu.Lock()
	pending := w.standing.pending.Add(-1) // before confirmed is read, which confirm stores first
	goesOn := w.standing.confirmed.Load() && !w.standing.ended.Load()
	switch {
	case w.standing.ended.Load(): // the peer has unsubscribed, and may have subscribed again
	case goesOn || pending > 0:
		if w.follower != nil {
			w.follower.unasked()
		}
	default:
		one, _ := c.subscriptions.take(w.name)
		w.session.unsubscribe(one)
	}
	c.mu.Unlock()
	then := "not subscribed"
	switch {
	case goesOn && w.arrival != nil: // behind those of earlier subscribes, for the order of messages
		w.waiting()
		fallthrough
	case goesOn:
		then = "the subscription goes on as it was"
	case w.arrival != nil:
		w.arrival.over(w.grant.App.ID, w.name)
	}
	w.session.fail(w.requestID, failedTo(then, err, "the connection to Redis was lost"))
}

// giveUp ends the subscription of a follower that could not begin. Subscribes that wait for
// it are refused.
func (w *subscribing) giveUp() {
	c := &w.session.scope
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subscriptions.follower(w.name) != w.follower {
		return // the peer has unsubscribed, and may have subscribed again
	}
	one, _ := c.subscriptions.take(w.name)
	w.session.unsubscribe(one)
}

var errNoHistory = errors.New("the channel's position could not be read")

// notSubscribed answers a subscribe that failed with err. otherwise says what happened
// unless err does.
func notSubscribed(err error, otherwise string) *protocol.Error {
	return failedTo("not subscribed", err, otherwise)
}

// failedTo is notSubscribed, and then says what became of it.
func failedTo(then string, err error, otherwise string) *protocol.Error {
	var refused *receiver.RefusedError
	if errors.As(err, &refused) {
		return protocol.Errorf(protocol.BackendError, "%v; %s", refused, then)
	}
	return protocol.Errorf(protocol.BackendError, "%s; %s, try again", otherwise, then)
}

package ingest

import (
	"context"
	"slices"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/batch"
	"fleetwire/pkg/group"
)

const (
	// tripTime bounds what is told to Redis.
	tripTime = 1500 * time.Millisecond
	// tryAgain is the pause after Redis did not answer.
	tryAgain = time.Second
	// maxWait bounds how long a pull waits.
	maxWait = 20 * time.Second
	// maxPull and pullBytes bound what is leased at once, and so queued for the connection.
	maxPull   = 500
	pullBytes = 256 << 10
	// maxHead is how long the head of a frame is at most.
	maxHead = 10
)

// subscription is that of a connection to a group. The Ingester's mu guards what changes.
type subscription struct {
	ingester *Ingester
	group    string
	ctx      context.Context
	cancel   func()
	freed    batch.Signal // the peer may hold more

	maxInFlight int
	metadata    bool
	inFlight    int
	leases      []*lease // as they were made; those in flight, and some that are over
	anew        func()   // has the pull that waits begin anew; nil: none does
	ended       bool
	done        func() // called when it has ended
}

func newSubscription(i *Ingester, group string, maxInFlight int, metadata bool) *subscription {
	ctx, cancel := context.WithCancel(context.Background())
	return &subscription{ingester: i, group: group, ctx: ctx, cancel: cancel, freed: batch.NewSignal(), maxInFlight: maxInFlight, metadata: metadata}
}

// inherit takes over what the peer still holds from an earlier subscription to the group: it
// counts against maxInFlight, and is forgotten when the leases end. It is called with the
// Ingester locked.
func (s *subscription) inherit() {
	for _, l := range s.ingester.leased {
		if l.of.group == s.group {
			l.of = s
			s.inFlight++
			s.leases = append(s.leases, l)
		}
	}
	slices.SortFunc(s.leases, func(a, b *lease) int { return a.until.Compare(b.until) })
}

// end has run return soon, and call done then. It is called with the Ingester locked.
func (s *subscription) end(done func()) {
	s.ended = true
	s.done = done
	s.cancel()
}

// run delivers until the subscription ends.
func (s *subscription) run() {
	for s.awaitRoom() {
		got, g := s.pull()
		if len(got) > 0 {
			s.deliver(got, g)
		}
	}
	s.ingester.mu.Lock()
	done := s.done
	s.ingester.mu.Unlock()
	done()
}

// awaitRoom waits until the peer may be sent a message; false: the subscription has ended.
func (s *subscription) awaitRoom() bool {
	for {
		room, next := s.room()
		if room > 0 || s.ctx.Err() != nil {
			return s.ctx.Err() == nil
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-s.freed:
		case <-timer.C:
		case <-s.ctx.Done():
		}
		timer.Stop()
	}
}

// room is how many messages the peer may be sent, and if none, when the first lease ends.
func (s *subscription) room() (messages int, next time.Time) {
	s.ingester.mu.Lock()
	defer s.ingester.mu.Unlock()
	now := time.Now()
	for len(s.leases) > 0 && (s.leases[0].over || !now.Before(s.leases[0].until)) {
		s.ingester.forget(s.leases[0])
		s.leases[0] = nil
		s.leases = s.leases[1:]
	}
	if len(s.leases) > 0 {
		next = s.leases[0].until
	}
	return s.maxInFlight - s.inFlight, next
}

// tidy drops leases that are over: one that the peer holds for long keeps those behind it from
// being dropped by room. It is called with the Ingester locked.
func (s *subscription) tidy() {
	if len(s.leases) > 2*protocol.MaxInFlight {
		s.leases = slices.DeleteFunc(s.leases, func(l *lease) bool { return l.over })
	}
}

// forget notes that the peer holds a message no more. It is called with the Ingester locked.
func (i *Ingester) forget(l *lease) {
	if l.over {
		return
	}
	l.over = true
	l.of.inFlight--
	delete(i.leased, l.ackID)
}

// pull leases messages, as many as there is room for, and waits until there are some. There may
// be none.
func (s *subscription) pull() ([]group.Message, *apps.Group) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	// Before the options and the document are read, so that no change of them is missed.
	s.waits(cancel)
	defer s.waits(nil)
	room, _ := s.room()
	app := s.ingester.connection.App()
	g := app.Group(s.group)
	switch {
	case g == nil:
		s.pause() // the session ends the subscription
		return nil, nil
	case room <= 0:
		return nil, nil // maxInFlight is lower than a moment ago
	}
	p := group.Pull{App: app, Group: g, Consumer: s.ingester.consumer, Max: min(room, maxPull), MaxBytes: pullBytes}
	got, err := s.ingester.all.store.Wait(ctx, p, s.ingester.consumer, maxWait)
	if err != nil && ctx.Err() == nil {
		s.pause()
	}
	return got, g
}

func (s *subscription) waits(anew func()) {
	s.ingester.mu.Lock()
	defer s.ingester.mu.Unlock()
	s.anew = anew
}

// changed has a pull that waits go by what is true now: the options, or the document of apps.
// It is called with the Ingester locked.
func (s *subscription) changed() {
	if s.anew != nil {
		s.anew()
	}
}

func (s *subscription) pause() {
	timer := time.NewTimer(tryAgain)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

// deliver has the connection write messages, and returns when it has.
func (s *subscription) deliver(messages []group.Message, g *apps.Group) {
	i := s.ingester
	written := make(chan struct{})
	portion := &conn.Portion{Frames: make([]conn.Perishable, len(messages)), Written: func(bool) { close(written) }}
	i.mu.Lock()
	if s.ended {
		i.mu.Unlock()
		s.returnAll(messages)
		return
	}
	s.tidy()
	until := time.Now().Add(g.AckTimeout)
	var payload []byte
	for n := range messages {
		m := &messages[n]
		payload = s.appendPayload(payload[:0], m)
		portion.Frames[n].Frame = protocol.AppendTextFrame(make([]byte, 0, len(payload)+maxHead), payload)
		l := &lease{ackID: m.AckID, of: s, until: until}
		i.leased[m.AckID] = l
		s.leases = append(s.leases, l)
	}
	s.inFlight += len(messages)
	i.mu.Unlock()
	if i.connection.AppendPortion(portion) {
		i.connection.Flush()
	}
	<-written // also when the connection ends
}

func (s *subscription) appendPayload(dst []byte, m *group.Message) []byte {
	metadata := m.FromMetadata
	if !s.metadata || len(metadata) == 0 {
		metadata = nil
	}
	return protocol.AppendGroupMessage(dst, m.Channel, m.From, metadata, m.Data,
		protocol.GroupDelivery{Group: s.group, AckID: m.AckID, PublishedAt: m.PublishedAt, Attempt: m.Attempt})
}

// returnAll gives back what was leased when the subscription had ended.
func (s *subscription) returnAll(messages []group.Message) {
	nacks := make([]group.Nack, len(messages))
	for n := range messages {
		nacks[n].AckID = messages[n].AckID
	}
	s.ingester.refuse(s.group, nacks)
}

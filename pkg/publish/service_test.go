package publish

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/publish/send"
	"fleetwire/pkg/redisconn/redistest"
)

func message(a *apps.App, data string) Message {
	return Message{Grant: everything(a), Channel: "c", From: "p", Data: []byte(data)}
}

// hold makes each round trip wait for a value on the returned channel; closing
// it lets all through.
func (s *service) hold() chan struct{} {
	s.sender.gate = make(chan struct{})
	return s.sender.gate
}

func (s *service) submit(t *testing.T, m Message, done Completion) {
	t.Helper()
	if err := s.Submit(m, done); err != nil {
		t.Fatalf("refused: %v", err)
	}
}

// TestWaitingMessagesShareARoundTrip: the first goes out at once and alone, and
// all that come meanwhile together.
func TestWaitingMessagesShareARoundTrip(t *testing.T) {
	s := newStanding()
	gate := s.hold()
	const waiting = 100
	c := expect(1 + waiting)
	a := app("app", 1000)
	s.submit(t, message(a, "first"), c.of("first"))
	<-s.sender.began
	for i := range waiting {
		s.submit(t, message(a, strconv.Itoa(i)), c.of(strconv.Itoa(i)))
	}
	if s.sender.callCount() != 1 {
		t.Error("two round trips at a time: messages could overtake each other")
	}
	close(gate)
	c.wait(t)
	if s.sender.callCount() != 2 {
		t.Errorf("%d round trips, want 2", s.sender.callCount())
	}
	if got := s.sender.data(0); len(got) != 1 || got[0] != "first" {
		t.Errorf("the first round trip has %q", got)
	}
	for i, got := range s.sender.data(1) {
		if got != strconv.Itoa(i) {
			t.Fatalf("message %d of the second round trip is %s", i, got)
		}
	}
}

func TestRoundTripsAreBounded(t *testing.T) {
	for _, test := range []struct {
		name            string
		messages, bytes int
		most            int
	}{
		{"many", 3 * maxBatchMessages, 1, maxBatchMessages},
		{"large", 100, 60 << 10, maxBatchBytes/(60<<10) + 1},
		{"larger than a round trip", 3, maxBatchBytes + 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStanding()
			gate := s.hold()
			c := expect(test.messages + 1)
			a := app("app", 10000)
			s.submit(t, message(a, "first"), c.of(""))
			<-s.sender.began
			for range test.messages {
				s.submit(t, message(a, strings.Repeat("1", test.bytes)), c.of(""))
			}
			close(gate)
			c.wait(t)
			sum := 0
			for i := range s.sender.callCount() {
				n := len(s.sender.data(i))
				sum += n
				if n > test.most {
					t.Errorf("round trip %d has %d messages, want at most %d", i, n, test.most)
				}
			}
			if sum != test.messages+1 {
				t.Errorf("%d messages published, want %d", sum, test.messages+1)
			}
			if least := (test.messages+test.most-1)/test.most + 1; s.sender.callCount() > least+1 {
				t.Errorf("%d round trips, want about %d", s.sender.callCount(), least)
			}
		})
	}
}

// TestWaitingBytesAreBounded: a Redis that does not keep up costs no more memory
// than that, and a message too many is refused at once.
func TestWaitingBytesAreBounded(t *testing.T) {
	s := newStanding()
	gate := s.hold()
	a := app("app", 1_000_000)
	big := message(a, `"`+strings.Repeat("x", 60<<10)+`"`)
	c := expect(-1)
	s.submit(t, message(a, "first"), c.of(""))
	<-s.sender.began
	accepted := 0
	var refused *protocol.Error
	for refused == nil && accepted < 10_000 {
		if refused = s.Submit(big, c.of("")); refused == nil {
			accepted++
		}
	}
	if refused == nil || refused.Code != protocol.BackendError {
		t.Fatalf("%d MiB wait, and then %v", accepted*60>>10, refused)
	}
	if size := accepted * 60 << 10; size > maxWaitingBytes || size < maxWaitingBytes-(1<<20) {
		t.Errorf("%d bytes wait, want about %d", size, maxWaitingBytes)
	}
	if s.seen("backend_error") != 1 {
		t.Errorf("observed %v", s.observed)
	}
	// A small one still fits, and there is room again as soon as Redis takes some.
	s.submit(t, message(a, "1"), c.of(""))
	gate <- struct{}{} // the first
	gate <- struct{}{} // a megabyte
	redistest.Eventually(t, patience, "there is room again", func() bool { return s.Submit(big, c.of("")) == nil })
	close(gate)
	redistest.Eventually(t, patience, "all is published", func() bool { return s.seen("ok") == accepted+3 })
	s.Service.mu.Lock()
	defer s.Service.mu.Unlock()
	if s.waiting.bytes != 0 || s.waiting.messages != 0 || s.busy {
		t.Errorf("%d bytes in %d messages seem to wait, busy: %v", s.waiting.bytes, s.waiting.messages, s.busy)
	}
}

// TestOrder: whatever round trips make of it, each sender's messages keep order.
func TestOrder(t *testing.T) {
	s := newStanding()
	const senders, each = 8, 500
	c := expect(senders * each)
	a := app("app", senders*each)
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() {
			for i := range each {
				s.submit(t, message(a, fmt.Sprintf("[%d,%d]", sender, i)), c.of(fmt.Sprintf("%d %d", sender, i)))
			}
		})
	}
	all.Wait()
	events := c.wait(t)
	var published [senders]int
	for i := range s.sender.callCount() {
		for _, got := range s.sender.data(i) {
			var sender, n int
			if _, err := fmt.Sscanf(got, "[%d,%d]", &sender, &n); err != nil {
				t.Fatal(err)
			}
			if n != published[sender] {
				t.Fatalf("sender %d: message %d published in place of %d", sender, n, published[sender])
			}
			published[sender]++
		}
	}
	var numbered [senders]int
	for _, event := range events {
		var sender, n int
		if _, err := fmt.Sscanf(event, "%d %d", &sender, &n); err != nil {
			continue // flush
		}
		if n != numbered[sender] {
			t.Fatalf("sender %d: told of message %d in place of %d", sender, n, numbered[sender])
		}
		numbered[sender]++
	}
	for sender := range senders {
		if published[sender] != each || numbered[sender] != each {
			t.Errorf("sender %d: %d published, %d told, want %d", sender, published[sender], numbered[sender], each)
		}
	}
}

// TestPublishedThenFlush: everybody of a round trip is told before anybody is
// flushed, and each once.
func TestPublishedThenFlush(t *testing.T) {
	s := newStanding()
	gate := s.hold()
	c := expect(4)
	a, other := app("app", 100), app("other", 100)
	s.submit(t, message(a, "0"), c.of("0"))
	<-s.sender.began
	s.submit(t, message(a, "1"), c.of("1"))
	s.submit(t, message(other, "2"), c.of("2"))
	s.submit(t, message(a, "3"), c.of("3"))
	close(gate)
	if got := strings.Join(c.wait(t), ","); got != "0,flush,1,2,3,flush,flush,flush" {
		t.Errorf("told %s", got)
	}
}

func TestSenderFails(t *testing.T) {
	s := newStanding()
	s.sender.answer = func([]send.Batch) error { return errors.New("gone") }
	r := s.Publish(context.Background(), message(app("app", 9), "1"))
	if r.Err == nil || r.Err.Code != protocol.BackendError || strings.Contains(r.Err.Message, "gone") {
		t.Errorf("got %v, want backend_error without its inner cause", r.Err)
	}
	if r.Err.Outcome == protocol.OutcomeUnknown || !strings.Contains(r.Err.Message, "nothing was published") {
		t.Errorf("got %v, outcome %q; nothing was published", r.Err, r.Err.Outcome)
	}
	s.sender.answer = func(batches []send.Batch) error {
		batches[0].Messages[0].Unknown = true
		return errors.New("gone")
	}
	r = s.Publish(context.Background(), message(app("app", 9), "1"))
	if r.Err == nil || r.Err.Code != protocol.BackendError || r.Err.Outcome != protocol.OutcomeUnknown || !strings.Contains(r.Err.Message, "may have been delivered") {
		t.Errorf("got %v, want backend_error with an unknown outcome", r.Err)
	}
	// One app's message is over its cap while another's batch fails.
	s.sender.answer = func(batches []send.Batch) error {
		batches[0].Messages[0].OverCap = true
		return errors.New("gone")
	}
	if r := s.Publish(context.Background(), message(app("app", 9), "1")); r.Err == nil || r.Err.Code != protocol.OverMessageQuota {
		t.Errorf("got %v, want over_message_quota", r.Err)
	}
	// One app's batch fails, another's does not.
	s.sender.answer = func(batches []send.Batch) error {
		for _, b := range batches {
			for _, o := range b.Messages {
				o.Accepted = s.sender.messages[o].App == "sound"
				o.Subscribers = 7
			}
		}
		return errors.New("one counter is broken")
	}
	if r := s.Publish(context.Background(), message(app("sound", 9), "1")); r.Err != nil || r.Subscribers != 7 {
		t.Errorf("%v with %d subscribers: what was published is reported as failed", r.Err, r.Subscribers)
	}
	if r := s.Publish(context.Background(), message(app("broken", 9), "1")); r.Err == nil || r.Err.Code != protocol.BackendError {
		t.Errorf("got %v, want backend_error", r.Err)
	}
}

// TestRedisGoesAwayWhileMessagesWait: the first fails after a timeout; all that
// wait behind it must not each wait for another.
func TestRedisGoesAwayWhileMessagesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout, waiting = 2 * time.Second, 20 * maxBatchMessages
		s := newStanding()
		s.sender.answer = func([]send.Batch) error {
			<-time.After(timeout)
			s.down.Store(true) // as Health has it
			return context.DeadlineExceeded
		}
		c := expect(1 + waiting)
		a := app("app", waiting)
		began := time.Now()
		s.submit(t, message(a, "1"), c.of(""))
		<-s.sender.began
		for range waiting {
			s.submit(t, message(a, "1"), c.of(""))
		}
		c.wait(t)
		if took := time.Since(began); took > timeout {
			t.Errorf("%d messages waited %v to be refused, want %v", waiting, took, timeout)
		}
		if s.seen("backend_error") != 1+waiting {
			t.Errorf("observed %v", s.observed)
		}
		s.down.Store(false)
		s.sender.answer = acceptAll
		if r := s.Publish(context.Background(), message(a, "1")); r.Err != nil {
			t.Errorf("after Redis came back: %v", r.Err)
		}
	})
}

func TestCallerGivesUp(t *testing.T) {
	s := newStanding()
	gate := s.hold()
	ctx, cancel := context.WithCancel(context.Background())
	results := make(chan Result, 1)
	go func() { results <- s.Publish(ctx, message(app("app", 9), "1")) }()
	<-s.sender.began
	cancel()
	select {
	case r := <-results:
		if r.Err == nil || r.Err.Code != protocol.BackendError || r.Err.Outcome != protocol.OutcomeUnknown || !strings.Contains(r.Err.Message, "not known") {
			t.Errorf("got %v, want backend_error that says the outcome is not known", r.Err)
		}
	case <-time.After(patience):
		t.Fatal("Publish does not return when its caller gives up")
	}
	close(gate)
	redistest.Eventually(t, patience, "the message is published after all", func() bool { return s.seen("ok") == 1 })
}

func TestSubscribersOnlyIfAsked(t *testing.T) {
	s := newStanding()
	m := message(app("app", 9), "1")
	for _, ask := range []bool{true, false} {
		m.CountSubscribers = ask
		s.Publish(context.Background(), m)
	}
	for i, want := range []bool{true, false} {
		if got := s.sender.calls[i][0].Messages[0].CountSubscribers; got != want {
			t.Errorf("message %d asks for subscribers: %v, want %v", i, got, want)
		}
	}
}

// TestMessageIsCopied: a session reads its next frame into the same buffer.
func TestMessageIsCopied(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	s := newReal(t, rdb)
	subscription := rdb.PSubscribe(t.Context(), "*")
	defer subscription.Close()
	if _, err := subscription.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	buffer := []byte(`{"a":"the data"}{"m":"metadata"}`)
	gate := make(chan struct{})
	held := make(chan struct{})
	s.sender.before = sync.OnceFunc(func() { close(held); <-gate })
	c := expect(2)
	a := app("app", 9)
	if err := s.Submit(message(a, "0"), c.of("")); err != nil {
		t.Fatal(err)
	}
	<-held
	if err := s.Submit(Message{Grant: everything(a), Channel: "devices/1", From: "p", Data: buffer[:16], FromMetadata: buffer[16:]}, c.of("")); err != nil {
		t.Fatal(err)
	}
	for i := range buffer {
		buffer[i] = '#'
	}
	close(gate)
	c.wait(t)
	var got string
	for range 2 {
		published, err := subscription.ReceiveMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = published.Payload
	}
	if strings.Contains(got, "##") || !strings.Contains(got, `{"a":"the data"}`) || !strings.Contains(got, `{"m":"metadata"}`) {
		t.Errorf("published %q", got)
	}
}

// TestCompletionMaySubmit: what is told of one message may lead to the next.
func TestCompletionMaySubmit(t *testing.T) {
	s := newStanding()
	a := app("app", 100)
	done := make(chan struct{})
	var next func(left int) Completion
	next = func(left int) Completion {
		return then(func() {
			if left == 0 {
				close(done)
				return
			}
			if err := s.Submit(message(a, "1"), next(left-1)); err != nil {
				t.Errorf("refused: %v", err)
			}
		})
	}
	s.submit(t, message(a, "1"), next(50))
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("a message submitted from Published is not published")
	}
}

type then func()

func (f then) Published(Result) { f() }
func (then) Flush()             {}

// TestLetsGo: nothing of a message is kept when it has been answered, not even
// while others wait.
func TestLetsGo(t *testing.T) {
	s := newStanding()
	gate := s.hold()
	a := app("app", 10*maxBatchMessages)
	var answered []weak.Pointer[send.Outgoing]
	c := expect(-1)
	s.submit(t, message(a, "first"), c.of(""))
	<-s.sender.began
	for range 3 * maxBatchMessages {
		s.submit(t, message(a, "1"), c.of(""))
	}
	gate <- struct{}{} // the first
	<-s.sender.began
	gate <- struct{}{} // a full round trip
	<-s.sender.began
	s.sender.mu.Lock()
	for _, b := range slices.Concat(s.sender.calls[0], s.sender.calls[1]) {
		for _, o := range b.Messages {
			answered = append(answered, weak.Make(o))
		}
	}
	s.sender.calls = nil
	clear(s.sender.messages)
	s.sender.mu.Unlock()
	redistest.Eventually(t, patience, "no message that was answered is kept in memory", func() bool {
		runtime.GC()
		return !slices.ContainsFunc(answered, func(o weak.Pointer[send.Outgoing]) bool { return o.Value() != nil })
	})
	close(gate)
	redistest.Eventually(t, patience, "all is published", func() bool { return s.seen("ok") == 1+3*maxBatchMessages })
}

// TestCallerMakesTheRoundTrip: a caller that cannot give up makes its round trip
// itself, and leaves what has come meanwhile to others.
func TestCallerMakesTheRoundTrip(t *testing.T) {
	s := newStanding()
	gate := s.hold()
	a := app("app", 9)
	first := make(chan Result, 1)
	go func() { first <- s.Publish(context.Background(), message(a, "1")) }()
	<-s.sender.began
	c := expect(1)
	s.submit(t, message(a, "2"), c.of("2"))
	gate <- struct{}{}
	if r := <-first; r.Err != nil { // though the second round trip is held
		t.Errorf("the first is refused: %v", r.Err)
	}
	<-s.sender.began
	close(gate)
	if got := strings.Join(c.wait(t), ","); got != "2,flush" {
		t.Errorf("told %s", got)
	}
	redistest.Eventually(t, patience, "nothing is under way", func() bool {
		s.Service.mu.Lock()
		defer s.Service.mu.Unlock()
		return !s.busy
	})
	s.Publish(context.Background(), message(a, "3"))
	if s.busy {
		t.Error("the caller's round trip is over, and the service still busy")
	}
}

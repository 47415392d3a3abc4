package sink

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
)

// slow is a Maker whose Resolve waits.
type slow struct {
	*endpoint
	asked, answer chan struct{}
}

func (s slow) Resolve(ctx context.Context, of *apps.Sink) (*apps.Sink, error) {
	s.asked <- struct{}{}
	<-s.answer
	return s.endpoint.Resolve(ctx, of)
}

// While one worker reads the secrets again, others go on with the last good ones.
func TestSlowSecretsHoldUpNoOther(t *testing.T) {
	e := &endpoint{secrets: map[apps.Secret]string{"env:CRM": "one"}}
	maker := slow{e, make(chan struct{}), make(chan struct{})}
	spec := &apps.Sink{Type: apps.SinkWebhook, Webhook: &apps.WebhookSink{Secrets: []apps.Secret{"env:CRM"}}}
	h := newHolder(spec, maker, pace{}, slog.New(slog.DiscardHandler)) // which reads them again each time
	got := make(chan *shared)
	get := func() {
		target, err := h.get(context.Background())
		if err != nil {
			t.Error(err)
		}
		got <- target
	}
	go get()
	<-maker.asked
	maker.answer <- struct{}{}
	first := <-got
	e.secrets["env:CRM"] = "two"
	go get()
	<-maker.asked
	go get()
	select {
	case second := <-got:
		if second != first {
			t.Error("the second worker has another target")
		}
		h.put(second)
	case <-time.After(patience):
		t.Fatal("the second worker waits for the secrets")
	}
	maker.answer <- struct{}{}
	next := <-got
	if next == first || e.closed != 0 {
		t.Errorf("the secrets were not read again; %d targets are closed", e.closed)
	}
	h.put(first)
	h.put(next)
	h.close()
	if e.closed != 2 {
		t.Errorf("%d targets are closed", e.closed)
	}
}

// unset is the Maker of a node that does not have the secret.
type unset struct {
	*endpoint
	asked atomic.Int64
}

func (u *unset) Resolve(context.Context, *apps.Sink) (*apps.Sink, error) {
	u.asked.Add(1)
	return nil, errors.New("env:CRM is not set")
}

// A node that cannot make the target holds up none that can, and spends no try of the sink.
func TestSecretOfOneNodeIsMissing(t *testing.T) {
	c, rdb := redistest.Clocked(t) // it stands still, so it is never long ago that a message was delivered
	w := newWorld(t, rdb, groupWith(crm))
	u := &unset{endpoint: w.endpoint}
	asked := func(times int64) {
		t.Helper()
		before := u.asked.Load()
		redistest.Eventually(t, patience, "the node tries to make the target", func() bool { return u.asked.Load() >= before+times })
	}
	patient := quick
	patient.unable = time.Hour
	w.startWith(rdb, u, patient)
	w.publish(3, 1, 10)
	redistest.Eventually(t, patience, "the error is told", func() bool { return w.state().LastError == "env:CRM is not set" })
	able := w.start(quick)
	for n := 20; n <= 100; n += 10 {
		w.publish(3, n-9, n)
		w.awaitTaken(n)
		asked(1)
		if s := w.state(); s.Condition != OK {
			t.Fatalf("state %+v", s)
		}
	}
	w.set(always(&Unavailable{Reason: "away", RetryAfter: time.Minute}))
	w.publish(3, 101, 110)
	w.await(Failing)
	able.stop()
	c.Pass(time.Minute)
	tries := func() string { return rdb.HGet(t.Context(), keys.Sink("app", "crm"), "tries").Val() }
	before := tries()
	asked(3)
	if got := tries(); got != before {
		t.Errorf("%s tries, and %s before", got, before)
	}
	w.set(nil)
	w.start(quick)
	w.awaitTaken(110)
	w.awaitWaiting("lag 0 pending 0 dead 0")
	w.await(OK)
	w.wantOnce(110)
}

package sink

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"fleetwire/pkg/apps"
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

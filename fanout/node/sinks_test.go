package node

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/sink"
)

const sinkDocument = `{"apps":[{"id":"app_demo","groups":[{"name":"crm","patterns":["devices/**"],"sink":{"type":"webhook","url":"https://crm.example.com","secrets":["env:CRM"]}}],
 "keys":[{"id":"` + keyID + `","secret":"` + secret + `","channelPatterns":["devices/**"],"actions":["publish","subscribe"]}]}]}`

// endpoint is a Maker, and the target that it makes.
type endpoint struct {
	mu       sync.Mutex
	taken    []string
	begun    chan struct{} // closed with the first delivery
	released chan struct{} // deliveries wait for it; nil: they do not
	closed   bool
}

func (e *endpoint) Resolve(_ context.Context, s *apps.Sink) (*apps.Sink, error) { return s, nil }
func (e *endpoint) New(context.Context, *apps.Sink) (sink.Target, error)        { return e, nil }

func (e *endpoint) Deliver(ctx context.Context, batch []sink.Message) []error {
	e.mu.Lock()
	if len(e.taken) == 0 {
		close(e.begun)
	}
	for _, m := range batch {
		e.taken = append(e.taken, string(m.Data))
	}
	e.mu.Unlock()
	if e.released != nil {
		select {
		case <-e.released:
		case <-ctx.Done():
			return sink.All(len(batch), ctx.Err())
		}
	}
	return sink.All(len(batch), nil)
}

func (e *endpoint) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return nil
}

// startSink runs a node with a sink, and publishes a message.
func startSink(t *testing.T, e *endpoint, changes ...func(*Options)) *running {
	t.Helper()
	dir, err := apps.Parse([]byte(sinkDocument))
	check(t, err)
	e.begun = make(chan struct{})
	r := start(t, append(changes, func(o *Options) { o.Apps, o.Sinks = apps.NewStore(dir), e })...)
	grant := auth.KeyGrant(dir.Apps()[0].Keys[0], "device", nil)
	if done := r.Publisher().Publish(t.Context(), publish.Message{Grant: grant, Channel: "devices/a", From: "device", Data: []byte("1")}); done.Err != nil {
		t.Fatal(done.Err)
	}
	<-e.begun
	return r
}

// waits is how many messages of the sink's group wait.
func (r *running) waits() string {
	app := r.opt.Apps.Current().Apps()[0]
	s, err := r.groups.State(context.Background(), app, app.Groups[0])
	check(r.t, err)
	return fmt.Sprintf("lag %d pending %d", s.Lag, s.Pending)
}

func TestSinkMetrics(t *testing.T) {
	e := &endpoint{}
	r := startSink(t, e)
	eventually(t, "the message is counted", func() bool {
		n, _ := r.metric(`fleetwire_sink_messages_total{app="app_demo",group="crm",result="delivered"}`)
		return n == 1
	})
	r.wantMetric(`fleetwire_sink_state{app="app_demo",group="crm"}`, 0)
	eventually(t, "nothing waits", func() bool { return r.waits() == "lag 0 pending 0" })
}

// A node that drains finishes the deliveries that are under way.
func TestDrainFinishesSinks(t *testing.T) {
	e := &endpoint{released: make(chan struct{})}
	r := startSink(t, e)
	r.stop()
	eventually(t, "it drains", r.draining.Load)
	select {
	case err := <-r.ended:
		t.Fatalf("the node has ended with a delivery under way: %v", err)
	default:
	}
	close(e.released)
	check(t, r.wait())
	if !e.closed {
		t.Error("the target is not closed")
	}
	if got := r.waits(); got != "lag 0 pending 0" {
		t.Errorf("the group has %s", got)
	}
}

// A drain that is cut short gives back what is under way.
func TestHurryGivesBack(t *testing.T) {
	e, hurry := &endpoint{released: make(chan struct{})}, make(chan struct{})
	r := startSink(t, e, func(o *Options) { o.Hurry = hurry })
	r.stop()
	close(hurry)
	check(t, r.wait())
	if got := r.waits(); got != "lag 1 pending 0" {
		t.Errorf("the group has %s", got)
	}
}

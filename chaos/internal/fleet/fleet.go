package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fleetwire/chaos/internal/books"
	"fleetwire/chaos/internal/stage"
	"fleetwire/clients/go/client"
	"fleetwire/pkg/apps"
)

// Size is how large a fleet is.
type Size struct {
	Groups    int // of devices, each with a channel of each kind
	Writers   int // devices of a group, which publish, are present, and do commands
	Listeners int // of a group, to what it publishes
	Backends  int // that publish with REST, and as many that command
	Interval  time.Duration
	Comers    int           // devices that come, and as many that go, during each fault
	Ingesters int           // of a group, by each of three ways: the client library, frames, and requests
	Hook      bool          // half of the messages wait for a group with a sink, too
	InFlight  int           // messages that an ingester holds at most
	Lease     time.Duration // of messages that it holds, whole seconds
	Messages  int           // of devices and backends that are acked in all; 0: as many as the time allows

	Slack time.Duration // is added to the bounds of time, for a busy machine
}

// Full is the fleet of make chaos, Small that of a run of seconds, Proof one that sends all it can.
var (
	Full  = Size{Groups: 12, Writers: 15, Listeners: 3, Backends: 6, Interval: 500 * time.Millisecond, Comers: 6, Ingesters: 2, Hook: true, InFlight: 100, Lease: 3 * time.Second}
	Small = Size{Groups: 3, Writers: 5, Listeners: 2, Backends: 2, Interval: 200 * time.Millisecond, Comers: 2, Ingesters: 1, InFlight: 100, Lease: 3 * time.Second}
	Proof = Size{Groups: 20, Writers: 10, Backends: 4, Interval: time.Millisecond, Comers: 2, Ingesters: 3, Hook: true, InFlight: 200, Lease: 10 * time.Second}
)

// The limits of the apps that have them.
const (
	capMessages    = 60
	capConnections = 4
	capDevices     = 6
)

const mainApp = "fleet"

func capApp(step int) string { return fmt.Sprintf("cap-%d", step) }

// Apps writes the apps document: the fleet's own, whose group has such leases, and one with caps for
// each step. The fleet's other group has a sink, which posts its messages to the URL hook; "": it has none.
func Apps(path string, steps int, lease time.Duration, hook string) (*apps.Directory, error) {
	const plenty = 1_000_000_000
	limits := map[string]any{"connectionMessagesPerSec": plenty, "connectionMessagesBurst": plenty,
		"connectsPerAddressPerMin": plenty, "restPerSec": plenty, "restBurst": plenty}
	app := func(name string, connections, messages int) map[string]any {
		id, secret := apps.GenerateKeyPair()
		return map[string]any{"id": name, "limits": limits, "graceMs": 1000,
			"plan": map[string]any{"name": "chaos", "maxConcurrentConnections": connections, "maxMessagesPerPeriod": messages},
			"keys": []any{map[string]any{"id": id, "secret": secret, "channelPatterns": []string{"**"}, "actions": []string{"publish", "subscribe", "presence", "send"}}}}
	}
	fleet := app(mainApp, plenty, plenty)
	groups := []any{map[string]any{"name": ingestGroup, "patterns": []string{"fleets/*/events", "log/*"},
		"ackTimeoutSec": int(lease.Seconds()), "maxDeliver": ingestDeliver}}
	if hook != "" {
		groups = append(groups, map[string]any{"name": hookGroup, "patterns": []string{"fleets/*/events"},
			"ackTimeoutSec": int(hookLease.Seconds()), "maxDeliver": hookDeliver, "sink": map[string]any{"type": "webhook", "url": hook, "secrets": []string{hookSecret()}}})
	}
	fleet["groups"] = groups
	fleet["history"] = []any{map[string]any{"pattern": "log/*", "size": 1000, "ttlSec": 3600}}
	small := app(smallApp, plenty, plenty)
	small["groups"] = []any{map[string]any{"name": smallGroup, "patterns": []string{"full/*"}, "maxBytes": smallBytes}}
	all := []any{fleet, small}
	for i := range steps {
		all = append(all, app(capApp(i), capConnections, capMessages))
	}
	document, err := json.Marshal(map[string]any{"apps": all})
	if err != nil {
		return nil, err
	}
	directory, err := apps.Parse(document)
	if err != nil {
		return nil, fmt.Errorf("the apps document: %w", err)
	}
	return directory, os.WriteFile(path, document, 0o600)
}

// A Fleet is at work from Start to Stop.
type Fleet struct {
	Size  Size
	stage *stage.Stage
	books *books.Books
	apps  *apps.Directory
	rest  *client.REST

	ctx     context.Context
	end     context.CancelFunc
	senders sync.WaitGroup // all that publish or command
	writers context.Context
	halt    context.CancelFunc

	probes    *probes
	group     *books.Group
	hook      *Receiver
	ingesters []*ingester
	acked     atomic.Int64

	mu       sync.Mutex
	devices  map[string]*device
	watchers []*watcher
	comers   []*device // in the order in which they came
	came     int
	stop     sync.Once
}

// Start starts the fleet, and returns when all of it is connected and subscribed.
func Start(ctx context.Context, s *stage.Stage, b *books.Books, d *apps.Directory, hook *Receiver, size Size) (*Fleet, error) {
	f := &Fleet{Size: size, stage: s, books: b, apps: d, devices: map[string]*device{}}
	f.rest = f.backend(mainApp)
	f.hook = hook
	hook.group = b.Group(hookGroup, hookLease, func(c string) bool { return size.Hook && strings.HasPrefix(c, "fleets/") })
	hook.group.Sink = true
	f.group = b.Group(ingestGroup, size.Lease, func(c string) bool { return strings.HasPrefix(c, "fleets/") || strings.HasPrefix(c, "log/") })
	f.ctx, f.end = context.WithCancel(ctx)
	f.writers, f.halt = context.WithCancel(f.ctx)
	starting, cancel := context.WithTimeout(f.ctx, time.Minute)
	defer cancel()
	err := f.join(starting)
	if err == nil {
		f.probes, err = startProbes(starting, f)
	}
	if err != nil {
		f.Stop()
		return nil, err
	}
	f.startIngesters()
	f.work()
	return f, nil
}

// join connects all devices, at most 16 at a time.
func (f *Fleet) join(ctx context.Context) error {
	var starts []func(context.Context) error
	for g := range f.Size.Groups {
		for i := range f.Size.Writers {
			starts = append(starts, func(ctx context.Context) error { return f.writer(ctx, g, i) })
		}
		for i := range f.Size.Listeners {
			starts = append(starts, func(ctx context.Context) error { return f.listener(ctx, g, i) })
		}
	}
	for i := range min(f.Size.Listeners, 1) * len(f.stage.Nodes) {
		starts = append(starts, func(ctx context.Context) error { return f.wild(ctx, i) })
	}
	return each(ctx, starts)
}

func each(ctx context.Context, starts []func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	places := make(chan struct{}, 16)
	for _, start := range starts {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			if err := start(ctx); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return nil
}

// Quiet has all that send end, and waits for their answers.
func (f *Fleet) Quiet() {
	f.halt()
	f.senders.Wait()
}

// Stop ends the fleet. A second call does nothing.
func (f *Fleet) Stop() { f.stop.Do(f.leave) }

func (f *Fleet) leave() {
	f.Quiet()
	for _, i := range f.ingesters {
		i.kill()
	}
	f.mu.Lock()
	all := make([]*device, 0, len(f.devices))
	for _, d := range f.devices {
		all = append(all, d)
	}
	f.mu.Unlock()
	var closing sync.WaitGroup
	for _, d := range all {
		closing.Go(d.leave)
	}
	closing.Wait()
	if f.probes != nil {
		f.probes.stop()
	}
	f.end()
	f.rest.HTTPClient.CloseIdleConnections()
}

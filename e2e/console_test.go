package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/nodejstest"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/registry"
)

// The console in a real browser, on an app with 10,000 devices. npm/console.mjs says what
// is looked at, and npm/consoledevices.mjs what the devices that are connected do.
func TestConsoleInABrowser(t *testing.T) {
	nodejstest.Path(t, 20, 0, npmFolder)
	chromium := chromiumPath(t)

	const known = 10_000
	key := newKey("console", "**", "_system/connectivity/**").only(everyAction...)
	viewer := newKey("looks", "**").only(everyAction...)
	viewer.Role = "viewer"
	app := newApp("app_console", key, viewer, &keyDoc{ID: "pk_live_page", Patterns: []string{"public/**"}, Actions: []string{"subscribe"}, Origins: []string{"https://app.example.com"}})
	app.GraceMs = 1 // else those whose connections have just ended count as online
	app.History = []ruleDoc{{"log/**", 100, 3600}}
	app.Groups = []groupDoc{{Name: "ingest", Patterns: []string{"devices/*/events"}, MaxBytes: 1 << 20, MaxDeliver: 1}, {
		Name: "crm", Patterns: []string{"alarms/*"}, MaxBytes: 1 << 20, // the node reaches no loopback address
		Sink: map[string]any{"type": "webhook", "url": "https://127.0.0.1:9/", "secrets": []string{sinkSecret}},
	}}
	s := startOneNode(t, app)
	rememberPeers(t, s, app.ID, known)

	t.Log(runNPM(t, 6*patience, map[string]any{
		"chromium": chromium, "base": "http://" + s.first().addr, "rest": "http://" + s.first().addr, "nodes": []string{"ws://" + s.first().addr},
		"key": key.credential(), "viewer": viewer.credential(), "app": app.ID, "known": known,
	}, "console.mjs"))
}

// rememberPeers has the registry know so many peers that were connected, and are not any
// more: camera-00000 and so on.
func rememberPeers(t *testing.T, s *system, appID string, n int) {
	t.Helper()
	app, _ := s.apps.Current().App(appID)
	rdb := s.client()
	var keys rediskeys.Namespace
	recorder := registry.NewRecorder(registry.RecorderOptions{
		Redis: rdb, Keys: keys, Node: "seed", Process: 1, Directory: s.apps.Current,
		Connections: func() []registry.Connected { return nil },
		Publisher:   noWills{}, Revoked: func(_ *auth.Grant, done func(bool, error)) { done(false, nil) }, WillDue: func(string) {},
		Log: slog.New(slog.DiscardHandler),
	})
	recorder.Identified("seed")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		recorder.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = rdb.Close()
	})
	ends := []struct {
		code   int
		reason registry.Reason
	}{{1000, registry.Closed}, {1006, registry.Lost}, {4000, registry.Inactive}, {4002, registry.Expired}}
	for i := range n {
		peer, end := fmt.Sprintf("camera-%05d", i), ends[i%len(ends)]
		recorder.Connected(registry.Connected{
			App: app, Peer: peer, Connection: uint64(i), Metadata: fmt.Appendf(nil, `{"firmware":"v3.%d"}`, i%7),
			Epoch: new(atomic.Uint64), Will: new(atomic.Pointer[registry.Will]),
		})
		recorder.Disconnected(registry.Disconnected{App: app, Peer: peer, Connection: uint64(i), Code: end.code, Reason: end.reason})
	}
	reader := registry.NewReader(rdb, keys)
	last := fmt.Sprintf("camera-%05d", n-1) // changes are written in order
	eventually(t, "the registry knows "+last+", as offline", patience, func() bool {
		peer, ok, err := reader.Get(ctx, app, last)
		return err == nil && ok && peer.LastDisconnect != nil
	})
}

// noWills is for peers that have none.
type noWills struct{}

func (noWills) Submit(publish.Message, publish.Completion) *protocol.Error {
	return protocol.Errorf(protocol.InternalError, "no peer has a will")
}

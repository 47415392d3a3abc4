package e2e

import (
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/registry"
)

// Redis is away for longer than the leases of its nodes, and comes back with its data. A will
// that fell due meanwhile is published then, behind that its peer is offline; one that is not
// due waits, also for its peer to be back; and a peer that was connected all the time has not
// gone.
func TestWillsWhenRedisComesBack(t *testing.T) {
	for name, start := range map[string]struct {
		server func(testing.TB) *redistest.Server
		stop   func(testing.TB, *redistest.Server)
	}{
		"with its append-only file": {redistest.StartAppending, func(_ testing.TB, r *redistest.Server) { r.Stop() }},
		"with a snapshot": {redistest.Start, func(t testing.TB, r *redistest.Server) {
			if err := r.Client().Save(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			r.Stop()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := willsKey("restart")
			app := newApp("app_willrestart", key)
			app.GraceMs = 1000
			app.History = []ruleDoc{{"wills/**", 10, 3600}} // a subscriber of another node may miss a message while Redis comes back
			s := newSystem(t, app)
			s.redis = start.server(t)
			n, m := s.start(s.redis.URL(), options{}), s.start(s.redis.URL(), options{})
			lose := func(peer, fields string) {
				d := n.connect(t, key.token(peer, nil)).setWill(fields)
				d.conn.Close()
				m.awaitPeer(t, key, peer, "is lost", func(p *knownPeer) bool { return p.LastDisconnect != nil })
			}
			here := n.connect(t, key.token("d-here", nil)).setWill("")
			lose("d-later", `,"delayMs":3600000`)
			lose("d-back", `,"delayMs":3600000`)
			lose("d-gone", `,"delayMs":2000`)
			start.stop(t, s.redis)
			time.Sleep(registry.Lease) // until each lease that Redis had has expired
			s.redis.Resume()

			wills := func(peer string) int { return m.publishedWills(t, key, peer) }
			eventually(t, "the will that was due is published", patience, func() bool { return wills("d-gone") == 1 })
			if p := m.awaitPeer(t, key, "d-gone", "is offline", offline); p.LastDisconnect.Reason != "lost" {
				t.Errorf("d-gone: %+v", p.LastDisconnect)
			}
			here.alive()
			m.awaitPeer(t, key, "d-here", "is online, and always was", func(p *knownPeer) bool { return p.Online && p.LastDisconnect == nil })
			var back *socket
			eventually(t, "d-back is back", patience, func() (ok bool) {
				var err error
				back, err = n.tryEnter(t, "token="+key.token("d-back", nil))
				return err == nil
			})
			m.awaitPeer(t, key, "d-back", "is online", online)
			back.leave()
			m.awaitPeer(t, key, "d-back", "is offline", offline)
			here.conn.Close()
			eventually(t, "the will of d-here is published", patience, func() bool { return wills("d-here") >= 1 })
			for peer, want := range map[string]int{"d-gone": 1, "d-here": 1, "d-later": 0, "d-back": 0} {
				if got := wills(peer); got != want {
					t.Errorf("%d wills of %s are published, want %d", got, peer, want)
				}
			}
			var names rediskeys.Namespace
			if !s.redis.Client().HExists(t.Context(), names.Bucket(app.ID, "d-later").Wills(), "pd-later").Val() {
				t.Error("the will of d-later does not wait any more")
			}
		})
	}
}

package e2e

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
)

// The concurrent-connection cap is exact while many connect at once to all
// nodes (protocol §6): who is too many is closed with 4010. What a connection
// held is given back when it ends, in order or not.
func TestConnectionLimit(t *testing.T) {
	const most, tries = 40, 120
	key := newKey("limit", "**")
	app := newApp("app_limit", key)
	app.Plan.Connections = most
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		rush := func(n int) (in []*socket) {
			t.Helper()
			all := make([]*socket, n)
			var refused atomic.Int64
			each(t, n, func(i int) error {
				d, err := s.nodes[i%len(s.nodes)].tryEnter(t, "token="+key.token("camera", nil))
				var closed closedError
				if errors.As(err, &closed) && closed.code == 4010 && closed.reason != "" {
					refused.Add(1)
					return nil
				}
				all[i] = d
				return err
			})
			for _, d := range all {
				if d != nil {
					in = append(in, d)
				}
			}
			if len(in)+int(refused.Load()) != n {
				t.Errorf("%d let in and %d refused of %d", len(in), refused.Load(), n)
			}
			return in
		}

		in := rush(tries)
		if len(in) != most {
			t.Fatalf("%d of %d were let in, want %d", len(in), tries, most)
		}
		for _, d := range in {
			d.alive()
		}
		for i, d := range in[:10] {
			if i%2 == 0 {
				d.leave()
			} else {
				d.conn.Close()
			}
		}
		in = in[10:]
		// Nobody says when Redis has been told, so it takes some tries; that there
		// are never more than the cap holds all the time.
		eventually(t, "10 more are let in", patience, func() bool {
			in = append(in, rush(4)...)
			if len(in) > most {
				t.Fatalf("%d are connected, want at most %d", len(in), most)
			}
			return len(in) == most
		})
		if more := rush(20); len(more) != 0 {
			t.Errorf("%d more were let in over the cap", len(more))
		}
		for i, d := range in {
			d.subscribe(fmt.Sprint("devices/", i))
		}
	})
}

// A connection that was refused for its credential takes nothing of the cap.
func TestRefusedConnectionsHoldNothing(t *testing.T) {
	key := newKey("tight", "**")
	app := newApp("app_tight", key)
	app.Plan.Connections = 1
	s := startEmbedded(t, app)
	for range 3 {
		s.first().refused(t, "token="+key.token("camera", claims{"exp": 1}), 4002)
		s.first().refused(t, "token="+key.token("camera", nil)+"x", 4001)
	}
	d := s.first().connect(t, key.token("camera", nil))
	for range 3 {
		s.first().refused(t, "token="+key.token("camera", nil), 4010, "1 connection")
	}
	d.alive()
}

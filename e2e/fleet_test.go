package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// One HTTPS request, 1,000 deliveries: a fleet spread over two nodes on a real
// Redis gets one publish exactly once each, and the response says how many
// they are. When half of it has left, it says that.
func TestOneRequestToAThousandDevices(t *testing.T) {
	const fleet, channel = 1000, "fleets/fleet-northeast/commands"
	key := newKey("fleet", "devices/**", "fleets/**")
	s := startTwoNodes(t, newApp("app_fleet", key))

	devices := make([]*socket, fleet)
	each(t, fleet, func(i int) error {
		id := fmt.Sprintf("camera-%03d", i)
		token := key.token(id, claims{"channels": []string{"devices/" + id + "/*", channel}})
		d, err := s.nodes[i%2].tryEnter(t, "token="+token)
		if err != nil {
			return err
		}
		devices[i] = d
		for _, c := range []string{channel, "devices/" + id + "/commands"} {
			if err := d.write(`{"type":"subscribe","requestId":"s","channel":"` + c + `"}`); err != nil {
				return err
			}
			if err := d.wants(`{"type":"ack","requestId":"s"}`); err != nil {
				return err
			}
		}
		return nil
	})

	// The second is the marker: had the first come twice, it would come late.
	for _, n := range []*node{s.first(), s.last()} {
		command := fmt.Sprintf(`{"cmd":"set-frame-rate","fps":12,"by":%q}`, n.addr)
		if n := n.publish(t, key, channel, command); n != fleet {
			t.Errorf("subscribers: %d, want %d", n, fleet)
		}
		each(t, fleet, func(i int) error { return devices[i].wants(message(channel, "server", command)) })
	}
	if n := s.first().publish(t, key, "devices/camera-007/commands", `"reboot"`); n != 1 {
		t.Errorf("subscribers of one device's channel: %d, want 1", n)
	}
	devices[7].expectMessage("devices/camera-007/commands", "server", `"reboot"`)

	each(t, fleet/2, func(i int) error { return devices[i].conn.Close() })
	published := 0
	eventually(t, "subscribers: 500", patience, func() bool {
		n := s.last().publish(t, key, channel, fmt.Sprint(published))
		published++
		if n < fleet/2 {
			t.Fatalf("subscribers: %d, want at least %d", n, fleet/2)
		}
		return n == fleet/2
	})
	each(t, fleet/2, func(i int) error {
		for k := range published {
			if err := devices[fleet/2+i].wants(message(channel, "server", fmt.Sprint(k))); err != nil {
				return err
			}
		}
		return nil
	})
}

// wants is expect for goroutines, which cannot end the test.
func (s *socket) wants(frame string) error {
	got, err := s.read()
	if err == nil && got != frame {
		err = fmt.Errorf("got %.500s, want %.500s", got, frame)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.welcome.PeerID, err)
	}
	return nil
}

// each calls f for 0 to n-1 from many goroutines, and ends the test if any of
// them failed.
func each(t testing.TB, n int, f func(i int) error) {
	t.Helper()
	const workers = 32
	begin := time.Now()
	next := make(chan int)
	var mu sync.Mutex
	var errs []error
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	done.Wait()
	if len(errs) > 0 {
		t.Fatalf("%d of %d failed within %v, for one: %v", len(errs), n, time.Since(begin), errs[0])
	}
}

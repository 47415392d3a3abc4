package e2e

import (
	"fmt"
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
)

// A burst of several times the bound of unsent bytes does not make a slow
// consumer of a connection that reads. What it has not read yet stays below the
// bound: a connection that is further behind may be closed.
func TestBurstIsNotSlowness(t *testing.T) {
	const messages, size = 64, 60 << 10
	const behind = protocol.UnsentBytesLimit / (size + 256)
	key := newKey("burst", "**")
	onEachRedis(t, []*appDoc{newApp("app_burst", key)}, func(t *testing.T, s *system) {
		ear := s.last().connect(t, key.token("ear", nil)).subscribe("a")
		source := s.first().connect(t, key.token("source", nil))
		frame := message("a", "source", `"`+strings.Repeat("x", size)+`"`)
		unread := make(chan struct{}, behind)
		read := make(chan error, 1)
		go func() {
			for i := range messages {
				if err := ear.wants(frame); err != nil {
					read <- fmt.Errorf("message %d: %w", i, err)
					return
				}
				<-unread
			}
			read <- nil
		}()
		for range messages {
			select {
			case unread <- struct{}{}:
			case err := <-read:
				t.Fatal(err)
			}
			source.send(`{"type":"publish","channel":"a","data":"` + strings.Repeat("x", size) + `"}`)
		}
		if err := <-read; err != nil {
			t.Fatal(err)
		}
		ear.alive()
	})
}

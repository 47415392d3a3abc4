package e2e

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
)

// The messages of one connection on one channel arrive in the order sent, on
// every node, while others publish to the same channel as fast as they can
// (protocol §4.3). Nothing is lost or doubled.
func TestOrderUnderLoad(t *testing.T) {
	key := newKey("order", "**")
	const senders, messages = 6, 400
	onEachRedis(t, []*appDoc{newApp("app_order", key)}, func(t *testing.T, s *system) {
		ears := []*socket{
			s.first().connect(t, key.token("ear-1", nil)).subscribe("a"),
			s.last().connect(t, key.token("ear-2", nil)).subscribe("a"),
			s.last().connect(t, key.token("ear-3", nil)).subscribe("*"),
			s.first().connect(t, key.token("ear-4", nil)).subscribe("**", "a"),
		}
		failed := make(chan error, senders+len(ears))
		for i := range senders {
			sender := s.nodes[i%len(s.nodes)].connect(t, key.token("sender-"+strconv.Itoa(i), nil))
			go func() { failed <- sender.stream(messages) }()
		}
		for _, ear := range ears {
			go func() { failed <- ear.checkOrder(senders * messages) }()
		}
		for range senders + len(ears) {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			return
		}
		s.first().publish(t, key, "a", `"marker"`)
		for _, ear := range ears {
			ear.expectMessage("a", "server", `"marker"`)
		}
	})
}

// stream publishes 0, 1, 2… without waiting, and then reads the acks, which
// come in the same order.
func (s *socket) stream(messages int) error {
	for i := range messages {
		if err := s.write(fmt.Sprintf(`{"type":"publish","channel":"a","requestId":"%d","data":%d}`, i, i)); err != nil {
			return err
		}
	}
	for i := range messages {
		frame, err := s.read()
		if want := fmt.Sprintf(`{"type":"ack","requestId":"%d"}`, i); err != nil || frame != want {
			return fmt.Errorf("%s: got %s, %v; want %s", s.welcome.PeerID, frame, err, want)
		}
	}
	return nil
}

// checkOrder reads so many messages and wants each sender's to count up.
func (s *socket) checkOrder(messages int) error {
	next := map[string]int{}
	for range messages {
		frame, err := s.read()
		if err != nil {
			return fmt.Errorf("%s: %w", s.welcome.PeerID, err)
		}
		var m struct {
			From string
			Data int
		}
		if err := json.Unmarshal([]byte(frame), &m); err != nil {
			return fmt.Errorf("%s: %s: %w", s.welcome.PeerID, frame, err)
		}
		if m.Data != next[m.From] {
			return fmt.Errorf("%s: message %d of %s comes where %d is due", s.welcome.PeerID, m.Data, m.From, next[m.From])
		}
		next[m.From]++
	}
	return nil
}

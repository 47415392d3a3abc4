package publish

import (
	"context"
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

// TestOrderOfChecks: name → reserved → action → authorization → Redis (protocol
// §4.4). In each row everything after what is refused is wrong as well.
func TestOrderOfChecks(t *testing.T) {
	a := app("app", 100)
	publisher := []apps.Action{apps.ActionPublish}
	listener := []apps.Action{apps.ActionSubscribe, apps.ActionPresence, apps.ActionSend}
	for _, test := range []struct {
		name     string
		channel  string
		actions  []apps.Action
		patterns []string
		down     bool
		want     protocol.Code
	}{
		{"empty name", "", listener, nil, true, protocol.InvalidChannel},
		{"long name", strings.Repeat("x", 257), listener, nil, true, protocol.InvalidChannel},
		{"control character", "a\x07b", listener, nil, true, protocol.InvalidChannel},
		{"not UTF-8", "a\xff", listener, nil, true, protocol.InvalidChannel},
		{"pattern", "devices/*", publisher, []string{"**"}, false, protocol.InvalidChannel},
		{"level ..", "devices/../x", publisher, []string{"**"}, false, protocol.InvalidChannel},
		{"invalid and reserved", "_internal/*", listener, nil, true, protocol.InvalidChannel},

		{"reserved", "_internal/x", listener, nil, true, protocol.ChannelReserved},
		{"reserved, although granted", "_metered/x", publisher, []string{"**", "_metered/**"}, false, protocol.ChannelReserved},
		{"reserved system", "_system/", publisher, []string{"**"}, false, protocol.ChannelReserved},

		{"action", "c", listener, nil, true, protocol.ActionNotPermitted},
		{"no action at all", "c", nil, nil, true, protocol.ActionNotPermitted},
		{"action, although granted the channel", "c", listener, []string{"**"}, false, protocol.ActionNotPermitted},

		{"authorization", "c", publisher, nil, true, protocol.ChannelNotAuthorized},
		{"another channel", "devices/2/events", publisher, []string{"devices/1/*", "fleets/**"}, true, protocol.ChannelNotAuthorized},

		{"Redis is away", "c", publisher, []string{"**"}, true, protocol.BackendError},
		{"nothing is wrong", "c", publisher, []string{"**"}, false, ""},
		{"looks reserved", "_internalx", publisher, []string{"**"}, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStanding()
			s.down.Store(test.down)
			r := s.Publish(context.Background(), Message{Grant: grant(a, test.actions, test.patterns...), Channel: test.channel, From: "p", Data: []byte("1")})
			if test.want == "" {
				if r.Err != nil || s.seen("ok") != 1 || s.sender.callCount() != 1 {
					t.Errorf("%v, observed %v", r.Err, s.observed)
				}
				return
			}
			if r.Err == nil || r.Err.Code != test.want {
				t.Fatalf("got %v, want %s", r.Err, test.want)
			}
			if r.Err.Message == "" {
				t.Error("the error has no message")
			}
			if s.seen(string(test.want)) != 1 || len(s.observed) != 1 {
				t.Errorf("observed %v, want one %s", s.observed, test.want)
			}
			if len(s.sender.messages) != 0 || s.sender.callCount() != 0 {
				t.Error("a message that is refused reached Redis")
			}
		})
	}
}

// TestRefusedMessageHasNoCompletion: Submit's error is the only answer.
func TestRefusedMessageHasNoCompletion(t *testing.T) {
	s := newStanding()
	c := expect(1)
	if err := s.Submit(Message{Grant: everything(app("app", 9)), Channel: "*", Data: []byte("1")}, c.of("refused")); err == nil {
		t.Error("a pattern is taken for a name")
	}
	s.down.Store(true)
	if err := s.Submit(Message{Grant: everything(app("app", 9)), Channel: "c", Data: []byte("1")}, c.of("refused")); err == nil {
		t.Error("taken although Redis is away")
	}
	s.down.Store(false)
	if err := s.Submit(Message{Grant: everything(app("app", 9)), Channel: "c", Data: []byte("1")}, c.of("good")); err != nil {
		t.Fatal(err)
	}
	if events := c.wait(t); strings.Join(events, ",") != "good,flush" {
		t.Errorf("told %q, want good and flush alone", events)
	}
}

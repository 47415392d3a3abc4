package publish

import (
	"context"
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish/send"
)

// tallied keeps what usage was told.
type tallied struct{ channel, peer []string }

func (u *tallied) Published(_, channel, peer string, _ int) {
	u.channel = append(u.channel, channel)
	u.peer = append(u.peer, peer)
}

func TestDirect(t *testing.T) {
	for _, test := range []struct {
		name     string
		message  Message
		actions  []apps.Action
		want     protocol.Code
		accepted bool // reached Redis
	}{
		{"to a peer that is connected", Message{To: "device-7"}, []apps.Action{apps.ActionSend}, "", true},
		{"to a peer that is not", Message{To: "nobody"}, []apps.Action{apps.ActionSend}, protocol.PeerNotFound, true},
		{"the channel is not looked at", Message{To: "device-7", Channel: "_system/\x00*"}, []apps.Action{apps.ActionSend}, "", true},
		{"with publish alone", Message{To: "device-7"}, []apps.Action{apps.ActionPublish}, protocol.ActionNotPermitted, false},
		{"control character in the id", Message{To: "device\n7"}, []apps.Action{apps.ActionSend}, protocol.InvalidPeerID, false},
		{"id beyond ASCII", Message{To: "é"}, []apps.Action{apps.ActionSend}, protocol.InvalidPeerID, false},
		{"id of 129 bytes", Message{To: strings.Repeat("x", 129)}, []apps.Action{apps.ActionSend}, protocol.InvalidPeerID, false},
		{"the name comes before the action", Message{To: "\x7f"}, nil, protocol.InvalidPeerID, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStanding()
			used := &tallied{}
			s.opt.Usage = used
			var sent []envelope.Message
			s.sender.answer = func(batches []send.Batch) error {
				for _, o := range batches[0].Messages {
					m := s.sender.messages[o]
					sent = append(sent, m)
					o.Accepted, o.Found = true, m.To == "device-7"
				}
				return nil
			}
			m := test.message
			m.Grant, m.From, m.Data = grant(app("app", 10), test.actions), "p", []byte("1")
			r := s.Publish(context.Background(), m)
			var got protocol.Code
			if r.Err != nil {
				got = r.Err.Code
			}
			if got != test.want {
				t.Errorf("answered %q, want %q", got, test.want)
			}
			if (len(sent) == 1) != test.accepted || len(used.peer) != len(sent) {
				t.Fatalf("Redis got %d messages, and %d were counted", len(sent), len(used.peer))
			}
			if test.accepted && (sent[0].To != m.To || used.channel[0] != "" || used.peer[0] != "p") {
				t.Errorf("sent to %q and counted for the channel %q and the peer %q", sent[0].To, used.channel[0], used.peer[0])
			}
			if observed := "ok"; test.want == "" && s.seen(observed) != 1 || test.want != "" && s.seen(string(test.want)) != 1 {
				t.Errorf("observed %v", s.observed)
			}
		})
	}
}

// Protocol §4.4 puts the quota last; a message over it was not looked for a
// peer, so the answer is the quota's.
func TestDirectOverQuota(t *testing.T) {
	s := newStanding()
	s.sender.answer = func([]send.Batch) error { return nil } // accepts nothing
	r := s.Publish(context.Background(), Message{
		Grant: grant(app("app", 0), []apps.Action{apps.ActionSend}), To: "p", From: "q", Data: []byte("1"),
	})
	if r.Err == nil || r.Err.Code != protocol.OverMessageQuota {
		t.Errorf("answered %v, want over_message_quota", r.Err)
	}
}

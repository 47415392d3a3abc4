package auth

import (
	"strings"
	"testing"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/channel"
	"fleetwire/pkg/protocol"
)

// touches reports whether the grant covers the channel, whatever its actions.
func touches(g *Grant, name string) bool {
	with := *g
	with.Actions = apps.AllActions
	return with.Check(apps.ActionPublish, name) == nil
}

// The first check that fails is told: name → reserved → action → authorization.
func TestCheckOrder(t *testing.T) {
	key := keyNamed(t, "sk_a") // devices/** and fleets/*
	const reserved = "channels beginning with _metered/, _internal/ or _system/ are reserved"
	for _, tt := range []struct {
		name    string
		pattern bool
		actions apps.Actions
		code    protocol.Code // "": allowed
		message string        // how it begins
	}{
		{name: "devices/a", actions: apps.AllActions},
		{name: "", code: protocol.InvalidChannel, message: "channel is empty"},
		{name: "devices/../a", code: protocol.InvalidChannel, message: "channel has a level"},
		{name: "_system/..", code: protocol.InvalidChannel, message: "channel has a level"},
		{name: "devices/*", code: protocol.InvalidChannel, message: "channel contains an unescaped *"},
		{name: "_metered/a", code: protocol.ChannelReserved, message: reserved},
		{name: "_internal/a", code: protocol.ChannelReserved, message: reserved},
		{name: "_system/a", actions: apps.AllActions, code: protocol.ChannelReserved, message: reserved},
		{name: "public/a", actions: apps.ActionsOf(apps.ActionSubscribe, apps.ActionSend), code: protocol.ActionNotPermitted, message: "this credential does not allow presence"},
		{name: "public/a", actions: apps.ActionsOf(apps.ActionPresence), code: protocol.ChannelNotAuthorized, message: `this credential does not cover the channel "public/a"`},

		{name: "devices/*", pattern: true, actions: apps.AllActions},
		{name: "", pattern: true, code: protocol.InvalidChannel, message: "pattern is empty"},
		{name: "_system/../*", pattern: true, code: protocol.InvalidChannel, message: "pattern has a level"},
		{name: "_system/*", pattern: true, code: protocol.ChannelReserved, message: reserved},
		{name: "public/*", pattern: true, code: protocol.ActionNotPermitted, message: "this credential does not allow presence"},
		{name: "public/*", pattern: true, actions: apps.ActionsOf(apps.ActionPresence), code: protocol.ChannelNotAuthorized, message: `this credential does not cover all of the pattern "public/*"`},
	} {
		g := &Grant{App: key.App, Key: key, Actions: tt.actions}
		var refused *protocol.Error
		var compiled *channel.Pattern
		if tt.pattern {
			compiled, refused = g.CheckPattern(apps.ActionPresence, tt.name)
			if (compiled == nil) != (refused != nil) {
				t.Errorf("%q: pattern %v with %v", tt.name, compiled, refused)
			}
		} else {
			refused = g.Check(apps.ActionPresence, tt.name)
		}
		if refused == nil {
			refused = &protocol.Error{}
		}
		if refused.Code != tt.code || !strings.HasPrefix(refused.Message, tt.message) {
			t.Errorf("%q with %v: %v; want %s: %s…", tt.name, tt.actions.List(), refused, tt.code, tt.message)
		}
	}
}

// A pattern that nobody writes must not keep the node busy, and the peer hears why.
func TestCheckPatternGivesUp(t *testing.T) {
	dir, claimed := awkward(t)
	key, _ := dir.Key("sk_a")
	g := &Grant{App: key.App, Key: key, Patterns: patterns(t, claimed...), Actions: apps.AllActions}
	_, refused := g.CheckPattern(apps.ActionSubscribe, claimed[0])
	if refused == nil || refused.Code != protocol.ChannelNotAuthorized || !strings.Contains(refused.Message, "takes too long to check") {
		t.Errorf("%v; want that it takes too long", refused)
	}
}

func TestCheckPeer(t *testing.T) {
	for _, tt := range []struct {
		peer    string
		actions apps.Actions
		code    protocol.Code
	}{
		{"device-1", apps.ActionsOf(apps.ActionSend), ""},
		{"", apps.AllActions, protocol.InvalidPeerID},
		{"é", 0, protocol.InvalidPeerID},
		{"device-1", apps.ActionsOf(apps.ActionPublish), protocol.ActionNotPermitted},
	} {
		refused := (&Grant{Actions: tt.actions}).CheckPeer(apps.ActionSend, tt.peer)
		if refused == nil {
			refused = &protocol.Error{}
		}
		if refused.Code != tt.code {
			t.Errorf("%q with %v: %v; want %q", tt.peer, tt.actions.List(), refused, tt.code)
		}
	}
}

func TestStill(t *testing.T) {
	key := keyNamed(t, "sk_a")
	effort := channel.MaxEffort
	g := &Grant{App: key.App, Key: key, Patterns: patterns(t, "devices/1/**"), Actions: apps.ActionsOf(apps.ActionSubscribe)}
	wild := patterns(t, "devices/1/*", "devices/*/1")
	for _, tt := range []struct {
		action  apps.Action
		name    string
		pattern *channel.Pattern
		want    bool
	}{
		{apps.ActionSubscribe, "devices/1/a", nil, true},
		{apps.ActionSubscribe, "devices/2/a", nil, false},
		{apps.ActionPublish, "devices/1/a", nil, false},
		{apps.ActionSubscribe, "devices/1/*", wild[0], true},
		{apps.ActionSubscribe, "devices/*/1", wild[1], false},
	} {
		if got := g.Still(tt.action, tt.name, tt.pattern, &effort); got != tt.want {
			t.Errorf("Still(%s, %q) = %v; want %v", tt.action, tt.name, got, tt.want)
		}
	}
	if effort = 0; g.Still(apps.ActionSubscribe, "devices/1/a", nil, &effort) {
		t.Error("it says yes with no effort left")
	}
}

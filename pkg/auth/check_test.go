package auth

import (
	"strings"
	"testing"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
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

// Who may watch peers: name → reserved, unless key and token both name it → subscribe → presence → authorization.
func TestCheckConnectivity(t *testing.T) {
	key := func(texts ...string) *apps.Key {
		k := *keyNamed(t, "sk_a")
		k.Patterns = patterns(t, texts...)
		return &k
	}
	const cam, all = "_system/connectivity/cam-1", "_system/connectivity/**"
	both := apps.ActionsOf(apps.ActionSubscribe, apps.ActionPresence)
	for name, tt := range map[string]struct {
		key     *apps.Key
		claimed []*channel.Pattern
		actions apps.Actions
		action  apps.Action
		channel string
		code    protocol.Code
	}{
		"named by both":            {key(all), patterns(t, "_system/connectivity/cam-*"), both, apps.ActionSubscribe, cam, ""},
		"claiming nothing":         {key(all), nil, both, apps.ActionSubscribe, cam, ""},
		"a wide key":               {key("**"), nil, apps.AllActions, apps.ActionSubscribe, cam, protocol.ChannelReserved},
		"a wider key":              {key("_system/**"), nil, apps.AllActions, apps.ActionSubscribe, cam, protocol.ChannelReserved},
		"a wide token":             {key(all, "**"), patterns(t, "**"), apps.AllActions, apps.ActionSubscribe, cam, protocol.ChannelReserved},
		"a bad name":               {key("**"), nil, 0, apps.ActionSubscribe, "_system/connectivity/..", protocol.InvalidChannel},
		"another reserved name":    {key(all), nil, both, apps.ActionSubscribe, "_system/x", protocol.ChannelReserved},
		"to publish":               {key(all), nil, apps.AllActions, apps.ActionPublish, cam, protocol.ChannelReserved},
		"to see who is there":      {key(all), nil, apps.AllActions, apps.ActionPresence, cam, protocol.ChannelReserved},
		"without subscribe":        {key(all), nil, apps.ActionsOf(apps.ActionPresence), apps.ActionSubscribe, cam, protocol.ActionNotPermitted},
		"without presence":         {key(all), nil, apps.ActionsOf(apps.ActionSubscribe), apps.ActionSubscribe, cam, protocol.ActionNotPermitted},
		"another peer":             {key("_system/connectivity/dog-*"), nil, both, apps.ActionSubscribe, cam, protocol.ChannelNotAuthorized},
		"another peer's token":     {key(all), patterns(t, "_system/connectivity/dog-*"), both, apps.ActionSubscribe, cam, protocol.ChannelNotAuthorized},
		"not covered by the claim": {key(all), patterns(t, "_system/connectivity/*"), both, apps.ActionSubscribe, "_system/connectivity/a/b", protocol.ChannelNotAuthorized},
	} {
		g := &Grant{App: tt.key.App, Key: tt.key, Patterns: tt.claimed, Actions: tt.actions}
		refused := g.Check(tt.action, tt.channel)
		if (refused == nil) != (tt.code == "") || refused != nil && refused.Code != tt.code {
			t.Errorf("%s: %v, want %q", name, refused, tt.code)
		}
		effort := channel.MaxEffort
		if still := g.Still(tt.action, tt.channel, nil, &effort); tt.action == apps.ActionSubscribe && still != (tt.code == "") {
			t.Errorf("%s: still %v", name, still)
		}
	}
	g := &Grant{Key: key(all), Patterns: patterns(t, "_system/connectivity/cam-*"), Actions: both}
	for text, code := range map[string]protocol.Code{
		"_system/connectivity/cam-*": "", "_system/connectivity/cam-1*": "", "_system/connectivity/*": protocol.ChannelNotAuthorized,
		"_system/*/cam-1": protocol.ChannelReserved, "_s*/connectivity/cam-1": protocol.ChannelNotAuthorized,
	} {
		if _, refused := g.CheckPattern(apps.ActionSubscribe, text); (refused == nil) != (code == "") || refused != nil && refused.Code != code {
			t.Errorf("%s: %v, want %q", text, refused, code)
		}
	}
}

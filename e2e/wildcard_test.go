package e2e

import (
	"strconv"
	"testing"
)

// Which channels a wildcard subscription gets (protocol §2): the table of the
// protocol, and names that Redis's own globs would take for something else.
func TestWildcardsMatch(t *testing.T) {
	key := newKey("matches", "**")
	names := []string{
		"devices/cam-1/events", "devices/cam-1/a/b", "devices/", "devices/cam-1", "devices//events", "devices", "Devices/cam-1/events",
		`a\*b`, "axb", "[ab]", "a", "?", "devices/cam-?/events", `devices/\/events`, "水/火/events", "devices/水/events", "devices/a b/events", "devices/^/events",
	}
	table := map[string][]string{
		"devices/*/events":  {"devices/cam-1/events", "devices//events", "devices/cam-?/events", `devices/\/events`, "devices/水/events", "devices/a b/events", "devices/^/events"},
		"devices/*":         {"devices/", "devices/cam-1"},
		"devices/**":        {"devices/cam-1/events", "devices/cam-1/a/b", "devices/", "devices/cam-1", "devices//events", "devices/cam-?/events", `devices/\/events`, "devices/水/events", "devices/a b/events", "devices/^/events"},
		"**":                names,
		"*":                 {"devices", `a\*b`, "axb", "[ab]", "a", "?"},
		"[ab]*":             {"[ab]"},
		"?*":                {"?"},
		"devices/cam-?/*":   {"devices/cam-?/events"},
		`a\**`:              {},
		`a\\\**`:            {`a\*b`},
		"**/events":         {"devices/cam-1/events", "devices//events", "Devices/cam-1/events", "devices/cam-?/events", `devices/\/events`, "水/火/events", "devices/水/events", "devices/a b/events", "devices/^/events"},
		"水/*/events":        {"水/火/events"},
		"devices/^*":        {},
		"devices/[^x]*/**":  {},
		"*/*/*":             {"devices/cam-1/events", "devices//events", "Devices/cam-1/events", "devices/cam-?/events", `devices/\/events`, "水/火/events", "devices/水/events", "devices/a b/events", "devices/^/events"},
		"***":               names,
		"devices/cam-1/a/*": {"devices/cam-1/a/b"},
	}
	onEachRedis(t, []*appDoc{newApp("app_matches", key)}, func(t *testing.T, s *system) {
		ears := map[string]*socket{}
		for pattern := range table {
			ears[pattern] = s.last().connect(t, key.token("ear", nil)).subscribe(pattern, "the end")
		}
		source := s.first().connect(t, key.token("source", nil))
		for i, name := range names {
			source.publish(name, strconv.Itoa(i))
		}
		source.publish("the end", "null")
		for pattern, matches := range table {
			t.Run(pattern, func(t *testing.T) {
				ears[pattern].t = t
				want := []string{message("the end", "source", "null")}
				for i, name := range names {
					for _, m := range matches {
						if m == name {
							want = append(want, message(name, "source", strconv.Itoa(i)))
						}
					}
				}
				ears[pattern].expectAll(want...)
			})
		}
	})
}

// A wildcard subscription needs a claimed pattern and a key pattern that each
// cover it whole (protocol §4.2); a name needs one of each that match it.
func TestWildcardsNeedClaimAndKey(t *testing.T) {
	for _, c := range []struct {
		name          string
		key, claimed  []string // claimed nil: the claim is absent
		granted, held []string // what subscribe takes, and what it refuses
	}{
		{"no claim: the key's own", []string{"devices/*/events"}, nil,
			[]string{"devices/*/events", "devices/1/events", "devices/cam-*/events"},
			[]string{"devices/**", "devices/*", "devices/*/*", "**", "devices/1/commands"}},
		{"claim narrower than the key", []string{"devices/**"}, []string{"devices/*/events"},
			[]string{"devices/*/events", "devices/1/events", "devices/1*/events"},
			[]string{"devices/**", "devices/1/*", "devices/1/commands"}},
		{"claims side by side are not their union", []string{"devices/**"}, []string{"devices/a/*", "devices/b/*"},
			[]string{"devices/a/*", "devices/b/*"},
			[]string{"devices/*/*", "devices/*/x"}},
		{"key patterns side by side are not their union", []string{"a/**", "b/**"}, nil,
			[]string{"a/**", "b/*"},
			[]string{"*/**", "*/x"}},
		{"a claimed name is no pattern", []string{"**"}, []string{"devices/1"},
			[]string{"devices/1"},
			[]string{"devices/*", "devices/1*", "devices/1/*", "devices/2"}},
		{"** covers every wildcard", []string{"**"}, []string{"**"},
			[]string{"**", "*", "a/**/b", "*/*/*", "devices/*/events"},
			nil},
		{"* stays within a level", []string{"**"}, []string{"fleets/*"},
			[]string{"fleets/*", "fleets/a*b", "fleets/"},
			[]string{"fleets/**", "fleets/*/x", "fleets/a/b"}},
		{"an escaped star is itself", []string{"**"}, []string{`a\*/*`},
			[]string{`a\*/*`},
			[]string{"a*/*", "ab/*"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := newKey("covers", c.key...)
			s := startEmbedded(t, newApp("app_covers", key))
			cl := claims{}
			if c.claimed != nil {
				cl["channels"] = c.claimed
			}
			device := s.first().connect(t, key.token("camera", cl))
			for _, channel := range c.granted {
				device.subscribe(channel)
			}
			for _, channel := range c.held {
				device.expectError(device.request(`"type":"subscribe","channel":`+quoted(channel)), "channel_not_authorized", "cover")
			}
			device.alive()
		})
	}
}

// A token from POST /v1/tokens opens a connection with exactly what was asked
// for, and the ingester of the product's story can watch a whole fleet.
func TestMintedToken(t *testing.T) {
	key := newKey("mint", "devices/**", "fleets/**")
	onEachRedis(t, []*appDoc{newApp("app_mint", key)}, func(t *testing.T, s *system) {
		token := s.first().mint(t, key, `{"peerId":"ingester","channels":["devices/*/events"],"permissions":["subscribe"],"expiresInSec":60,"metadata":{"a":1.0},"peerMetadata":{"b":2}}`)
		ingester := s.last().connect(t, token)
		if ingester.welcome.PeerID != "ingester" || string(ingester.welcome.Metadata) != `{"a":1.0}` {
			t.Errorf("the welcome is %+v", ingester.welcome)
		}
		if life := *ingester.welcome.ExpiresAt - ingester.welcome.ServerTime; life < 50 || life > 60 {
			t.Errorf("the token lives %d s, want 60", life)
		}
		ingester.subscribe("devices/*/events")
		ingester.expectError(ingester.request(`"type":"subscribe","channel":"devices/*/commands"`), "channel_not_authorized")
		ingester.expectError(ingester.request(`"type":"publish","channel":"devices/1/events","data":1`), "action_not_permitted")

		camera := s.first().connect(t, s.last().mint(t, key, `{"peerId":"camera-001","channels":["devices/camera-001/*"]}`))
		camera.subscribe("devices/camera-001/commands")
		camera.publish("devices/camera-001/events", `{"motion":true}`)
		ingester.expectMessage("devices/camera-001/events", "camera-001", `{"motion":true}`)
		if n := s.last().publish(t, key, "devices/camera-001/commands", `{"cmd":"reboot"}`); n != 1 {
			t.Errorf("%d subscribers, want 1", n)
		}
		camera.expectMessage("devices/camera-001/commands", "server", `{"cmd":"reboot"}`)
		ingester.alive()
	})
}

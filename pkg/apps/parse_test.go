package apps

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
)

const (
	longSecret = "0123456789abcdef0123456789abcdef0123456789abcdef"
	oneKey     = `{"id":"sk_live_1","secret":"` + longSecret + `","channelPatterns":["a/**"],"actions":["publish"]}`
)

// document is a document of one app with the given members besides its id and
// its one key.
func document(members string) string {
	return `{"apps":[{"id":"a",` + members + `"keys":[` + oneKey + `]}]}`
}

// history is a document of one app with one rule of history.
func history(members string) string { return document(`"history":[{` + members + `}],`) }

// group is a document of one app with one group.
func group(members string) string {
	return document(`"groups":[{"name":"ingest","patterns":["a"],` + members + `}],`)
}

// keyDocument is a document of one app with the given keys.
func keyDocument(keys ...string) string {
	return `{"apps":[{"id":"a","keys":[` + strings.Join(keys, ",") + `]}]}`
}

func TestParseReadsTheDocumentOfTheProtocol(t *testing.T) {
	dir, err := Parse([]byte(`
	{"apps":[{"id":"app_demo","suspended":true,
	  "plan":{"name":"dev","maxConcurrentConnections":10,"maxMessagesPerPeriod":5000000,"overagesAllowed":true,"overagesEnabled":false},
	  "limits":{"connectionMessagesPerSec":1,"connectionMessagesBurst":2,"connectsPerAddressPerMin":3,"restPerSec":4,"restBurst":1000000000},
	  "keys":[{"id":"sk_live_1","secret":"` + longSecret + `","channelPatterns":["devices/**","fleets/**"],"actions":["publish","subscribe","presence","send"]},
	          {"id":"pk_live_2","channelPatterns":["public/**"],"actions":["subscribe"]}]},
	  {"id":"app-2","keys":[]}]}
	`))
	if err != nil {
		t.Fatal(err)
	}
	app, ok := dir.App("app_demo")
	if !ok || !app.Suspended || len(app.Keys) != 2 {
		t.Fatalf("App(app_demo) = %+v, %v", app, ok)
	}
	if want := (Plan{"dev", 10, 5_000_000, true, false}); app.Plan != want {
		t.Errorf("plan = %+v; want %+v", app.Plan, want)
	}
	if want := (Limits{1, 2, 3, 4, 1_000_000_000, 0}); app.Limits != want {
		t.Errorf("limits = %+v; want %+v", app.Limits, want)
	}
	secret, ok := dir.Key("sk_live_1")
	if !ok || secret != app.Keys[0] || secret.App != app || secret.Secret != longSecret || secret.Publishable() || secret.Actions != AllActions {
		t.Errorf("Key(sk_live_1) = %#v, %v", secret, ok)
	}
	if len(secret.Patterns) != 2 || secret.Patterns[0].String() != "devices/**" || secret.Patterns[1].String() != "fleets/**" {
		t.Errorf("patterns = %v", secret.Patterns)
	}
	publishable, ok := dir.Key("pk_live_2")
	if !ok || !publishable.Publishable() || publishable.Secret != "" || publishable.Actions != ActionsOf(ActionSubscribe) {
		t.Errorf("Key(pk_live_2) = %#v, %v", publishable, ok)
	}
	if apps := dir.Apps(); len(apps) != 2 || apps[0] != app || apps[1].ID != "app-2" {
		t.Errorf("Apps() = %v; want the document's order", apps)
	}
	if _, ok := dir.Key(""); ok {
		t.Error(`Key("") is known`)
	}
	if _, ok := dir.App("other"); ok {
		t.Error("App(other) is known")
	}
	if w := dir.Warnings(); len(w) != 0 {
		t.Errorf("Warnings() = %q; want none", w)
	}
}

func TestParseDefaults(t *testing.T) {
	tests := []struct {
		name, members string
		plan          Plan
		limits        Limits
	}{
		{"nothing given", ``, Plan{"default", 1000, 5_000_000, false, false}, Limits{100, 200, 60, 100, 200, 0}},
		{"a bare plan", `"plan":{"maxConcurrentConnections":0,"maxMessagesPerPeriod":0},`,
			Plan{"default", 0, 0, false, false}, Limits{100, 200, 60, 100, 200, 0}},
		{"the largest plan", `"plan":{"maxConcurrentConnections":9007199254740991,"maxMessagesPerPeriod":9007199254740991},`,
			Plan{"default", 1<<53 - 1, 1<<53 - 1, false, false}, Limits{100, 200, 60, 100, 200, 0}},
		{"one limit", `"limits":{"restBurst":7},`, Plan{"default", 1000, 5_000_000, false, false}, Limits{100, 200, 60, 100, 7, 0}},
		{"no limit", `"limits":{},`, Plan{"default", 1000, 5_000_000, false, false}, Limits{100, 200, 60, 100, 200, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, err := Parse([]byte(document(tt.members)))
			if err != nil {
				t.Fatal(err)
			}
			app := dir.Apps()[0]
			if app.Plan != tt.plan || app.Limits != tt.limits || app.Suspended {
				t.Errorf("plan %+v, limits %+v, suspended %v", app.Plan, app.Limits, app.Suspended)
			}
		})
	}
}

func TestPlanOverages(t *testing.T) {
	for _, tt := range []struct{ allowed, enabled, want bool }{
		{false, false, false}, {true, false, false}, {false, true, false}, {true, true, true},
	} {
		if got := (Plan{OveragesAllowed: tt.allowed, OveragesEnabled: tt.enabled}).Overages(); got != tt.want {
			t.Errorf("allowed %v, enabled %v: Overages() = %v", tt.allowed, tt.enabled, got)
		}
	}
}

func TestParseCommandBytes(t *testing.T) {
	for members, want := range map[string]int64{"": 64 << 20, `"commandBytes":1048576,`: 1 << 20, `"commandBytes":9007199254740991,`: 1<<53 - 1} {
		dir, err := Parse([]byte(document(members)))
		if err != nil || dir.Apps()[0].CommandBytes != want {
			t.Errorf("%s: %v, want %d", members, err, want)
		}
	}
}

func TestParsePeerSettings(t *testing.T) {
	for members, want := range map[string]PeerSettings{
		"": {30 * 24 * time.Hour, 1_000_000, 5 * time.Second},
		`"rememberPeersSec":0,"maxRememberedPeers":1,"graceMs":0,`:                         {0, 1, 0},
		`"rememberPeersSec":1000000000,"maxRememberedPeers":1000000000,"graceMs":3600000,`: {1_000_000_000 * time.Second, 1_000_000_000, time.Hour},
	} {
		d, err := Parse([]byte(document(members)))
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Apps()[0].Peers; got != want {
			t.Errorf("%s: %+v, want %+v", members, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	key := func(id, rest string) string { return keyDocument(`{"id":"` + id + `",` + rest + `}`) }
	const scope = `"channelPatterns":[],"actions":[]`
	const withSecret = `"secret":"` + longSecret + `",`
	tests := []struct{ name, doc, want string }{
		// The text as such.
		{"nothing", "", `the document: is empty; it must be an object {"apps":[…]}`},
		{"white space", " \n", `the document: is empty; it must be an object {"apps":[…]}`},
		{"byte order mark", "\xef\xbb\xbf" + document(""), "the document: begins with a byte order mark; save it as plain UTF-8"},
		{"trailing data", document("") + " {}", fmt.Sprintf("the document: is not valid JSON at line 1, byte %d", len(document(""))+2)},
		{"trailing comma", "{\n\"apps\":[],\n}", "the document: is not valid JSON at line 3, byte 1"},
		{"cut off", `{"apps":[{"id":"a"`, "the document: ends too early: a bracket or a quotation mark is not closed"},
		{"invalid UTF-8", "{\n\"apps\":\"\xff\"}", "the document: is not valid UTF-8 at line 2, byte 9"},
		{"an array", `[]`, `the document: must be an object {"apps":[…]}, got an array`},
		{"null", `null`, `the document: must be an object {"apps":[…]}, got null`},

		// Apps.
		{"no apps field", `{}`, "apps: missing; an array of at least one app"},
		{"apps null", `{"apps":null}`, "apps: must be an array, got null"},
		{"no app", `{"apps":[]}`, "apps: must have at least one app"},
		{"an app of the wrong type", `{"apps":["sk_live_1_secret_x"]}`, "apps[0]: must be an object, got a string"},
		{"unknown root field", `{"apps":[{"id":"a","keys":[]}],"version":1}`, "version: unknown field; known here: apps"},
		{"field in another case", document(`"Suspended":true,`), "apps[0].Suspended: unknown field; known here: id, suspended, plan, limits, commandBytes, rememberPeersSec, maxRememberedPeers, graceMs, history, historyBytes, groups, keys"},
		{"long field in another case", keyDocument(`{"ChannelPatterns":[],"id":"pk_1",` + scope + `}`), "apps[0].keys[0].ChannelPatterns: unknown field; known here: id, secret, channelPatterns, actions, role, allowedOrigins"},
		{"field with a strange name", document(`"a b":true,`), `apps[0]."a b": unknown field; known here: id, suspended, plan, limits, commandBytes, rememberPeersSec, maxRememberedPeers, graceMs, history, historyBytes, groups, keys`},
		{"field given twice", document(`"suspended":true,"suspended":false,`), "apps[0].suspended: given more than once"},
		{"field given twice, spelled with an escape", document(`"suspended":true,"susp\u0065nded":false,`), "apps[0].suspended: given more than once"},
		{"no id", `{"apps":[{"keys":[]}]}`, "apps[0].id: missing; an app needs an id"},
		{"no keys", `{"apps":[{"id":"a"}]}`, "apps[0].keys: missing; an array of keys, which may be empty"},
		{"keys of the wrong type", `{"apps":[{"id":"a","keys":{}}]}`, "apps[0].keys: must be an array, got an object"},
		{"empty app id", `{"apps":[{"id":"","keys":[]}]}`, "apps[0].id: must be 1–64 characters of A–Z, a–z, 0–9, _ and -"},
		{"app id of 65", `{"apps":[{"id":"` + strings.Repeat("a", 65) + `","keys":[]}]}`, "apps[0].id: must be 1–64 characters of A–Z, a–z, 0–9, _ and -"},
		{"app id that would leave its Redis key", `{"apps":[{"id":"a}:b","keys":[]}]}`, "apps[0].id: must be 1–64 characters of A–Z, a–z, 0–9, _ and -"},
		{"half a character in an app id", `{"apps":[{"id":"a\ud800","keys":[]}]}`, "apps[0].id: " + protocol.ErrHalfCharacter.Error()},
		{"half a character in a plan's name", document(`"plan":{"name":"\udc00","maxConcurrentConnections":1,"maxMessagesPerPeriod":1},`), "apps[0].plan.name: " + protocol.ErrHalfCharacter.Error()},
		{"half a character in a secret", key("sk_1", `"secret":"0123456789abcdef0123456789abcdef\ud800",`+scope), "apps[0].keys[0].secret: " + protocol.ErrHalfCharacter.Error()},
		{"half a character in a pattern", key("pk_1", `"channelPatterns":["a\ud83d"],"actions":[]`), "apps[0].keys[0].channelPatterns[0]: " + protocol.ErrHalfCharacter.Error()},
		{"17 wildcards in a pattern", key("pk_1", `"channelPatterns":["`+strings.Repeat("*/", 17)+`"],"actions":[]`), "apps[0].keys[0].channelPatterns[0]: pattern has 17 wildcards; at most 16 are allowed"},
		{"app id not a string", `{"apps":[{"id":7,"keys":[]}]}`, "apps[0].id: must be a string, got a number"},
		{"app id twice", `{"apps":[{"id":"a","keys":[]},{"id":"a","keys":[]}]}`, "apps[1].id: already used by apps[0]; app ids are unique"},
		{"suspended as text", document(`"suspended":"yes",`), `apps[0].suspended: must be true or false, got "yes"`},
		{"suspended null", document(`"suspended":null,`), "apps[0].suspended: must be true or false, got null"},

		// Plan and limits.
		{"plan null", document(`"plan":null,`), "apps[0].plan: must be an object, got null"},
		{"plan without a cap", document(`"plan":{"maxConcurrentConnections":1},`), "apps[0].plan.maxMessagesPerPeriod: missing; a plan needs it, a whole number ≥ 0"},
		{"cap as text", document(`"plan":{"maxConcurrentConnections":1,"maxMessagesPerPeriod":"x"},`), `apps[0].plan.maxMessagesPerPeriod: must be a whole number ≥ 0, got "x"`},
		{"cap below 0", document(`"plan":{"maxConcurrentConnections":-1,"maxMessagesPerPeriod":1},`), "apps[0].plan.maxConcurrentConnections: must be a whole number ≥ 0, got -1"},
		{"cap with a fraction", document(`"plan":{"maxConcurrentConnections":1.5,"maxMessagesPerPeriod":1},`), "apps[0].plan.maxConcurrentConnections: must be a whole number ≥ 0, got 1.5"},
		{"cap with an exponent", document(`"plan":{"maxConcurrentConnections":1e9,"maxMessagesPerPeriod":1},`), "apps[0].plan.maxConcurrentConnections: must be a whole number ≥ 0, got 1e9"},
		{"cap over 2^53", document(`"plan":{"maxConcurrentConnections":9007199254740992,"maxMessagesPerPeriod":1},`), "apps[0].plan.maxConcurrentConnections: must be at most 9007199254740991, got a number of 16 bytes"},
		{"cap over int64", document(`"plan":{"maxConcurrentConnections":99999999999999999999,"maxMessagesPerPeriod":1},`), "apps[0].plan.maxConcurrentConnections: must be at most 9007199254740991, got a number of 20 bytes"},
		{"cap under int64", document(`"plan":{"maxConcurrentConnections":-99999999999999999999,"maxMessagesPerPeriod":1},`), "apps[0].plan.maxConcurrentConnections: must be a whole number ≥ 0, got a number of 21 bytes"},
		{"cap null", document(`"plan":{"maxConcurrentConnections":null,"maxMessagesPerPeriod":1},`), "apps[0].plan.maxConcurrentConnections: must be a whole number ≥ 0, got null"},
		{"plan name of the wrong type", document(`"plan":{"name":1,"maxConcurrentConnections":1,"maxMessagesPerPeriod":1},`), "apps[0].plan.name: must be a string, got a number"},
		{"overages as a number", document(`"plan":{"overagesAllowed":1,"maxConcurrentConnections":1,"maxMessagesPerPeriod":1},`), "apps[0].plan.overagesAllowed: must be true or false, got 1"},
		{"unknown plan field", document(`"plan":{"maxConnections":5,"maxConcurrentConnections":1,"maxMessagesPerPeriod":1},`), "apps[0].plan.\"maxCon…\" (14 bytes): unknown field; known here: name, maxConcurrentConnections, maxMessagesPerPeriod, overagesAllowed, overagesEnabled"},
		{"limit 0", document(`"limits":{"restPerSec":0},`), "apps[0].limits.restPerSec: must be a whole number ≥ 1, got 0"},
		{"limit too large", document(`"limits":{"restPerSec":1000000001},`), "apps[0].limits.restPerSec: must be at most 1000000000, got 1000000001"},
		{"limit as an object", document(`"limits":{"restPerSec":{"n":1}},`), "apps[0].limits.restPerSec: must be a whole number ≥ 1, got an object"},
		{"limits as an array", document(`"limits":[],`), "apps[0].limits: must be an object, got an array"},

		{"negative memory of peers", document(`"rememberPeersSec":-1,`), "apps[0].rememberPeersSec: must be a whole number ≥ 0, got -1"},
		{"memory of peers as text", document(`"rememberPeersSec":"30d",`), `apps[0].rememberPeersSec: must be a whole number ≥ 0, got "30d"`},
		{"no peers to remember", document(`"maxRememberedPeers":0,`), "apps[0].maxRememberedPeers: must be a whole number ≥ 1, got 0"},
		{"a part of a peer", document(`"maxRememberedPeers":1.5,`), "apps[0].maxRememberedPeers: must be a whole number ≥ 1, got 1.5"},
		{"a long grace", document(`"graceMs":3600001,`), "apps[0].graceMs: must be at most 3600000, got 3600001"},
		{"no grace at all", document(`"graceMs":null,`), "apps[0].graceMs: must be a whole number ≥ 0, got null"},
		{"too few bytes of commands", document(`"commandBytes":1048575,`), "apps[0].commandBytes: must be a whole number ≥ 1048576, got 1048575"},
		{"bytes of commands as text", document(`"commandBytes":"64MiB",`), `apps[0].commandBytes: must be a whole number ≥ 1048576, got "64MiB"`},

		// History.
		{"history as an object", document(`"history":{},`), "apps[0].history: must be an array, got an object"},
		{"a pattern where a rule belongs", document(`"history":["devices/*"],`), "apps[0].history[0]: must be an object, got a string"},
		{"a rule without anything", document(`"history":[{}],`), "apps[0].history[0].pattern: missing; the channels that remember, such as devices/*/state; apps[0].history[0].size: missing; how many messages a channel remembers, 1 to 1000; apps[0].history[0].ttlSec: missing; for how many seconds each message is remembered, 1 to 2592000"},
		{"a pattern that is none", history(`"pattern":"a/../b","size":1,"ttlSec":1`), `apps[0].history[0].pattern: pattern has a level ".."; levels must not be "." or ".."`},
		{"a reserved pattern", history(`"pattern":"_system/**","size":1,"ttlSec":1`), "apps[0].history[0].pattern: begins with a reserved prefix; channels under _metered/, _internal/ and _system/ remember nothing"},
		{"a history of none", history(`"pattern":"a","size":0,"ttlSec":1`), "apps[0].history[0].size: must be a whole number ≥ 1, got 0"},
		{"a long history", history(`"pattern":"a","size":1001,"ttlSec":1`), "apps[0].history[0].size: must be at most 1000, got 1001"},
		{"no time", history(`"pattern":"a","size":1,"ttlSec":0`), "apps[0].history[0].ttlSec: must be a whole number ≥ 1, got 0"},
		{"a month and a second", history(`"pattern":"a","size":1,"ttlSec":2592001`), "apps[0].history[0].ttlSec: must be at most 2592000, got 2592001"},
		{"unknown field of a rule", history(`"pattern":"a","size":1,"ttl":1`), "apps[0].history[0].ttl: unknown field; known here: pattern, size, ttlSec; apps[0].history[0].ttlSec: missing; for how many seconds each message is remembered, 1 to 2592000"},
		{"101 rules", document(`"history":[1` + strings.Repeat(`,1`, 100) + `],`), "apps[0].history: has 101 entries; at most 100 are allowed"},
		{"groups as an object", document(`"groups":{},`), "apps[0].groups: must be an array, got an object"},
		{"a name where a group belongs", document(`"groups":["ingest"],`), "apps[0].groups[0]: must be an object, got a string"},
		{"a group without anything", document(`"groups":[{}],`), `apps[0].groups[0].name: missing; a group needs a name, such as ingest; apps[0].groups[0].patterns: missing; an array of the channels whose messages wait for the group, such as ["devices/*/events"]`},
		{"unknown field of a group", group(`"sinks":{}`), "apps[0].groups[0].sinks: unknown field; known here: name, patterns, ackTimeoutSec, maxDeliver, maxBytes, maxAgeSec, overflow, sink"},
		{"a field of a group twice", group(`"maxDeliver":1,"maxDeliver":2`), "apps[0].groups[0].maxDeliver: given more than once"},
		{"a number as a group's name", document(`"groups":[{"name":1,"patterns":["a"]}],`), "apps[0].groups[0].name: must be a string, got a number"},
		{"a group without a name", document(`"groups":[{"name":"","patterns":["a"]}],`), "apps[0].groups[0].name: must be 1–64 characters of A–Z, a–z, 0–9, _ and -"},
		{"a group's name with a slash", document(`"groups":[{"name":"a/b","patterns":["a"]}],`), "apps[0].groups[0].name: must be 1–64 characters of A–Z, a–z, 0–9, _ and -"},
		{"a long name of a group", document(`"groups":[{"name":"` + strings.Repeat("n", 65) + `","patterns":["a"]}],`), "apps[0].groups[0].name: must be 1–64 characters of A–Z, a–z, 0–9, _ and -"},
		{"two groups of one name", document(`"groups":[{"name":"a","patterns":["a"]},{"name":"a","patterns":["b"]}],`), "apps[0].groups[1].name: is the name of another group of the app; names of groups are unique"},
		{"patterns of a group as a string", document(`"groups":[{"name":"a","patterns":"a"}],`), "apps[0].groups[0].patterns: must be an array, got a string"},
		{"a group of nothing", document(`"groups":[{"name":"a","patterns":[]}],`), "apps[0].groups[0].patterns: must have at least one pattern, such as devices/*/events"},
		{"a group's pattern that is a number", document(`"groups":[{"name":"a","patterns":["a",1]}],`), "apps[0].groups[0].patterns[1]: must be a string, got a number"},
		{"a group's pattern that is none", document(`"groups":[{"name":"a","patterns":["a/../b"]}],`), `apps[0].groups[0].patterns[0]: pattern has a level ".."; levels must not be "." or ".."`},
		{"a group of reserved channels", document(`"groups":[{"name":"a","patterns":["_system/**"]}],`), "apps[0].groups[0].patterns[0]: begins with a reserved prefix; messages under _metered/, _internal/ and _system/ wait for no group"},
		{"101 patterns of a group", document(`"groups":[{"name":"a","patterns":["a"` + strings.Repeat(`,"a"`, 100) + `]}],`), "apps[0].groups[0].patterns: has 101 patterns; at most 100 are allowed"},
		{"17 groups", document(`"groups":[1` + strings.Repeat(`,1`, 16) + `],`), "apps[0].groups: has 17 groups; at most 16 are allowed"},
		{"no time for an ack", group(`"ackTimeoutSec":0`), "apps[0].groups[0].ackTimeoutSec: must be a whole number ≥ 1, got 0"},
		{"a day for an ack", group(`"ackTimeoutSec":43201`), "apps[0].groups[0].ackTimeoutSec: must be at most 43200, got 43201"},
		{"no delivery", group(`"maxDeliver":0`), "apps[0].groups[0].maxDeliver: must be a whole number ≥ 1, got 0"},
		{"101 deliveries", group(`"maxDeliver":101`), "apps[0].groups[0].maxDeliver: must be at most 100, got 101"},
		{"a small group", group(`"maxBytes":1048575`), "apps[0].groups[0].maxBytes: must be a whole number ≥ 1048576, got 1048575"},
		{"a large group", group(`"maxBytes":1099511627777`), "apps[0].groups[0].maxBytes: must be at most 1099511627776, got a number of 13 bytes"},
		{"a young group", group(`"maxAgeSec":59`), "apps[0].groups[0].maxAgeSec: must be a whole number ≥ 60, got 59"},
		{"an old group", group(`"maxAgeSec":2592001`), "apps[0].groups[0].maxAgeSec: must be at most 2592000, got 2592001"},
		{"half a day", group(`"ackTimeoutSec":1.5`), "apps[0].groups[0].ackTimeoutSec: must be a whole number ≥ 1, got 1.5"},
		{"another overflow", group(`"overflow":"drop"`), `apps[0].groups[0].overflow: must be "refuse" or "drop_oldest"`},
		{"overflow as a truth", group(`"overflow":true`), "apps[0].groups[0].overflow: must be a string, got a boolean"},
		{"too few bytes of history", document(`"historyBytes":1048575,`), "apps[0].historyBytes: must be a whole number ≥ 1048576, got 1048575"},

		// Keys.
		{"a credential where a key belongs", keyDocument(`"sk_live_1_secret_` + longSecret + `"`), "apps[0].keys[0]: must be an object, got a string"},
		{"key without an id", keyDocument(`{` + withSecret + scope + `}`), "apps[0].keys[0].id: missing; a key needs an id"},
		{"empty key id", key("", withSecret+scope), "apps[0].keys[0].id: must be 1–128 characters of printable ASCII without space and ':'"},
		{"key id of 129", key(strings.Repeat("k", 129), withSecret+scope), "apps[0].keys[0].id: must be 1–128 characters of printable ASCII without space and ':'"},
		{"key id with a space", key("sk live", withSecret+scope), "apps[0].keys[0].id: must be 1–128 characters of printable ASCII without space and ':'"},
		{"key id with a colon", key("sk_live:"+longSecret, withSecret+scope), "apps[0].keys[0].id: must be 1–128 characters of printable ASCII without space and ':'"},
		{"key id not ASCII", key("sk_é", withSecret+scope), "apps[0].keys[0].id: must be 1–128 characters of printable ASCII without space and ':'"},
		{"key id with the separator", key("sk_1_secret_"+longSecret, withSecret+scope), `apps[0].keys[0].id: a secret key's id must neither contain "_secret_" nor end with "_secret"; put the id alone here, and what follows "_secret_" into secret`},
		{"key id ending so that the credential divides early", key("sk_1_secret", withSecret+scope), `apps[0].keys[0].id: a secret key's id must neither contain "_secret_" nor end with "_secret"; put the id alone here, and what follows "_secret_" into secret`},
		{"key id twice in one app", keyDocument(oneKey, oneKey), "apps[0].keys[1].id: already used by apps[0].keys[0]; key ids are unique across all apps"},
		{"key id twice across apps", `{"apps":[{"id":"a","keys":[` + oneKey + `]},{"id":"b","keys":[` + oneKey + `]}]}`, "apps[1].keys[0].id: already used by apps[0].keys[0]; key ids are unique across all apps"},
		{"secret key without a secret", key("sk_1", scope), `apps[0].keys[0].secret: missing; a secret key needs a secret of at least 32 bytes, and a publishable key an id that begins with "pk_"`},
		{"secret key with an empty secret", key("sk_1", `"secret":"",`+scope), "apps[0].keys[0].secret: is empty; a secret key needs a secret of at least 32 bytes"},
		{"secret of the wrong type", key("sk_1", `"secret":12345678,`+scope), "apps[0].keys[0].secret: must be a string, got a number"},
		{"publishable key with a secret", key("pk_1", withSecret+scope), `apps[0].keys[0].secret: a key whose id begins with "pk_" is publishable and must not have a secret`},
		{"publishable key with an empty secret", key("pk_1", `"secret":"",`+scope), `apps[0].keys[0].secret: a key whose id begins with "pk_" is publishable and must not have a secret`},
		{"no patterns field", key("pk_1", `"actions":[]`), "apps[0].keys[0].channelPatterns: missing; an array of patterns, which may be empty"},
		{"patterns null", key("pk_1", `"channelPatterns":null,"actions":[]`), "apps[0].keys[0].channelPatterns: must be an array, got null"},
		{"a pattern of the wrong type", key("pk_1", `"channelPatterns":["a",1],"actions":[]`), "apps[0].keys[0].channelPatterns[1]: must be a string, got a number"},
		{"101 patterns", key("pk_1", `"channelPatterns":["a"`+strings.Repeat(`,"a"`, 100)+`],"actions":[]`), "apps[0].keys[0].channelPatterns: has 101 patterns; at most 100 are allowed"},
		{"no actions field", key("pk_1", `"channelPatterns":[]`), "apps[0].keys[0].actions: missing; an array of actions, which may be empty"},
		{"unknown action", key("pk_1", `"channelPatterns":[],"actions":["publish","admin"]`), `apps[0].keys[0].actions[1]: unknown action "admin"; known are publish, subscribe, presence, send`},
		{"actions as text", key("pk_1", `"channelPatterns":[],"actions":"publish"`), "apps[0].keys[0].actions: must be an array, got a string"},
		{"unknown role", key("sk_1", withSecret+`"role":"Viewer",`+scope), `apps[0].keys[0].role: unknown role "Viewer"; known are full, viewer`},
		{"role of the wrong type", key("sk_1", withSecret+`"role":true,`+scope), "apps[0].keys[0].role: must be a string, got a boolean"},
		{"role of a publishable key", key("pk_1", `"role":"viewer",`+scope), "apps[0].keys[0].role: a publishable key has no role; give a role to a secret key, or leave the field out"},
		{"unknown key field", key("pk_1", `"permissions":[],`+scope), "apps[0].keys[0].permissions: unknown field; known here: id, secret, channelPatterns, actions, role, allowedOrigins"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, err := Parse([]byte(tt.doc))
			if err == nil {
				t.Fatal("accepted")
			}
			if dir != nil {
				t.Error("a directory came with the error")
			}
			if got, want := err.Error(), "apps document: "+tt.want; got != want {
				t.Errorf("error is\n  %s\nwant\n  %s", got, want)
			}
			if strings.Contains(err.Error(), longSecret) {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

// What is wrong with a pattern is said by the channel package; here only the
// path before it matters.
func TestParseNamesAnInvalidPattern(t *testing.T) {
	for name, pattern := range map[string]string{
		"empty": "", "too long": strings.Repeat("a", 257), "dot level": "a/../b", "control character": `a\u0007`,
	} {
		_, err := Parse([]byte(keyDocument(`{"id":"pk_1","channelPatterns":["ok","` + pattern + `"],"actions":[]}`)))
		if err == nil || !strings.HasPrefix(err.Error(), "apps document: apps[0].keys[0].channelPatterns[1]: ") {
			t.Errorf("%s: error = %v", name, err)
		}
	}
}

func TestParseListsSeveralProblems(t *testing.T) {
	_, err := Parse([]byte(`{"apps":[{"id":"a b","suspended":1,"keys":[{"id":"sk_1","channelPatterns":[],"actions":["x"]}]}],"v":1}`))
	want := "apps document: " +
		"v: unknown field; known here: apps; " +
		"apps[0].id: must be 1–64 characters of A–Z, a–z, 0–9, _ and -; " +
		"apps[0].suspended: must be true or false, got 1; " +
		"apps[0].keys[0].secret: missing; a secret key needs a secret of at least 32 bytes, and a publishable key an id that begins with \"pk_\"; " +
		"apps[0].keys[0].actions[0]: unknown action \"x\"; known are publish, subscribe, presence, send"
	if err == nil || err.Error() != want {
		t.Errorf("error is\n%v\nwant\n%s", err, want)
	}
}

func TestParseListsAtMostTenProblems(t *testing.T) {
	_, err := Parse([]byte(`{"apps":[` + strings.TrimSuffix(strings.Repeat(`7,`, 13), ",") + `]}`))
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "; ")
	if len(lines) != 11 || lines[9] != "apps[9]: must be an object, got a number" || lines[10] != "… and 3 more" {
		t.Errorf("error is\n%v", err)
	}
}

func TestParseAcceptsTheEdges(t *testing.T) {
	for name, doc := range map[string]string{
		"app id of 64":             `{"apps":[{"id":"` + strings.Repeat("A", 64) + `","keys":[]}]}`,
		"key id of 128":            keyDocument(`{"id":"` + strings.Repeat("k", 128) + `","secret":"x","channelPatterns":[],"actions":[]}`),
		"100 patterns":             keyDocument(`{"id":"pk_1","channelPatterns":["a"` + strings.Repeat(`,"a"`, 99) + `],"actions":[]}`),
		"pk_ with the separator":   keyDocument(`{"id":"pk_secret_1","channelPatterns":[],"actions":[]}`),
		"action twice":             keyDocument(`{"id":"pk_1","channelPatterns":[],"actions":["send","send"]}`),
		"white space all around":   "\r\n\t " + document("") + " \n",
		"secret in a key like pk_": keyDocument(`{"id":"PK_1","secret":"x","channelPatterns":[],"actions":[]}`),
	} {
		if _, err := Parse([]byte(doc)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	dir, err := Parse([]byte(keyDocument(
		`{"id":"sk_1","secret":"`+longSecret[:31]+`","channelPatterns":[],"actions":[]}`,
		`{"id":"sk_2","secret":"`+longSecret[:32]+`","channelPatterns":[],"actions":[]}`,
		`{"id":"sk_3","secret":"`+longSecret+`\n","channelPatterns":[],"actions":[]}`,
	)))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"apps[0].keys[0].secret: shorter than the 32 bytes that RFC 7518 §3.2 asks of an HS256 key; make a longer one",
		"apps[0].keys[2].secret: has white space or characters outside ASCII; it can sign tokens, but an Authorization header may not carry it",
	}
	if got := dir.Warnings(); !slices.Equal(got, want) {
		t.Errorf("Warnings() = %q; want %q", got, want)
	}
}

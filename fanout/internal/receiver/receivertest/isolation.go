package receivertest

import (
	"strings"
	"testing"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/redisconn/redistest"
)

// hostileNames are channel names that look like something else on the way: like
// a Redis glob, like the inside of a Redis channel of ours, or like each other.
var hostileNames = []string{
	"a", "A", "b", "a/b", "a/", "/a", "a//b", "ab", "a b", " ", "a ",
	"[ab]", "[^a]", "[a-c]", "[", "]", "^", "a?", "?", "{a}", "}", "{", "{}", "a-b",
	`\*`, `a\*`, `\`, `\\`, `a\b`, `\[ab\]`, `\?`,
	"}:msg:a", "a}:msg:a", "x}:msg:[ab]", "}:a", "x}:a/b", "fw:0:msg:{app.021}:a", "fw:0:msg:{app.108}:", "}:msg:", "msg:a", ".021}:a",
	"éa", "漢字", "😀", `"a"`, `'a'`, "a\u00a0b", "%2F", "a,b", "$SYS", "a:b", "null",
	strings.Repeat("x", channel.MaxBytes), strings.Repeat("x", channel.MaxBytes-1),
	strings.Repeat("[", channel.MaxBytes), strings.Repeat("/", channel.MaxBytes),
}

// testNames subscribes one node to every second name, another to all of them by
// pattern, and publishes to all.
func testNames(t *testing.T, s *system) {
	byName, byPattern, from := s.node(), s.node(), s.publisher()
	byPattern.listen("app", "**")
	for i, name := range hostileNames {
		if err := channel.ValidateName(name); err != nil {
			t.Fatalf("%q is no channel: %v", name, err)
		}
		if i%2 == 0 {
			byName.subscribe("app", name, i+1)
		}
	}
	for i, name := range hostileNames {
		want := int64(0)
		if i%2 == 0 {
			want = int64(i + 1)
		}
		if got := count(t, from, "app", name); got != want {
			t.Errorf("%q has %d subscribers, want %d", name, got, want)
		}
	}
	got := byPattern.ordered(byPattern.settle(from), hostileNames)
	if len(got) != len(hostileNames) {
		t.Fatalf("%d messages by pattern, want %d", len(got), len(hostileNames))
	}
	for i, d := range got {
		if d.Channel != hostileNames[i] || d.App != "app" || data(t, d) != "0" {
			t.Errorf("message %d is for %q of %q, want %q", i, d.Channel, d.App, hostileNames[i])
		}
	}
	got = byName.ordered(byName.settle(from), hostileNames)
	if len(got) != (len(hostileNames)+1)/2 {
		t.Fatalf("%d messages by name, want %d", len(got), (len(hostileNames)+1)/2)
	}
	for i, d := range got {
		if d.Channel != hostileNames[2*i] {
			t.Errorf("message %d is for %q, want %q", i, d.Channel, hostileNames[2*i])
		}
	}
}

// testPatterns gives each hostile pattern a node's only subscription: what it
// matches must come, however Redis reads its letters.
func testPatterns(t *testing.T, s *system) {
	patterns := []string{
		"*", "**", "a*", "*a", "a/*", "a/**", "*/*", "[ab]*", "[*", "*]", "?*", "^*", "*^*",
		`\**`, `*\\*`, `\\*`, `a\\*`, `*\*`, "}:msg:*", "*}:msg:*", "**}:msg:**", "{*}", "*{*", "* *",
		"fw:0:msg:{*", "é*", "*字", strings.Repeat("x", 255) + "*", strings.Repeat("*", 256), "a-*", "[a-c]*", "***",
		`"*"`, "*:*", ".*",
	}
	from := s.publisher()
	nodes := make([]*node, len(patterns))
	// A few nodes share the patterns between them: one connection each is dear.
	const shared = 4
	for i := range shared {
		nodes[i] = s.node()
	}
	for i, p := range patterns {
		nodes[i%shared].listen("app", p)
	}
	for _, name := range hostileNames {
		publish(t, from, "app", name, `"x"`)
	}
	for i := range shared {
		var want []string
		for _, name := range hostileNames {
			for j := i; j < len(patterns); j += shared {
				if p, err := channel.Compile(patterns[j]); err != nil {
					t.Fatal(err)
				} else if p.Match(name) {
					want = append(want, name)
					break
				}
			}
		}
		got := nodes[i].ordered(nodes[i].settle(from), hostileNames)
		for j := range min(len(got), len(want)) {
			if got[j].Channel != want[j] {
				t.Fatalf("node %d: message %d is for %q, want %q", i, j, got[j].Channel, want[j])
			}
		}
		if len(got) != len(want) {
			t.Errorf("node %d: %d messages, want %d", i, len(got), len(want))
		}
	}
	for i, text := range patterns {
		p, _ := channel.Compile(text)
		nodes[i%shared].RemovePattern("app", p)
	}
	redistest.Eventually(t, patience, "no pattern is left in Redis", func() bool {
		return s.wildcards() == 0
	})
}

// testApps has apps whose ids begin alike want everything.
func testApps(t *testing.T, s *system) {
	apps := []string{"a", "a-b", "a_b", "A", "ab", "b", "a-", "-a"}
	n, from := s.node(), s.publisher()
	for _, app := range apps {
		n.listen(app, "**")
		n.subscribe(app, "c", 1)
		n.subscribe(app, "-b.021}:c", 1)
	}
	for _, app := range apps {
		publish(t, from, app, "c", `"`+app+`"`)
		publish(t, from, app, "-b.021}:c", `"`+app+`"`)
	}
	got := n.settle(from)
	if len(got) != 2*len(apps) {
		t.Fatalf("%d messages, want %d", len(got), 2*len(apps))
	}
	received := map[string]int{}
	for _, d := range got {
		received[d.App]++
		if data(t, d) != `"`+d.App+`"` {
			t.Errorf("a message of %s was delivered as one of %q", data(t, d), d.App)
		}
	}
	for _, app := range apps {
		if received[app] != 2 {
			t.Errorf("%d messages of %q, want 2", received[app], app)
		}
	}

	// One app alone is wanted, with everything in it.
	alone := s.node()
	alone.listen("a", "**")
	for _, app := range apps {
		publish(t, from, app, "x", "1")
	}
	if got := alone.settle(from); len(got) != 1 || got[0].App != "a" {
		t.Errorf("%d messages for one app, want 1 of its own", len(got))
	}
}

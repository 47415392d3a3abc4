package channel

import (
	"strings"
	"testing"
)

// No pattern reaches a reserved name but one that names it literally.
func TestReservedNames(t *testing.T) {
	for pattern, want := range map[string]struct{ peer, deep, other bool }{
		"**":                           {},
		"*/**":                         {},
		"_s*/**":                       {},
		"_system/**":                   {},
		"_system/connectivity*/**":     {},
		"_system/connectivit*/**":      {},
		"*/connectivity/*":             {},
		"_system/*/cam-1":              {},
		"**cam-1":                      {},
		"_system/connectivity/**":      {peer: true, deep: true},
		"_system/connectivity/*":       {peer: true},
		"_system/connectivity/cam-1":   {peer: true},
		"_system/connectivity/cam-*":   {peer: true},
		"_system/connectivity/cam-2":   {},
		"_system/other":                {},
		"_metered/**":                  {},
		`_system/connectivity/cam\*-1`: {},
	} {
		p := mustCompile(t, pattern)
		for name, reaches := range map[string]bool{"_system/connectivity/cam-1": want.peer, "_system/connectivity/a/b": want.deep, "_system/other": want.other, "_metered/x": want.other} {
			if p.Match(name) != reaches {
				t.Errorf("Compile(%q).Match(%q) = %v", pattern, name, !reaches)
			}
			effort := MaxEffort
			if MatchedBy([]*Pattern{p}, name, &effort) != reaches {
				t.Errorf("MatchedBy(%q, %q) = %v", pattern, name, !reaches)
			}
			if q := mustCompile(t, name); pattern != name && p.Covers(q) != reaches {
				t.Errorf("%q covers %q: %v", pattern, name, !reaches)
			}
		}
	}
	for _, pair := range [][2]string{
		{"**", "_system/connectivity/**"}, {"_system/**", "_system/connectivity/*"}, {"_s*/**", "_system/connectivity/cam-1"},
		{"_system/connectivity/*", "_system/connectivity/**"}, {"_system/connectivity/cam-*", "_system/connectivity/*"},
	} {
		if mustCompile(t, pair[0]).Covers(mustCompile(t, pair[1])) {
			t.Errorf("%q covers %q", pair[0], pair[1])
		}
	}
	for _, pair := range [][2]string{
		{"_system/connectivity/**", "_system/connectivity/*"}, {"_system/connectivity/*", "_system/connectivity/cam-*"},
		{"**", "_systems/connectivity/*"}, {"**", "devices/_system/*"},
	} {
		if !mustCompile(t, pair[0]).Covers(mustCompile(t, pair[1])) {
			t.Errorf("%q does not cover %q", pair[0], pair[1])
		}
	}
}

// Names beside the reserved ones are as all others.
func TestNamesLikeReservedOnes(t *testing.T) {
	for _, name := range []string{"_system", "_systems/a", "_", "_x/a", "a/_system/b", "_System/a", "_internal"} {
		if !mustCompile(t, "**").Match(name) {
			t.Errorf("** does not match %q", name)
		}
	}
}

func TestConnectivityNames(t *testing.T) {
	for peer, name := range map[string]string{
		"device-camera_001.~": "_system/connectivity/device-camera_001.~",
		"a/b*c\\ %":           "_system/connectivity/a%2Fb%2Ac%5C%20%25",
		".":                   "_system/connectivity/%2E",
		"..":                  "_system/connectivity/%2E%2E",
		"...":                 "_system/connectivity/...",
	} {
		got := ConnectivityName(peer)
		if back, ok := ConnectivityPeer(got); got != name || !ok || back != peer || ValidateName(got) != nil {
			t.Errorf("%q has %q, want %q; back it is %q, %v", peer, got, name, back, ok)
		}
	}
	if got := ConnectivityName(strings.Repeat("/", 128)); got != "" {
		t.Errorf("a name of %d bytes", len(got))
	}
	for _, name := range []string{"", "_system/connectivity/", "_system/connectivity/%2f", "_system/connectivity/a b", "_system/connectivity/%zz", "_system/connectivity/%61", "_system/connectivity/a/b", "devices/a"} {
		if peer, ok := ConnectivityPeer(name); ok {
			t.Errorf("%q is the name of %q", name, peer)
		}
	}
}

func FuzzConnectivityNames(f *testing.F) {
	f.Add("device-1")
	f.Add("a/b*%..")
	f.Fuzz(func(t *testing.T, peer string) {
		name := ConnectivityName(peer)
		if name == "" || peer == "" {
			return
		}
		if back, ok := ConnectivityPeer(name); !ok || back != peer || ValidateName(name) != nil {
			t.Errorf("%q has %q; back it is %q, %v", peer, name, back, ok)
		}
	})
}

package redact

import (
	"strings"
	"testing"
)

func TestValue(t *testing.T) {
	for s, want := range map[string]string{
		"":                 `""`,
		"10":               `"10"`,
		"exactly12byt":     `"exactly12byt"`,
		"one more byte":    `"one mo…" (13 bytes)`,
		"\x00\"":           `"\x00\""`,
		"ÄÄÄÄÄÄÄÄÄÄ":       `"ÄÄÄ…" (20 bytes)`,
		"aÄÄÄÄÄÄÄÄÄÄ":      `"aÄÄ…" (21 bytes)`,
		"redis://u:p@host": `"redis:…" (16 bytes)`,
	} {
		if got := Value(s); got != want {
			t.Errorf("Value(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestPlace(t *testing.T) {
	for s, want := range map[string]string{
		"":                           `""`,
		"/etc/fleetwire/apps.json":   `"/etc/fleetwire/apps.json"`,
		"redis.prod.example.com:x":   `"redis.prod.example.com:x"`,
		"192.168.100.0/33":           `"192.168.100.0/33"`,
		"/tmp/of-a-longer-name/a.md": `"/tmp/of-a-l…/a.md"`,
		"nonsense":                   `"nonsense"`,
	} {
		if got := Place(s); got != want {
			t.Errorf("Place(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestName(t *testing.T) {
	for s, want := range map[string]string{
		"lisen": "lisen", "FLEETWIRE_TRUSTED_PROXY": "FLEETWIRE_TRUSTED_PROXY", "a b": `"a b"`,
		"trustednetworks": `"truste…" (15 bytes)`, "4fe29d3c-6d31-4bd1-ae32-f2b1d0a6b1c9": `"4fe29d…" (36 bytes)`,
	} {
		if got := Name(s); got != want {
			t.Errorf("Name(%q) = %s, want %s", s, got, want)
		}
	}
}

// Whatever is given, no word longer than MaxShown comes out whole.
func FuzzNothingLongIsShownWhole(f *testing.F) {
	f.Add("5ec4e7000000000000000000000000000000000000000001")
	f.Add("/a/5ec4e7000000000000000000000000000000000000000001.json")
	f.Add("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	f.Fuzz(func(t *testing.T, s string) {
		longest := ""
		for _, word := range strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune("/.:-_", r) }) {
			if len(word) > len(longest) {
				longest = word
			}
		}
		if len(longest) <= MaxShown {
			return
		}
		for how, got := range map[string]string{"Value": Value(s), "Place": Place(s), "Name": Name(s)} {
			if strings.Contains(got, longest) {
				t.Errorf("%s(%q) shows it: %s", how, s, got)
			}
		}
	})
}

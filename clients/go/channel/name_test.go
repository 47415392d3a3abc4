package channel

import (
	"strings"
	"testing"
)

// rulesForBoth are the rules that names and patterns share. NOUN in an error is what is being validated.
var rulesForBoth = []struct {
	name, in, want string
}{
	{"one byte", "a", ""},
	{"levels", "devices/camera-001/events", ""},
	{"empty", "", "NOUN is empty"},
	{"256 bytes", strings.Repeat("a", 256), ""},
	{"257 bytes", strings.Repeat("a", 257), "NOUN is 257 bytes long; at most 256 are allowed"},
	{"256 bytes of 128 characters", strings.Repeat("é", 128), ""},
	{"258 bytes of 129 characters", strings.Repeat("é", 129), "NOUN is 258 bytes long; at most 256 are allowed"},
	{"space", " ", ""},
	{"not only ASCII", "geräte/カメラ/🛰", ""},
	{"U+FFFD itself", "a\uFFFDb", ""},
	{"U+00A0, next to the control characters", "a\u00a0", ""},
	{"punctuation", "a.b:c?d[e]{f}#g+h$i%2F", ""},
	{"empty levels", "//a//", ""},
	{"only a slash", "/", ""},

	{"NUL", "\x00", "NOUN contains a control character (U+0000) at byte 0"},
	{"BEL", "abc\x07", "NOUN contains a control character (U+0007) at byte 3"},
	{"line feed", "a\nb", "NOUN contains a control character (U+000A) at byte 1"},
	{"U+001F", "\x1f", "NOUN contains a control character (U+001F) at byte 0"},
	{"U+007F", "a\x7f", "NOUN contains a control character (U+007F) at byte 1"},
	{"U+0080", "é\u0080", "NOUN contains a control character (U+0080) at byte 2"},
	{"U+009F", "\u009f", "NOUN contains a control character (U+009F) at byte 0"},

	{"a lone continuation byte", "ab\x80", "NOUN is not valid UTF-8 at byte 2"},
	{"a cut sequence", "a\xe2\x82", "NOUN is not valid UTF-8 at byte 1"},
	{"an overlong slash", "a\xc0\xafb", "NOUN is not valid UTF-8 at byte 1"},
	{"a surrogate", "\xed\xa0\x80", "NOUN is not valid UTF-8 at byte 0"},
	{"past U+10FFFF", "\xf4\x90\x80\x80", "NOUN is not valid UTF-8 at byte 0"},

	{"a dot", ".", `NOUN has a level "."; levels must not be "." or ".."`},
	{"two dots", "..", `NOUN has a level ".."; levels must not be "." or ".."`},
	{"climbing", "devices/../fleets", `NOUN has a level ".."; levels must not be "." or ".."`},
	{"a dot first", "./a", `NOUN has a level "."; levels must not be "." or ".."`},
	{"a dot last", "a/.", `NOUN has a level "."; levels must not be "." or ".."`},
	{"three dots", "a/...", ""},
	{"dots in a level", "a/.b/c./v1.2", ""},
	{"percent-encoded dots are not dots", "%2e%2e/a", ""},

	{"escaped star", `a/\*`, ""},
	{"escaped backslash", `a\\b`, ""},
	{"lone backslash", `a\b`, ""},
	{"backslash at the end", `a\`, ""},
	{"escaped backslash, escaped star", `\\\*`, ""},
}

func TestValidateName(t *testing.T) {
	for _, tt := range rulesForBoth {
		t.Run(tt.name, func(t *testing.T) {
			wantError(t, ValidateName(tt.in), strings.Replace(tt.want, "NOUN", "channel", 1))
		})
	}
	for _, pattern := range []string{"*", "**", "a/*/b", `\\*`, `a\\\\*`, `\**`, `\a*`} {
		wantError(t, ValidateName(pattern), "channel contains an unescaped *; only subscribe takes patterns")
	}
}

func TestCompileValidates(t *testing.T) {
	for _, tt := range rulesForBoth {
		t.Run(tt.name, func(t *testing.T) {
			p, err := Compile(tt.in)
			wantError(t, err, strings.Replace(tt.want, "NOUN", "pattern", 1))
			if (p == nil) != (err != nil) {
				t.Errorf("Compile returned %v together with the error %v", p, err)
			}
		})
	}
}

// The bound is on wildcards: three stars side by side are one, and an escaped star is none.
func TestCompileBoundsWildcards(t *testing.T) {
	for pattern, want := range map[string]string{
		strings.Repeat("*/", 16):                            "",
		strings.Repeat("***/**a", 8):                        "",
		strings.Repeat(`\*`, 40) + strings.Repeat("*/", 16): "",
		strings.Repeat("*/", 17):                            "pattern has 17 wildcards; at most 16 are allowed",
		"devices/cam-1/**" + strings.Repeat("/*", 120):      "pattern has 121 wildcards; at most 16 are allowed",
	} {
		_, err := Compile(pattern)
		wantError(t, err, want)
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

func TestIsReserved(t *testing.T) {
	for s, want := range map[string]bool{
		"_metered/": true, "_metered/a": true, "_internal/a/b": true, "_system/x": true,
		"_metered/**": true, "_system/*": true,
		"_metered": false, "_meteredx/a": false, "_Metered/a": false, "a/_metered/b": false,
		"metered/a": false, "_other/a": false, "**": false, "_*/a": false, "": false,
	} {
		if got := IsReserved(s); got != want {
			t.Errorf("IsReserved(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestIsPattern(t *testing.T) {
	for s, want := range map[string]bool{
		"*": true, "**": true, "a*": true, "a/*/b": true,
		`\*`: false, `\\*`: true, `\\\*`: false, `\\\\*`: true, `\**`: true, `\a*`: true, `\/*`: true,
		"": false, "a": false, `\`: false, `\\`: false, `a\`: false,
	} {
		if got := IsPattern(s); got != want {
			t.Errorf("IsPattern(%q) = %v, want %v", s, got, want)
		}
	}
}

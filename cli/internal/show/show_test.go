package show

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

// A device must not steer the terminal of the person who reads what it sends.
func TestSafe(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"plain", "camera-001 é 日本", "camera-001 é 日本"},
		{"an escape sequence", "a\x1b[2Jb", `a\u001b[2Jb`},
		{"a C1 control character", "a\u009b2J", `a\u009b2J`},
		{"a C1 control character as a bare byte", "a\x9b2J", "a\ufffd2J"},
		{"delete", "a\x7f", `a\u007f`},
		{"a line break", "a\r\nb", `a\u000d\u000ab`},
		{"a change of direction", "a\u202eb", `a\u202eb`},
		{"a line separator", "a\u2028b", `a\u2028b`},
		{"a hidden tag beyond U+FFFF", "a\U000e0041b", `a\udb40\udc41b`},
	} {
		if got := Safe(c.text); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := SafeLines("a\x1b\nb"); got != "a\\u001b\nb" {
		t.Errorf("SafeLines: %q", got)
	}
}

func TestData(t *testing.T) {
	if got := Data(json.RawMessage("{\n  \"a\": \"\u009b\"\n}")); got != `{"a":"\u009b"}` {
		t.Errorf("%q", got)
	}
	if got := Data(json.RawMessage(`{"a": 1}`)); got != `{"a": 1}` {
		t.Errorf("a line is shown as it was sent, got %q", got)
	}
}

// The escaped line is the same JSON.
func TestJSONIsSafe(t *testing.T) {
	want := "\u009b2J\u202e\U000e0041\x7f<é>"
	var out bytes.Buffer
	if err := NewPrinter(&out, os.Getenv).JSON(map[string]string{"a": want}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != `{"a":"\u009b2J\u202e\udb40\udc41\u007f<é>"}`+"\n" {
		t.Errorf("printed %q", got)
	}
	var got map[string]string
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || got["a"] != want {
		t.Errorf("read %q, %v", got["a"], err)
	}
}

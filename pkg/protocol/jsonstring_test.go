package protocol

import "testing"

func TestAppendString(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"empty", "", `""`},
		{"plain", "devices/cam-1", `"devices/cam-1"`},
		{"quote and backslash", `a"b\c`, `"a\"b\\c"`},
		{"slash stays", "a/b", `"a/b"`},
		{"short escapes", "\b\f\n\r\t", `"\b\f\n\r\t"`},
		{"other control characters", "\x00\x01\x0b\x1f", `"\u0000\u0001\u000b\u001f"`},
		{"DEL stays", "\x7f", "\"\x7f\""},
		{"no HTML escaping", "<a&b>'", `"<a&b>'"`},
		{"line separators stay", "\u2028\u2029", "\"\u2028\u2029\""},
		{"characters of 2, 3 and 4 bytes", "é€😀", `"é€😀"`},
		{"U+FFFD itself", "a\uFFFDb", "\"a\uFFFDb\""},
		{"each invalid byte is replaced", "a\xff\xfeb", "\"a\uFFFD\uFFFDb\""},
		{"cut character at the end", "a\xe2\x82", "\"a\uFFFD\uFFFD\""},
		{"surrogate in UTF-8", "\xed\xa0\x80", "\"\uFFFD\uFFFD\uFFFD\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(AppendString([]byte("x"), tt.text)); got != "x"+tt.want {
				t.Errorf("AppendString(x, %q) = %s, want x%s", tt.text, got, tt.want)
			}
		})
	}
}

func TestDecodeString(t *testing.T) {
	tests := []struct {
		name, value, want string
		ok                bool
	}{
		{"empty", `""`, "", true},
		{"plain", `"abc"`, "abc", true},
		{"short escapes", `"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t", true},
		{"escapes at both ends", `"\ta\t"`, "\ta\t", true},
		{"hexadecimal in either case", `"\u00e9\u00E9\uABCD\uabcd"`, "éé\uabcd\uabcd", true},
		{"surrogate pair", `"\ud83d\ude00"`, "😀", true},
		{"lone high surrogate", `"\ud83dx"`, "\uFFFDx", true},
		{"lone high surrogate at the end", `"x\ud83d"`, "x\uFFFD", true},
		{"lone low surrogate", `"\ude00x"`, "\uFFFDx", true},
		{"high surrogate twice, then low", `"\ud83d\ud83d\ude00"`, "\uFFFD😀", true},
		{"high surrogate before an ordinary escape", `"\ud83d\u0041"`, "\uFFFDA", true},
		{"high surrogate before a short escape", `"\ud83d\n123456"`, "\uFFFD\n123456", true},
		{"escaped U+FFFD", `"\ufffd"`, "\uFFFD", true},
		{"number", `1`, "", false},
		{"null", `null`, "", false},
		{"nothing", ``, "", false},
		{"quote alone", `"`, "", false},
		{"never closed", `"a`, "", false},
		{"closed by an escaped quote", `"a\"`, "", false},
		{"more after it", `"a"b`, "", false},
		{"white space around it", ` "a" `, "", false},
		{"broken escape", `"\x"`, "", false},
		{"cut escape", `"\u12`, "", false},
		{"invalid UTF-8", "\"\xff\"", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := DecodeString([]byte(tt.value)); got != tt.want || ok != tt.ok {
				t.Errorf("DecodeString(%s) = %q, %v, want %q, %v", tt.value, got, ok, tt.want, tt.ok)
			}
		})
	}
}

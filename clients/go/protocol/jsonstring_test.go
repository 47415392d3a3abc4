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
		err               error
	}{
		{"empty", `""`, "", nil},
		{"plain", `"abc"`, "abc", nil},
		{"short escapes", `"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t", nil},
		{"escapes at both ends", `"\ta\t"`, "\ta\t", nil},
		{"hexadecimal in either case", `"\u00e9\u00E9\uABCD\uabcd"`, "éé\uabcd\uabcd", nil},
		{"surrogate pair", `"\ud83d\ude00"`, "😀", nil},
		{"lone high surrogate", `"\ud83dx"`, "", ErrHalfCharacter},
		{"lone high surrogate at the end", `"x\ud83d"`, "", ErrHalfCharacter},
		{"lone low surrogate", `"\ude00x"`, "", ErrHalfCharacter},
		{"high surrogate twice, then low", `"\ud83d\ud83d\ude00"`, "", ErrHalfCharacter},
		{"high surrogate before an ordinary escape", `"\ud83d\u0041"`, "", ErrHalfCharacter},
		{"high surrogate before a short escape", `"\ud83d\n123456"`, "", ErrHalfCharacter},
		{"escaped U+FFFD", `"\ufffd"`, "\uFFFD", nil},
		{"number", `1`, "", errNoString},
		{"null", `null`, "", errNoString},
		{"nothing", ``, "", errNoString},
		{"quote alone", `"`, "", errNoString},
		{"never closed", `"a`, "", errNoString},
		{"closed by an escaped quote", `"a\"`, "", errNoString},
		{"more after it", `"a"b`, "", errNoString},
		{"white space around it", ` "a" `, "", errNoString},
		{"broken escape", `"\x"`, "", errNoString},
		{"cut escape", `"\u12`, "", errNoString},
		{"invalid UTF-8", "\"\xff\"", "", errNoString},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := DecodeString([]byte(tt.value)); got != tt.want || err != tt.err {
				t.Errorf("DecodeString(%s) = %q, %v, want %q, %v", tt.value, got, err, tt.want, tt.err)
			}
		})
	}
}

package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// nested is an object that holds depth arrays in one another.
func nested(depth int) string {
	return `{"a":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + "}"
}

// conformanceCase is one text that is JSON or not: the whole document, or a value to stand in {"a":…}.
type conformanceCase struct {
	name  string
	json  string
	whole bool
	ok    bool
}

func (c conformanceCase) document() []byte {
	if c.whole {
		return []byte(c.json)
	}
	return []byte(`{"a":` + c.json + `}`)
}

// conformance is where JSON parsers differ from RFC 8259 and from each other.
var conformance = []conformanceCase{
	{"zero", `0`, false, true},
	{"negative zero", `-0`, false, true},
	{"fraction", `1.0`, false, true},
	{"exponent", `1e5`, false, true},
	{"exponent with plus", `1E+5`, false, true},
	{"exponent with minus", `-1.5e-05`, false, true},
	{"beyond float64", `1e400`, false, true},
	{"twenty digits", `12345678901234567890`, false, true},
	{"leading zero", `01`, false, false},
	{"leading zeros", `00`, false, false},
	{"negative leading zero", `-01`, false, false},
	{"minus alone", `-`, false, false},
	{"double minus", `--1`, false, false},
	{"plus", `+1`, false, false},
	{"no digit before the point", `.5`, false, false},
	{"no digit before the point, negative", `-.5`, false, false},
	{"no digit after the point", `1.`, false, false},
	{"no digit between point and e", `1.e5`, false, false},
	{"empty exponent", `1e`, false, false},
	{"exponent of a sign alone", `1e+`, false, false},
	{"fractional exponent", `1e1.5`, false, false},
	{"two points", `1.2.3`, false, false},
	{"hexadecimal", `0x1F`, false, false},
	{"underscore", `1_000`, false, false},
	{"full-width digit", `１`, false, false},
	{"NaN", `NaN`, false, false},
	{"Infinity", `Infinity`, false, false},
	{"negative Infinity", `-Infinity`, false, false},

	{"true", `true`, false, true},
	{"false", `false`, false, true},
	{"null", `null`, false, true},
	{"True", `True`, false, false},
	{"cut literal", `tru`, false, false},
	{"literal with more after it", `truex`, false, false},
	{"undefined", `undefined`, false, false},

	{"empty string", `""`, false, true},
	{"every short escape", `"\"\\\/\b\f\n\r\t"`, false, true},
	{"unicode escape", `"\u00e9\u00E9"`, false, true},
	{"escaped NUL", `"\u0000"`, false, true},
	{"surrogate pair", `"\ud83d\ude00"`, false, true},
	{"lone high surrogate", `"\ud83d"`, false, true},
	{"lone low surrogate", `"\ude00"`, false, true},
	{"high surrogate before an ordinary escape", `"\ud83d\n"`, false, true},
	{"DEL stands for itself", "\"\x7f\"", false, true},
	{"U+2028 stands for itself", "\"\u2028\"", false, true},
	{"four-byte character", `"😀"`, false, true},
	{"single quotes", `'a'`, false, false},
	{"unescaped line feed", "\"a\nb\"", false, false},
	{"unescaped tab", "\"a\tb\"", false, false},
	{"unescaped NUL", "\"a\x00b\"", false, false},
	{"unescaped U+001F", "\"\x1f\"", false, false},
	{"unknown escape", `"\a"`, false, false},
	{"hexadecimal escape", `"\x41"`, false, false},
	{"escape in upper case", `"\N"`, false, false},
	{"unicode escape of three digits", `"\u00e"`, false, false},
	{"unicode escape of no digits", `"\u"`, false, false},
	{"unicode escape with a non-digit", `"\u00g0"`, false, false},
	{"unicode escape in upper case", `"\U0041"`, false, false},
	{"unicode escape in braces", `"\u{41}"`, false, false},
	{"escaped closing quote", `"\"`, false, false},
	{"no closing quote", `"abc`, false, false},
	{"invalid UTF-8 in a string", "\"\xff\"", false, false},
	{"cut UTF-8", "\"\xe2\x82\"", false, false},
	{"overlong UTF-8", "\"\xc0\xaf\"", false, false},
	{"surrogate in UTF-8", "\"\xed\xa0\x80\"", false, false},
	{"beyond U+10FFFF", "\"\xf4\x90\x80\x80\"", false, false},
	{"invalid UTF-8 outside strings", "1\xff", false, false},

	{"empty array", `[]`, false, true},
	{"array of everything", `[ 1 , "a" , true , null , [ ] , { } , { "b" : [ 2 ] } ]`, false, true},
	{"every white space", " \t\r\n[ \t\r\n] \t\r\n", false, true},
	{"trailing comma in an array", `[1,]`, false, false},
	{"comma alone in an array", `[,]`, false, false},
	{"leading comma in an array", `[,1]`, false, false},
	{"two commas in an array", `[1,,2]`, false, false},
	{"no comma in an array", `[1 2]`, false, false},
	{"colon in an array", `[1:2]`, false, false},
	{"array never closed", `[1`, false, false},
	{"array closed as an object", `[1}`, false, false},
	{"empty array closed as an object", `[}`, false, false},
	{"array in an object closed in the wrong order", `[{"b":1]}`, false, false},
	{"array closed twice", `[]]`, false, false},
	{"form feed is no white space", "[\f]", false, false},
	{"no-break space is no white space", "[\u00a0]", false, false},

	{"empty object", `{}`, true, true},
	{"empty object in white space", " \t\r\n{ \t\r\n} \t\r\n", true, true},
	{"empty name", `{"":1}`, true, true},
	{"duplicate names", `{"a":1,"a":2}`, true, true},
	{"duplicate names, one escaped", `{"a":1,"\u0061":2}`, true, true},
	{"objects in one another", `{"a":{"b":{"c":{}}}}`, true, true},
	{"trailing comma", `{"a":1,}`, true, false},
	{"trailing comma in an inner object", `{"a":{"b":1,}}`, true, false},
	{"comma alone", `{,}`, true, false},
	{"leading comma", `{,"a":1}`, true, false},
	{"two commas", `{"a":1,,"b":2}`, true, false},
	{"no comma", `{"a":1 "b":2}`, true, false},
	{"no colon", `{"a" 1}`, true, false},
	{"two colons", `{"a"::1}`, true, false},
	{"no value", `{"a":}`, true, false},
	{"no value, no colon", `{"a"}`, true, false},
	{"no value, no colon, in an inner object", `{"a":{"b"}}`, true, false},
	{"name without quotes", `{a:1}`, true, false},
	{"name in single quotes", `{'a':1}`, true, false},
	{"number as a name", `{1:1}`, true, false},
	{"name never closed", `{"a:1}`, true, false},
	{"name with a broken escape", `{"\u00":1}`, true, false},
	{"invalid UTF-8 in a name", "{\"\xff\":1}", true, false},
	{"never closed", `{"a":1`, true, false},
	{"never closed, empty", `{`, true, false},
	{"closed as an array", `{"a":1]`, true, false},
	{"closed twice", `{}}`, true, false},
	{"two objects", `{}{}`, true, false},
	{"a word after it", `{} x`, true, false},
	{"NUL after it", "{}\x00", true, false},
	{"NUL before it", "\x00{}", true, false},
	{"NUL in it", "{\x00}", true, false},
	{"byte order mark", "\ufeff{}", true, false},
	{"UTF-16", "{\x00}\x00", true, false},
	{"line comment", "{} // a", true, false},
	{"block comment", `{/* a */}`, true, false},
	{"nothing", ``, true, false},
	{"white space alone", " \n", true, false},
	{"an array", `[]`, true, false},
	{"a string", `"{}"`, true, false},
	{"null alone", `null`, true, false},
	{"as deep as allowed", nested(MaxNesting), true, true},
	{"one too deep", nested(MaxNesting + 1), true, false},
	{"as deep as allowed, objects", strings.Repeat(`{"a":`, MaxNesting) + "{}" + strings.Repeat("}", MaxNesting), true, true},
	{"one too deep, objects", strings.Repeat(`{"a":`, MaxNesting+1) + "{}" + strings.Repeat("}", MaxNesting+1), true, false},
	{"as deep as allowed, and again", `{"a":` + strings.Repeat("[", MaxNesting) + strings.Repeat("]", MaxNesting) + `,"b":` + strings.Repeat("[", MaxNesting) + strings.Repeat("]", MaxNesting) + "}", true, true},
	{"brackets in a string are no levels", `{"a":"` + strings.Repeat("[", MaxNesting+1) + `"}`, true, true},
	{"128 levels, closed in the wrong order", `{"a":` + strings.Repeat(`[{"a":`, 64) + "1" + strings.Repeat("]}", 64) + "}", true, false},
	{"128 levels, arrays and objects in turn", `{"a":` + strings.Repeat(`[{"a":`, 64) + "1" + strings.Repeat("}]", 64) + "}", true, true},
}

func TestScanObjectConformance(t *testing.T) {
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) {
			doc := c.document()
			err := ScanObject(doc, func(string, []byte) error { return nil })
			if ok := err == nil; ok != c.ok {
				t.Errorf("ScanObject(%.80q): error %v, want ok %v", doc, err, c.ok)
			}
			// The table must be right, too.
			if ok := referenceAccepts(doc); ok != c.ok {
				t.Errorf("encoding/json and unicode/utf8 say %v to %.80q, the table %v", ok, doc, c.ok)
			}
		})
	}
}

// referenceAccepts is what ScanObject accepts, by the standard library.
func referenceAccepts(b []byte) bool {
	return json.Valid(b) && utf8.Valid(b) && strings.HasPrefix(strings.TrimLeft(string(b), " \t\r\n"), "{") && referenceNesting(b) <= 1+MaxNesting
}

// referenceNesting is how deep arrays and objects lie in one another in valid JSON.
func referenceNesting(b []byte) int {
	depth, deepest := 0, 0
	decoder := json.NewDecoder(bytes.NewReader(b))
	for {
		switch token, err := decoder.Token(); {
		case err != nil:
			return deepest
		case token == json.Delim('[') || token == json.Delim('{'):
			depth++
			deepest = max(deepest, depth)
		case token == json.Delim(']') || token == json.Delim('}'):
			depth--
		}
	}
}

func TestScanObjectMembers(t *testing.T) {
	tests := []struct {
		name string
		json string
		want []string // name, value, name, value …
	}{
		{"none", `{}`, nil},
		{"one of each kind", `{"s":"x","n":-1.50e+3,"t":true,"f":false,"z":null,"a":[1, 2],"o":{"p" : 1}}`,
			[]string{"s", `"x"`, "n", `-1.50e+3`, "t", `true`, "f", `false`, "z", `null`, "a", `[1, 2]`, "o", `{"p" : 1}`}},
		{"white space around a value is not part of it", "{ \"a\" :\t[ 1 ]\r\n, \"b\" : 2 }", []string{"a", "[ 1 ]", "b", "2"}},
		{"names are unescaped", `{"typ\u0065":1,"\ud83d\ude00":2,"\"\\\/":3,"\ud83d":4}`, []string{"type", "1", "😀", "2", `"\/`, "3", "\uFFFD", "4"}},
		{"values are not", `{"a":"\u0041\/"}`, []string{"a", `"\u0041\/"`}},
		{"duplicates come in order", `{"a":1,"b":2,"\u0061":3}`, []string{"a", "1", "b", "2", "a", "3"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			err := ScanObject([]byte(tt.json), func(name string, value []byte) error {
				got = append(got, name, string(value))
				return nil
			})
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("ScanObject(%s): %q, error %v; want %q", tt.json, got, err, tt.want)
			}
		})
	}
}

func TestScanObjectErrorsSayWhereAndWhat(t *testing.T) {
	tests := []struct{ json, want string }{
		{``, "broken JSON: it ends after 0 bytes: expected an object, beginning with '{'"},
		{`[]`, "broken JSON at byte 0: expected an object, beginning with '{'"},
		{"{\"a\":\"é\xff\"}", "broken JSON at byte 8: not valid UTF-8"},
		{`{a:1}`, "broken JSON at byte 1: expected a name in double quotes"},
		{`{"a" 1}`, "broken JSON at byte 5: expected ':'"},
		{`{"a":1 "b":2}`, "broken JSON at byte 7: expected ',' or '}'"},
		{`{"a":{"b":1]}`, "broken JSON at byte 11: expected ',' or '}'"},
		{`{"a":[1}`, "broken JSON at byte 7: expected ',' or ']'"},
		{`{"a":[1,]}`, "broken JSON at byte 8: expected a value"},
		{`{"a":nul}`, "broken JSON at byte 5: expected a value"},
		{`{"a":-}`, "broken JSON at byte 6: expected a digit after '-'"},
		{`{"a":1.}`, "broken JSON at byte 7: expected a digit after '.'"},
		{`{"a":1e}`, "broken JSON at byte 7: expected a digit in the exponent"},
		{`{"a":"`, "broken JSON: it ends after 6 bytes: expected a closing quote"},
		{"{\"a\":\"\n\"}", "broken JSON at byte 6: control character in a string, expected it escaped"},
		{`{"a":"\q"}`, `broken JSON at byte 7: broken escape, expected one of "\/bfnrtu after \`},
		{`{"a":"\u12x4"}`, `broken JSON at byte 10: broken escape, expected four hexadecimal digits after \u`},
		{`{} {}`, "broken JSON at byte 3: expected nothing after the object"},
		{nested(MaxNesting + 1), "broken JSON at byte 133: nested too deep, expected at most 128 levels"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%.20s", tt.json), func(t *testing.T) {
			err := ScanObject([]byte(tt.json), func(string, []byte) error { return nil })
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestScanObjectStopsAtTheMembersError(t *testing.T) {
	stop := errors.New("stop")
	calls := 0
	err := ScanObject([]byte(`{"a":1,"b":2,"c":`), func(name string, _ []byte) error {
		calls++
		if name == "b" {
			return stop
		}
		return nil
	})
	if err != stop || calls != 2 {
		t.Errorf("error %v after %d calls, want %v after 2", err, calls, stop)
	}
}

// A handler that appends to a value must not write over the bytes behind it.
func TestScanObjectValuesHaveNoSpareCapacity(t *testing.T) {
	doc := []byte(`{"a":1,"b":2}`)
	_ = ScanObject(doc, func(_ string, value []byte) error {
		_ = append(value, "XXXX"...)
		return nil
	})
	if string(doc) != `{"a":1,"b":2}` {
		t.Errorf("the document has become %s", doc)
	}
}

// Threat: a frame of brackets alone, to overflow the stack or to make the record of what is open grow without bound.
func TestHostileNestingIsRefusedCheaply(t *testing.T) {
	doc := []byte(`{"a":` + strings.Repeat("[", 8<<20))
	var err error
	allocations := testing.AllocsPerRun(12, func() {
		err = ScanObject(doc, func(string, []byte) error { return nil })
	})
	if err == nil {
		t.Fatal("8 Mi open arrays were accepted")
	}
	if allocations > 5 { // for the error
		t.Errorf("refusing 8 Mi open arrays took %v allocations, want at most 5", allocations)
	}
}

// Strings are scanned eight bytes at a time: a special byte must be found at every distance from the start and
// the end, whatever stands before and behind it.
func TestSkipPlainFindsASpecialByteAnywhere(t *testing.T) {
	for _, neighbour := range []byte{' ', '!', '#', '[', ']', '~', 0x7F, 0x80, 0xA2, 0xDC, 0xFF} {
		for c := range 256 {
			for length := range 20 {
				for at := range length {
					b := []byte(strings.Repeat(string([]byte{neighbour}), length))
					b[at] = byte(c)
					want := length
					if c < 0x20 || c == '"' || c == '\\' {
						want = at
					}
					if got := skipPlain(b, 0); got != want {
						t.Fatalf("skipPlain(%q) = %d, want %d", b, got, want)
					}
				}
			}
		}
	}
}

func TestNesting(t *testing.T) {
	for value, want := range map[string]int{
		`1`: 0, `"[[["`: 0, `null`: 0, `[]`: 1, `{}`: 1, `[[]]`: 2, `[[],[[1]],{}]`: 3, `{"a":[{"b":1}],"c":{}}`: 3,
		strings.Repeat("[", MaxNesting) + strings.Repeat("]", MaxNesting): MaxNesting,
	} {
		if got, ok := Nesting([]byte(value)); got != want || !ok {
			t.Errorf("Nesting(%.20s) = %d, %v, want %d", value, got, ok, want)
		}
	}
	for _, value := range []string{``, ` 1`, `1 `, `[`, `[]]`, "\"\xff\"", `x`, strings.Repeat("[", MaxNesting+1) + strings.Repeat("]", MaxNesting+1)} {
		if _, ok := Nesting([]byte(value)); ok {
			t.Errorf("Nesting(%.20q) is ok", value)
		}
	}
}

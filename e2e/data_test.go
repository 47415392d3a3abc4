package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// data crosses byte for byte (protocol §4.2), on both roads up and on both
// nodes: what a JSON library would have rewritten on the way included.
func TestDataByteForByte(t *testing.T) {
	key := newKey("data", "**")
	cases := map[string]string{
		"a float that is whole":    `1.0`,
		"beyond float64":           `1e400`,
		"beyond int64":             `12345678901234567890`,
		"minus zero":               `-0`,
		"exponents":                `[1E5,1e+5,1e-05,0.10]`,
		"null":                     `null`,
		"false":                    `false`,
		"empty string":             `""`,
		"empty containers":         `[{},[ ],{ }]`,
		"inner spacing":            "{ \"a\" :\t[ 1 ,\r\n 2 ] }",
		"members in disorder":      `{"z":1,"a":2,"m":3}`,
		"a member twice":           `{"a":1,"a":2}`,
		"escapes that need not be": `"\u0041\/\u00e9"`,
		"escapes that must be":     `"\"\\\b\f\n\r\t\u0000"`,
		"HTML":                     `"<script>&amp;</script>"`,
		"line separators":          "\"\u2028\u2029\"",
		"half a surrogate":         `"\ud800"`,
		"surrogates in disorder":   `"\udc00\ud800"`,
		"unicode":                  "\"水 ́e 🚀 \u200f \\ufeff\"",
		"unicode in a name":        `{"ключ":{"":1}}`,
		"a message within":         `{"type":"message","channel":"b","from":"x","data":{"data":1}}`,
		"60 KiB":                   `"` + strings.Repeat(`0123456789abcd\\`, 60<<10/16) + `"`,
		"128 levels":               strings.Repeat("[", 128) + strings.Repeat("]", 128),
	}
	onEachRedis(t, []*appDoc{newApp("app_data", key)}, func(t *testing.T, s *system) {
		near := s.first().connect(t, key.token("near", nil)).subscribe("a")
		far := s.last().connect(t, key.token("far", nil)).subscribe("*")
		far.subscribeWithMetadata("a")
		source := s.first().connect(t, key.token("source", claims{"peerMetadata": map[string]int{"v": 1}}))
		for name, data := range cases {
			t.Run(name, func(t *testing.T) {
				if !json.Valid([]byte(data)) {
					t.Fatal("the test's own data is no JSON")
				}
				near.t, far.t, source.t = t, t, t
				source.send(`{"channel":"a", "data" :   ` + data + `   ,"type":"publish","requestId":"r"}`)
				source.expect(`{"type":"ack","requestId":"r"}`)
				near.expectMessage("a", "source", data)
				far.expect(strings.Replace(message("a", "source", data), `,"data":`, `,"fromMetadata":{"v":1},"data":`, 1))

				if len(data) > 31<<10 { // a REST body has less room
					data = data[:1+16*1900] + `"`
				}
				s.last().publishBody(t, key, "a", `{ "data":`+"\n"+data+"\t}")
				near.expectMessage("a", "server", data)
				far.expectMessage("a", "server", data)
			})
		}
	})
}

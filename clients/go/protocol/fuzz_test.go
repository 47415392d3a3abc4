package protocol

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// addSeeds adds every case of the conformance table, as a document and as a frame's data, and frames that are
// right and wrong in each field.
func addSeeds(f *testing.F) {
	for _, c := range conformance {
		if len(c.json) > 1<<10 {
			continue // the deep ones: they slow the fuzzer down, and TestScanObjectConformance has them
		}
		f.Add(c.document())
		f.Add([]byte(`{"type":"publish","channel":"a","requestId":"r","data":` + c.json + `}`))
	}
	for _, s := range []string{
		string(publishFrame),
		`{"type":"ping","requestId":1}`,
		`{"type":"subscribe","channel":"devices/*","includeSenderMetadata":true,"requestId":"s"}`,
		`{"type":"unsubscribe","channel":null,"requestId":"\ud83d\ud83d\ude00"}`,
		`{"typ\u0065":"publi\u0073h","channel":"\ud800","\u0064ata":[1.0,{"a":"\\"}],"data":2}`,
		`{"type":"publish","requestId":"","channel":"a"}`,
		`{"type":"send","to":"p","data":{}}`,
		`{"type":"send","to":"p","channel":1,"requestId":"d","data":"\ud83d"}`,
		`{"type":"refresh","token":"a.b.c","requestId":"t"}`,
		`{"type":["ping"],"type":"ping","":{}}`,
		`{"type":"subscribe","channel":"a","commands":"c\u006fnfirm"}`,
		`{"type":"answer","command":"cmd_1","status":"running","data":{"pct":5},"requestId":"9"}`,
		`{"type":"answer","command":"\ud800","status":"f\u0061iled","data":null,"data":1}`,
		`{"type":"answer","status":"timed_out"}`,
		`{"type":"will","channel":"devices/a","data":{"gone":true},"delayMs":60000,"requestId":"w"}`,
		`{"type":"will","channel":null,"delayMs":-1}`,
		`{"type":"w\u0069ll","channel":"a","data":null,"delayMs":86400001}`,
		`{"type":"will","channel":"a","delayMs":1e3,"data":"x"}`,
		`{"type":"subscribe","channel":"a","since":{"epoch":"6H\u0071","offset":41,"epoch":"z"},"requestId":"s"}`,
		`{"type":"subscribe","channel":"a","since":{"epoch":"a-b","offset":1e3},"last":0}`,
		`{"type":"subscribe","channel":"devices/*","last":1000}`,
		`{"type":"publish","channel":"a","data":1,"idempotencyKey":"k\ud800","ifOffset":9007199254740992,"ifEpoch":""}`,
		`{"type":"publish","channel":"a","data":1,"idempotencyKey":"k","ifOffset":0,"ifEpoch":"6Hq"}`,
		`{"requestId":"` + strings.Repeat("é", 64) + `","type":"publish","data":0}`,
		`{"a":` + strings.Repeat(`[{"b":`, 70) + `0` + strings.Repeat(`}]`, 70) + `}`,
	} {
		f.Add([]byte(s))
	}
}

// FuzzScanObject holds ScanObject to encoding/json: it accepts the same objects, if they are valid UTF-8, and finds the
// same members in them.
func FuzzScanObject(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		got := map[string]string{}
		err := ScanObject(b, func(name string, value []byte) error {
			got[name] = string(value)
			return nil
		})
		if accepted := err == nil; accepted != referenceAccepts(b) {
			t.Fatalf("ScanObject(%q): error %v, the standard library accepts it: %v", b, err, !accepted)
		}
		if err != nil {
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(b, &members); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for name, value := range members {
			want[name] = string(value)
		}
		if !maps.Equal(got, want) {
			t.Fatalf("ScanObject(%q)\ngot  %q\nwant %q", b, got, want)
		}
		for _, value := range want {
			var wantText string
			isText := value[0] == '"'
			if isText {
				if err := json.Unmarshal([]byte(value), &wantText); err != nil {
					t.Fatal(err)
				}
			}
			if isText && referenceHalf(value) {
				isText, wantText = false, ""
			}
			if text, err := DecodeString([]byte(value)); (err == nil) != isText || text != wantText {
				t.Fatalf("DecodeString(%q) = %q, %v, want %q, %v", value, text, err, wantText, isText)
			}
		}
	})
}

// referenceHalf says whether a string literal escapes half a surrogate pair: a high half without a low one behind it, or
// a low one alone.
func referenceHalf(literal string) bool {
	escapes := regexp.MustCompile(`\\(?:u[0-9a-fA-F]{4}|.)`)
	high := regexp.MustCompile(`^\\u[dD][89abAB]`)
	low := regexp.MustCompile(`^\\u[dD][c-fC-F]`)
	end := -1 // where a high half has ended that waits for its other half
	for _, at := range escapes.FindAllStringIndex(literal, -1) {
		escape := literal[at[0]:at[1]]
		switch {
		case end >= 0 && low.MatchString(escape) && at[0] == end:
			end = -1
		case end >= 0 || low.MatchString(escape):
			return true
		case high.MatchString(escape):
			end = at[1]
		}
	}
	return end >= 0
}

// referenceDecode is Decode written for clarity, on encoding/json; the frame is nil if it has to be refused.
func referenceDecode(b []byte) (frame *ClientFrame, code Code, requestID string) {
	var fields map[string]json.RawMessage
	if !referenceAccepts(b) || json.Unmarshal(b, &fields) != nil {
		return nil, MalformedMessage, ""
	}
	half := func(name string) bool {
		return len(fields[name]) > 0 && fields[name][0] == '"' && referenceHalf(string(fields[name]))
	}
	text := func(name string) (s string, present, ok bool) {
		value, present := fields[name]
		ok = present && value[0] == '"' && json.Unmarshal(value, &s) == nil
		return s, present, ok
	}
	typ, _, typOK := text("type")
	if typ == "ping" {
		return &ClientFrame{Type: TypePing}, "", ""
	}
	id, idPresent, idOK := text("requestId")
	idOK = idOK && len(id) >= 1 && len(id) <= 128 && !half("requestId")
	if idOK {
		requestID = id
	}
	if !typOK || idPresent && !idOK || half("type") {
		return nil, MalformedMessage, requestID
	}
	frame = &ClientFrame{RequestID: requestID}
	switch typ {
	case "subscribe":
		frame.Type = TypeSubscribe
	case "unsubscribe":
		frame.Type = TypeUnsubscribe
	case "publish":
		frame.Type = TypePublish
	case "send":
		frame.Type = TypeSend
	case "refresh":
		frame.Type = TypeRefresh
	case "answer":
		frame.Type = TypeAnswer
	case "will":
		frame.Type = TypeWill
		if string(fields["channel"]) == "null" {
			return frame, "", ""
		}
	default:
		return nil, UnknownType, requestID
	}
	about, field, missing := "channel", &frame.Channel, InvalidChannel
	switch typ {
	case "send":
		about, field, missing = "to", &frame.To, InvalidPeerID
	case "refresh":
		about, field, missing = "token", &frame.Token, InvalidToken
	case "answer":
		about, field, missing = "command", &frame.Command, CommandNotFound
		status, present, ok := text("status")
		if !present {
			status = "succeeded"
		}
		if present && !ok || half("status") || !slices.Contains([]string{"received", "running", "succeeded", "failed", "rejected"}, status) || len(fields["data"]) > 16384 {
			return nil, MalformedMessage, requestID
		}
		frame.Status, frame.Data = status, fields["data"]
	}
	if delay, present := fields["delayMs"]; present && typ == "will" {
		ms, err := strconv.Atoi(string(delay))
		if err != nil || ms < 0 || ms > 86400000 || delay[0] == '-' {
			return nil, MalformedMessage, requestID
		}
		frame.DelayMs = int64(ms)
	}
	if typ == "will" && len(fields["data"]) > 4096 {
		return nil, MalformedMessage, requestID
	}
	value, present, ok := text(about)
	if present && !ok {
		return nil, MalformedMessage, requestID
	}
	*field = value
	if option, present := fields["includeSenderMetadata"]; present && typ == "subscribe" {
		if string(option) != "true" && string(option) != "false" {
			return nil, MalformedMessage, requestID
		}
		frame.IncludeSenderMetadata = string(option) == "true"
	}
	if mode, present, ok := text("commands"); present && typ == "subscribe" {
		if !ok || half("commands") || mode != "confirm" {
			return nil, MalformedMessage, requestID
		}
		frame.Commands = mode
	}
	if typ == "subscribe" && !referenceStart(fields, frame) || typ == "publish" && !referenceConditions(fields, frame) {
		return nil, MalformedMessage, requestID
	}
	if typ == "publish" || typ == "send" || typ == "will" {
		if frame.Data = fields["data"]; frame.Data == nil {
			return nil, MissingData, requestID
		}
	}
	if !present || half(about) {
		return nil, missing, requestID
	}
	return frame, "", ""
}

var referenceEpoch = regexp.MustCompile(`^[A-Za-z0-9]{1,32}$`)

// referenceOffset reads a whole number up to most.
func referenceOffset(value json.RawMessage, most uint64) (n uint64, ok bool) {
	return n, regexp.MustCompile(`^[0-9]+$`).Match(value) && json.Unmarshal(value, &n) == nil && n <= most
}

func referenceText(value json.RawMessage) (s string, ok bool) {
	return s, value[0] == '"' && !referenceHalf(string(value)) && json.Unmarshal(value, &s) == nil
}

// referenceStart reads since and last.
func referenceStart(fields map[string]json.RawMessage, frame *ClientFrame) bool {
	since, hasSince := fields["since"]
	last, hasLast := fields["last"]
	switch {
	case hasSince && hasLast:
		return false
	case hasLast:
		n, ok := referenceOffset(last, 1000)
		frame.Last = new(int(n))
		return ok
	case !hasSince:
		return true
	}
	var at map[string]json.RawMessage
	if since[0] != '{' || json.Unmarshal(since, &at) != nil || at["epoch"] == nil || at["offset"] == nil {
		return false
	}
	epoch, ok := referenceText(at["epoch"])
	offset, whole := referenceOffset(at["offset"], 1<<53-1)
	frame.Since = &Position{epoch, offset}
	return ok && whole && referenceEpoch.MatchString(epoch)
}

// referenceConditions reads idempotencyKey, ifOffset and ifEpoch.
func referenceConditions(fields map[string]json.RawMessage, frame *ClientFrame) bool {
	var ok bool
	if key := fields["idempotencyKey"]; key != nil {
		if frame.IdempotencyKey, ok = referenceText(key); !ok || len(frame.IdempotencyKey) < 1 || len(frame.IdempotencyKey) > 128 {
			return false
		}
	}
	if offset := fields["ifOffset"]; offset != nil {
		n, ok := referenceOffset(offset, 1<<53-1)
		if !ok {
			return false
		}
		frame.IfOffset = &n
	}
	if epoch := fields["ifEpoch"]; epoch != nil {
		frame.IfEpoch, ok = referenceText(epoch)
		return ok && frame.IfOffset != nil && referenceEpoch.MatchString(frame.IfEpoch)
	}
	return true
}

// FuzzDecode holds Decode to referenceDecode, and what the server makes of a frame to the rules for what it may send.
func FuzzDecode(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		var got ClientFrame
		err := Decode(b, &got)
		want, code, requestID := referenceDecode(b)
		if !bytes.Equal(b, before) {
			t.Fatalf("Decode(%q) has changed its input to %q", before, b)
		}

		var answer []byte
		if want == nil {
			if err == nil || err.Code != code || got.RequestID != requestID {
				t.Fatalf("Decode(%q): error %v, requestId %q, want %s, %q", b, err, got.RequestID, code, requestID)
			}
			answer = AppendError(nil, got.RequestID, err)
		} else {
			if err != nil || !got.equal(*want) {
				t.Fatalf("Decode(%q): error %v\ngot  %+v\nwant %+v", b, err, got, *want)
			}
			if got.Type != TypePublish {
				return
			}
			answer = AppendMessage(nil, got.Channel, "from", nil, got.Data)
		}
		if !json.Valid(answer) || !utf8.Valid(answer) {
			t.Fatalf("Decode(%q) leads to a frame that is not valid JSON in UTF-8: %q", b, answer)
		}
	})
}

// FuzzAppendString holds AppendString to what JSON parsers read back, and DecodeString to AppendString.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a", `"\/`, "\b\f\n\r\t\x00\x1f\x7f", "<&>\u2028\u2029", "é€😀\uFFFD", "\xff", "a\xe2\x82", "\xed\xa0\x80", `\u0041`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		literal := AppendString(nil, s)
		want := string([]rune(s)) // each invalid byte becomes U+FFFD
		var got string
		if err := json.Unmarshal(literal, &got); err != nil || got != want || !utf8.Valid(literal) {
			t.Fatalf("AppendString(%q) = %q, which encoding/json reads as %q, error %v", s, literal, got, err)
		}
		if got, err := DecodeString(literal); err != nil || got != want {
			t.Fatalf("AppendString(%q) = %q, which DecodeString reads as %q, %v", s, literal, got, err)
		}
	})
}

package protocol

import (
	"strings"
	"testing"
)

func TestHistoryFrames(t *testing.T) {
	at := Position{"6Hq2", MaxOffset}
	for want, got := range map[string][]byte{
		`{"type":"ack","requestId":"1","epoch":"6Hq2","offset":9007199254740991}`:                                                          AppendAckAt(nil, "1", at),
		`{"type":"ack","requestId":"1","epoch":"6Hq2","offset":0,"recovered":true}`:                                                        AppendRecovered(nil, "1", Position{Epoch: "6Hq2"}, true),
		`{"type":"ack","requestId":"a\"","recovered":false}`:                                                                               AppendRecovered(nil, `a"`, Position{}, false),
		`{"type":"gap","channel":"a\"b","epoch":"6Hq2","offset":9007199254740991}`:                                                         AppendGap(nil, `a"b`, at),
		`{"type":"error","requestId":"1","code":"offset_mismatch","message":"other","epoch":"6Hq2","offset":9007199254740991}`:             AppendErrorAt(nil, "1", Errorf(OffsetMismatch, "other"), at),
		`{"type":"error","code":"offset_mismatch","message":"` + OffsetMismatch.Sentence() + `","epoch":"6Hq2","offset":9007199254740991}`: AppendErrorAt(nil, "", &Error{Code: OffsetMismatch}, at),
	} {
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// Each field of a subscribe and a publish that is about history, sent wrong.
func TestDecodeRefusesHistory(t *testing.T) {
	position := `a position, such as {"epoch":"6Hq2","offset":41}`
	both := `since has no epoch or no offset; it must have both, such as {"epoch":"6Hq2","offset":41}`
	offset := "; it must be a whole number from 0 to 9007199254740991"
	last := "; it must be a whole number from 0 to 1000"
	epoch := "; it must be 1 to 32 letters and digits"
	long := strings.Repeat("é", 65)
	for _, tt := range []struct{ typ, fields, message string }{
		{"subscribe", `"since":null`, "since is null; it must be " + position},
		{"subscribe", `"since":"6Hq2:41"`, "since is a string; it must be " + position},
		{"subscribe", `"since":["6Hq2",41]`, "since is an array; it must be " + position},
		{"subscribe", `"since":41`, "since is a number; it must be " + position},
		{"subscribe", `"since":{}`, both},
		{"subscribe", `"since":{"epoch":"a"}`, both},
		{"subscribe", `"since":{"offset":1}`, both},
		{"subscribe", `"since":{"Epoch":"a","offset":1}`, both},
		{"subscribe", `"since":{"epoch":1,"offset":1}`, "since.epoch is a number; it must be a string of 1 to 32 letters and digits"},
		{"subscribe", `"since":{"epoch":"","offset":1}`, `since.epoch is ""` + epoch},
		{"subscribe", `"since":{"epoch":"a-b","offset":1}`, `since.epoch is "a-b"` + epoch},
		{"subscribe", `"since":{"epoch":"ü","offset":1}`, `since.epoch is "ü"` + epoch},
		{"subscribe", `"since":{"epoch":"\ud800","offset":1}`, `since.epoch is "\ud800"` + epoch},
		{"subscribe", `"since":{"epoch":"` + strings.Repeat("a", 33) + `","offset":1}`, `since.epoch is "` + strings.Repeat("a", 33) + `"` + epoch},
		{"subscribe", `"since":{"epoch":"` + long + `","offset":1}`, `since.epoch is "` + strings.Repeat("é", 19) + "…" + epoch},
		{"subscribe", `"since":{"epoch":"a","offset":-1}`, "since.offset is -1" + offset},
		{"subscribe", `"since":{"epoch":"a","offset":1.0}`, "since.offset is 1.0" + offset},
		{"subscribe", `"since":{"epoch":"a","offset":1e2}`, "since.offset is 1e2" + offset},
		{"subscribe", `"since":{"epoch":"a","offset":"1"}`, `since.offset is "1"` + offset},
		{"subscribe", `"since":{"epoch":"a","offset":9007199254740992}`, "since.offset is 9007199254740992" + offset},
		{"subscribe", `"since":{"epoch":"a","offset":1` + strings.Repeat("0", 60) + `}`, "since.offset is 1" + strings.Repeat("0", 39) + "…" + offset},
		{"subscribe", `"since":{"epoch":"a","offset":1},"last":1`, "since and last are both there; a replay begins at one of them"},
		{"subscribe", `"last":1001`, "last is 1001" + last},
		{"subscribe", `"last":-1`, "last is -1" + last},
		{"subscribe", `"last":1.5`, "last is 1.5" + last},
		{"subscribe", `"last":true`, "last is true" + last},
		{"subscribe", `"last":null`, "last is null" + last},
		{"publish", `"data":1,"ifOffset":-1`, "ifOffset is -1" + offset},
		{"publish", `"data":1,"ifOffset":null`, "ifOffset is null" + offset},
		{"publish", `"ifOffset":null`, "ifOffset is null" + offset}, // before missing data
		{"publish", `"data":1,"ifOffset":1,"ifEpoch":1`, "ifEpoch is a number; it must be a string of 1 to 32 letters and digits"},
		{"publish", `"data":1,"ifOffset":1,"ifEpoch":""`, `ifEpoch is ""` + epoch},
		{"publish", `"data":1,"ifEpoch":"a"`, "ifEpoch is there without ifOffset; an epoch alone is no condition"},
		{"publish", `"data":1,"idempotencyKey":1`, "idempotencyKey is a number; it must be a string of 1 to 128 bytes"},
		{"publish", `"data":1,"idempotencyKey":null`, "idempotencyKey is null; it must be a string of 1 to 128 bytes"},
		{"publish", `"data":1,"idempotencyKey":""`, "idempotencyKey is 0 bytes long; it must have 1 to 128"},
		{"publish", `"data":1,"idempotencyKey":"` + long + `"`, "idempotencyKey is 130 bytes long; it must have 1 to 128"},
		{"publish", `"data":1,"idempotencyKey":"\udfff"`, "idempotencyKey " + ErrHalfCharacter.Error()},
	} {
		frame := `{"type":"` + tt.typ + `","channel":"a","requestId":"r",` + tt.fields + `}`
		var f ClientFrame
		if err := Decode([]byte(frame), &f); err == nil || err.Code != MalformedMessage || err.Message != tt.message || f.RequestID != "r" {
			t.Errorf("Decode(%s)\ngot  %v\nwant %s", frame, err, tt.message)
		}
	}
	var f ClientFrame
	if err := Decode([]byte(`{"type":"publish","channel":1,"ifOffset":null}`), &f); err == nil || err.Message != "channel is a number; it must be a string" {
		t.Errorf("the first that is wrong is told: %v", err)
	}
}

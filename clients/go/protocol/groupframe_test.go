package protocol

import (
	"strings"
	"testing"
)

func TestGroupFrames(t *testing.T) {
	for want, got := range map[string][]byte{
		`{"type":"message","channel":"a\"b","from":"p","data":[1.0],"group":"g","publishedAt":7,"ackId":"x-_","attempt":2}`:            AppendGroupMessage(nil, `a"b`, "p", nil, []byte("[1.0]"), GroupDelivery{"g", "x-_", 7, 2}),
		`{"type":"message","channel":"a","from":"p","fromMetadata":{},"data":1,"group":"h-1","publishedAt":0,"ackId":"x","attempt":1}`: AppendGroupMessage(nil, "a", "p", []byte("{}"), []byte("1"), GroupDelivery{"h-1", "x", 0, 1}),
		`{"type":"error","code":"group_not_found","message":"no","group":"g\"h"}`:                                                      AppendGroupError(nil, Errorf(GroupNotFound, "no"), `g"h`),
		`{"type":"ack","requestId":"1"}`:                             AppendGroupAck(nil, "1", nil),
		`{"type":"ack","requestId":"1","leaseLost":["a"]}`:           AppendGroupAck(nil, "1", []string{"a"}),
		`{"type":"ack","requestId":"1","leaseLost":["a\"","b","c"]}`: AppendGroupAck(nil, "1", []string{`a"`, "b", "c"}),
	} {
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// Each field that is about groups, sent wrong.
func TestDecodeRefusesGroups(t *testing.T) {
	const (
		group    = "; it must be the name of a group of the app, 1–64 letters, digits, _ and -"
		inFlight = "; it must be a whole number from 1 to 1000"
		delay    = "nack[1].delayMs is %; it must be a whole number from 0 to 43200000"
		object   = `; it must be an object {"ackId","delayMs"}`
	)
	for _, tt := range []struct {
		typ, fields string
		code        Code
		message     string
	}{
		{"subscribe", `"group":"g","channel":"a"`, MalformedMessage, "channel and group are both there; a subscription is to one of them"},
		{"unsubscribe", `"group":"g","channel":"a"`, MalformedMessage, "channel and group are both there; a subscription is to one of them"},
		{"subscribe", `"group":null`, MalformedMessage, "group is null; it must be the name of a group, a string"},
		{"unsubscribe", `"group":7`, MalformedMessage, "group is a number; it must be the name of a group, a string"},
		{"subscribe", `"group":""`, GroupNotFound, `group is ""` + group},
		{"subscribe", `"group":"\ud800"`, GroupNotFound, `group is "\ud800"` + group},
		{"unsubscribe", `"group":"` + strings.Repeat("x", 65) + `"`, GroupNotFound, `group is "` + strings.Repeat("x", 39) + "…" + group},
		{"subscribe", `"group":"g","includeSenderMetadata":1`, MalformedMessage, "includeSenderMetadata is a number; it must be true or false"},
		{"subscribe", `"group":"g","maxInFlight":0`, MalformedMessage, "maxInFlight is 0" + inFlight},
		{"subscribe", `"group":"g","maxInFlight":1001`, MalformedMessage, "maxInFlight is 1001" + inFlight},
		{"subscribe", `"group":"g","maxInFlight":1.5`, MalformedMessage, "maxInFlight is 1.5" + inFlight},
		{"subscribe", `"group":"g","maxInFlight":"5"`, MalformedMessage, `maxInFlight is "5"` + inFlight},
		{"group_ack", `"ackIds":null`, MalformedMessage, "ackIds is null; it must be an array of strings"},
		{"group_ack", `"ackIds":"a"`, MalformedMessage, "ackIds is a string; it must be an array of strings"},
		{"group_ack", `"ackIds":["a",7]`, MalformedMessage, "ackIds[1] is a number; it must be the ackId of a message, a string"},
		{"group_ack", `"nack":{}`, MalformedMessage, `nack is an object; it must be an array of objects {"ackId","delayMs"}`},
		{"group_ack", `"nack":["a"]`, MalformedMessage, "nack[0] is a string" + object},
		{"group_ack", `"nack":[{"delayMs":5}]`, MalformedMessage, "nack[0] has no ackId; it must name a message"},
		{"group_ack", `"nack":[{"ackId":null}]`, MalformedMessage, "nack[0].ackId is null; it must be the ackId of a message, a string"},
		{"group_ack", `"nack":[{"ackId":"a"},{"ackId":"b","delayMs":-1}]`, MalformedMessage, strings.Replace(delay, "%", "-1", 1)},
		{"group_ack", `"nack":[{"ackId":"a"},{"ackId":"b","delayMs":43200001}]`, MalformedMessage, strings.Replace(delay, "%", "43200001", 1)},
		{"group_ack", `"nack":[{"ackId":"a"},{"ackId":"b","delayMs":null}]`, MalformedMessage, strings.Replace(delay, "%", "null", 1)},
		{"group_ack", `"x":1`, MalformedMessage, "ackIds and nack name 0 messages together; they must name 1 to 1000"},
		{"group_ack", `"ackIds":[],"nack":[]`, MalformedMessage, "ackIds and nack name 0 messages together; they must name 1 to 1000"},
		{"group_ack", `"ackIds":[` + strings.Repeat(`"a",`, 1000) + `"a"]`, MalformedMessage, "ackIds names 1001 messages; at most 1000 are allowed"},
		{"group_ack", `"ackIds":[` + strings.Repeat(`"a",`, 999) + `"a"],"nack":[{"ackId":"a"}]`, MalformedMessage, "ackIds and nack name 1001 messages together; they must name 1 to 1000"},
	} {
		var f ClientFrame
		err := Decode([]byte(`{"type":"`+tt.typ+`","requestId":"r",`+tt.fields+`}`), &f)
		if err == nil || err.Code != tt.code || err.Message != tt.message || f.RequestID != "r" {
			t.Errorf("%s with %.60s is refused with %v, want %s: %s", tt.typ, tt.fields, err, tt.code, tt.message)
		}
	}
}

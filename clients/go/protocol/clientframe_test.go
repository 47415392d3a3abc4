package protocol

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// equal compares two frames, an absent Data being different from an empty one.
func (f ClientFrame) equal(g ClientFrame) bool {
	return f.Group == g.Group && f.MaxInFlight == g.MaxInFlight && slices.Equal(f.AckIDs, g.AckIDs) && slices.Equal(f.Nack, g.Nack) && f.Type == g.Type && f.RequestID == g.RequestID && f.Channel == g.Channel &&
		f.IncludeSenderMetadata == g.IncludeSenderMetadata && f.Commands == g.Commands && f.To == g.To && f.Token == g.Token &&
		f.Command == g.Command && f.Status == g.Status && f.DelayMs == g.DelayMs && f.IdempotencyKey == g.IdempotencyKey && f.IfEpoch == g.IfEpoch &&
		same(f.Since, g.Since) && same(f.Last, g.Last) && same(f.IfOffset, g.IfOffset) &&
		bytes.Equal(f.Data, g.Data) && (f.Data == nil) == (g.Data == nil)
}

// same compares what may be missing.
func same[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

func TestDecode(t *testing.T) {
	tests := []struct {
		name, json string
		want       ClientFrame
	}{
		{"subscribe", `{"type":"subscribe","channel":"a/b"}`, ClientFrame{Type: TypeSubscribe, Channel: "a/b"}},
		{"subscribe with all", `{"type":"subscribe","channel":"a","includeSenderMetadata":true,"requestId":"s1"}`,
			ClientFrame{Type: TypeSubscribe, Channel: "a", IncludeSenderMetadata: true, RequestID: "s1"}},
		{"subscribe, option off", `{"type":"subscribe","channel":"a","includeSenderMetadata":false}`, ClientFrame{Type: TypeSubscribe, Channel: "a"}},
		{"subscribe to a pattern", `{"type":"subscribe","channel":"devices/*/events"}`, ClientFrame{Type: TypeSubscribe, Channel: "devices/*/events"}},
		{"unsubscribe", `{"type":"unsubscribe","channel":"a","requestId":"u1"}`, ClientFrame{Type: TypeUnsubscribe, Channel: "a", RequestID: "u1"}},
		{"publish", `{"type":"publish","channel":"a","data":{"x":1},"requestId":"p1"}`,
			ClientFrame{Type: TypePublish, Channel: "a", Data: []byte(`{"x":1}`), RequestID: "p1"}},
		{"publish null", `{"type":"publish","channel":"a","data":null}`, ClientFrame{Type: TypePublish, Channel: "a", Data: []byte(`null`)}},
		{"publish an empty string", `{"type":"publish","channel":"a","data":""}`, ClientFrame{Type: TypePublish, Channel: "a", Data: []byte(`""`)}},
		{"send", `{"type":"send","to":"p\u0041","data":[1.0],"requestId":"d1"}`,
			ClientFrame{Type: TypeSend, To: "pA", Data: []byte(`[1.0]`), RequestID: "d1"}},
		{"send null", `{"type":"send","to":"p","data":null}`, ClientFrame{Type: TypeSend, To: "p", Data: []byte(`null`)}},
		{"refresh", `{"type":"refresh","token":"a.b.c","requestId":"t1"}`, ClientFrame{Type: TypeRefresh, Token: "a.b.c", RequestID: "t1"}},
		{"ping", `{"type":"ping"}`, ClientFrame{Type: TypePing}},
		{"subscribe that confirms", `{"type":"subscribe","channel":"a","commands":"confirm"}`, ClientFrame{Type: TypeSubscribe, Channel: "a", Commands: "confirm"}},
		{"the shortest answer", `{"type":"answer","command":"cmd_1"}`, ClientFrame{Type: TypeAnswer, Command: "cmd_1", Status: "succeeded"}},
		{"answer with all", `{"type":"answer","command":"cmd_1","status":"running","data":{"pct":5},"requestId":"9"}`,
			ClientFrame{Type: TypeAnswer, Command: "cmd_1", Status: "running", Data: []byte(`{"pct":5}`), RequestID: "9"}},
		{"answer with null", `{"type":"answer","command":"cmd_1","status":"r\u0065jected","data":null}`,
			ClientFrame{Type: TypeAnswer, Command: "cmd_1", Status: "rejected", Data: []byte("null")}},
		{"answer of 16 KiB", `{"type":"answer","command":"c","data":"` + strings.Repeat("x", 16<<10-2) + `"}`,
			ClientFrame{Type: TypeAnswer, Command: "c", Status: "succeeded", Data: []byte(`"` + strings.Repeat("x", 16<<10-2) + `"`)}},
		{"subscribe since a position", `{"type":"subscribe","channel":"a","since":{"v":1,"offset":9007199254740991,"epo\u0063h":"6H\u0071"}}`,
			ClientFrame{Type: TypeSubscribe, Channel: "a", Since: &Position{"6Hq", MaxOffset}}},
		{"subscribe since the first", `{"type":"subscribe","channel":"a","since":{"epoch":"` + strings.Repeat("z", 32) + `","offset":0}}`,
			ClientFrame{Type: TypeSubscribe, Channel: "a", Since: &Position{strings.Repeat("z", 32), 0}}},
		{"subscribe with the last", `{"type":"subscribe","channel":"a","last":1000}`, ClientFrame{Type: TypeSubscribe, Channel: "a", Last: new(1000)}},
		{"subscribe with none", `{"type":"subscribe","channel":"a","last":0}`, ClientFrame{Type: TypeSubscribe, Channel: "a", Last: new(int)}},
		{"publish under conditions", `{"type":"publish","channel":"a","data":1,"idempotencyKey":"\n","ifOffset":0,"ifEpoch":"0"}`,
			ClientFrame{Type: TypePublish, Channel: "a", Data: []byte("1"), IdempotencyKey: "\n", IfOffset: new(uint64), IfEpoch: "0"}},
		{"publish does not use what a subscribe uses", `{"type":"publish","channel":"a","data":1,"since":1,"last":"x"}`, ClientFrame{Type: TypePublish, Channel: "a", Data: []byte("1")}},
		{"send and unsubscribe use no conditions", `{"type":"send","to":"p","data":1,"idempotencyKey":2,"ifOffset":-1,"ifEpoch":4}`, ClientFrame{Type: TypeSend, To: "p", Data: []byte("1")}},
		{"publish does not use what answers use", `{"type":"publish","channel":"a","data":1,"commands":2,"command":3,"status":4}`, ClientFrame{Type: TypePublish, Channel: "a", Data: []byte("1")}},
		{"answer does not use the channel", `{"type":"answer","command":"c","channel":1,"commands":2,"to":3}`, ClientFrame{Type: TypeAnswer, Command: "c", Status: "succeeded"}},
		{"will", `{"type":"will","channel":"a","data":{"gone":true}}`, ClientFrame{Type: TypeWill, Channel: "a", Data: []byte(`{"gone":true}`)}},
		{"will with all", `{"type":"will","channel":"a","data":null,"delayMs":86400000,"requestId":"w"}`,
			ClientFrame{Type: TypeWill, Channel: "a", Data: []byte("null"), DelayMs: 86400000, RequestID: "w"}},
		{"will of 4 KiB, without delay", `{"type":"will","channel":"a","delayMs":0,"data":"` + strings.Repeat("x", 4<<10-2) + `"}`,
			ClientFrame{Type: TypeWill, Channel: "a", Data: []byte(`"` + strings.Repeat("x", 4<<10-2) + `"`)}},
		{"will that is taken back", `{"type":"will","channel":null,"requestId":"w"}`, ClientFrame{Type: TypeWill, RequestID: "w"}},
		{"will that is taken back uses nothing else", `{"type":"will","channel":null,"data":1,"delayMs":"x"}`, ClientFrame{Type: TypeWill}},
		{"will does not use what others use", `{"type":"will","channel":"a","data":1,"to":2,"token":3,"command":4,"status":5,"commands":6}`, ClientFrame{Type: TypeWill, Channel: "a", Data: []byte("1")}},
		{"publish does not use the delay", `{"type":"publish","channel":"a","data":1,"delayMs":"x"}`, ClientFrame{Type: TypePublish, Channel: "a", Data: []byte("1")}},
		{"subscribe to a group", `{"type":"subscribe","group":"ing\u0065st","requestId":"g"}`, ClientFrame{Type: TypeSubscribe, Group: "ingest", MaxInFlight: 100, RequestID: "g"}},
		{"subscribe to a group with all", `{"type":"subscribe","group":"a","maxInFlight":1000,"includeSenderMetadata":true}`,
			ClientFrame{Type: TypeSubscribe, Group: "a", MaxInFlight: 1000, IncludeSenderMetadata: true}},
		{"subscribe to a channel does not use maxInFlight", `{"type":"subscribe","channel":"a","maxInFlight":"x"}`, ClientFrame{Type: TypeSubscribe, Channel: "a"}},
		{"unsubscribe from a group", `{"type":"unsubscribe","group":"a"}`, ClientFrame{Type: TypeUnsubscribe, Group: "a", MaxInFlight: 100}},
		{"publish does not use what groups use", `{"type":"publish","channel":"a","data":1,"group":2,"maxInFlight":3,"ackIds":4,"nack":5}`, ClientFrame{Type: TypePublish, Channel: "a", Data: []byte("1")}},
		{"group_ack", `{"type":"group_ack","ackIds":["a","\u0062"],"requestId":"g"}`, ClientFrame{Type: TypeGroupAck, AckIDs: []string{"a", "b"}, RequestID: "g"}},
		{"group_ack with all", `{"type":"group_ack","ackIds":[],"nack":[{"ackId":"a","v":1},{"delayMs":43200000,"ackId":"b"}],"channel":1}`,
			ClientFrame{Type: TypeGroupAck, Nack: []GroupNack{{"a", 0}, {"b", 43200000}}}},
		{"group_ack of 1000", `{"type":"group_ack","ackIds":[` + strings.Repeat(`"",`, 998) + `""],"nack":[{"ackId":""}]}`,
			ClientFrame{Type: TypeGroupAck, AckIDs: make([]string, 999), Nack: make([]GroupNack, 1)}},

		{"any order of fields", `{"data":1,"requestId":"p","channel":"a","type":"publish"}`, ClientFrame{Type: TypePublish, Channel: "a", Data: []byte("1"), RequestID: "p"}},
		{"white space anywhere", " {\t\"type\" : \"publish\" ,\r\n\"channel\": \"a\",\"data\" : [1 , 2] } \n",
			ClientFrame{Type: TypePublish, Channel: "a", Data: []byte(`[1 , 2]`)}},
		{"escaped names and texts", `{"typ\u0065":"pu\u0062lish","ch\u0061nnel":"\u00e9\/","d\u0061ta":"\u0041","requestI\u0064":"\n"}`,
			ClientFrame{Type: TypePublish, Channel: "é/", Data: []byte(`"\u0041"`), RequestID: "\n"}},
		{"empty channel is left to who uses it", `{"type":"subscribe","channel":""}`, ClientFrame{Type: TypeSubscribe}},
		{"requestId of 128 bytes", `{"type":"subscribe","channel":"a","requestId":"` + strings.Repeat("x", 128) + `"}`,
			ClientFrame{Type: TypeSubscribe, Channel: "a", RequestID: strings.Repeat("x", 128)}},
		{"requestId is measured unescaped", `{"type":"subscribe","channel":"a","requestId":"` + strings.Repeat(`\u0078`, 128) + `"}`,
			ClientFrame{Type: TypeSubscribe, Channel: "a", RequestID: strings.Repeat("x", 128)}},

		{"unknown fields", `{"type":"ping","v":2,"nested":{"type":"publish"}}`, ClientFrame{Type: TypePing}},
		{"names are case-sensitive", `{"type":"unsubscribe","channel":"a","Channel":1,"TYPE":2,"requestid":3}`, ClientFrame{Type: TypeUnsubscribe, Channel: "a"}},
		{"ping uses nothing else", `{"type":"ping","requestId":7,"channel":[],"data":1,"includeSenderMetadata":null}`, ClientFrame{Type: TypePing}},
		{"ping has no requestId", `{"type":"ping","requestId":"p"}`, ClientFrame{Type: TypePing}},
		{"subscribe does not use data", `{"type":"subscribe","channel":"a","data":1}`, ClientFrame{Type: TypeSubscribe, Channel: "a"}},
		{"send does not use channel and token", `{"type":"send","to":"p","data":1,"channel":2,"token":3}`, ClientFrame{Type: TypeSend, To: "p", Data: []byte("1")}},
		{"refresh does not use channel and to", `{"type":"refresh","token":"t","channel":2,"to":3,"data":4}`, ClientFrame{Type: TypeRefresh, Token: "t"}},
		{"subscribe does not use to and token", `{"type":"subscribe","channel":"a","to":1,"token":2}`, ClientFrame{Type: TypeSubscribe, Channel: "a"}},
		{"publish does not use the option", `{"type":"publish","channel":"a","data":1,"includeSenderMetadata":"yes"}`, ClientFrame{Type: TypePublish, Channel: "a", Data: []byte("1")}},
		{"unsubscribe does not use the option", `{"type":"unsubscribe","channel":"a","includeSenderMetadata":true}`, ClientFrame{Type: TypeUnsubscribe, Channel: "a"}},

		{"last of duplicates counts", `{"type":"subscribe","type":"publish","channel":"a","channel":"b","data":1,"data":2,"requestId":"x","requestId":"y"}`,
			ClientFrame{Type: TypePublish, Channel: "b", Data: []byte("2"), RequestID: "y"}},
		{"last of duplicates counts, escaped or not", `{"channel":"a","type":"unsubscribe","\u0063hannel":"b"}`, ClientFrame{Type: TypeUnsubscribe, Channel: "b"}},
		{"earlier duplicates may have the wrong type", `{"type":1,"type":"subscribe","channel":{},"channel":"a","requestId":0,"requestId":"r"}`,
			ClientFrame{Type: TypeSubscribe, Channel: "a", RequestID: "r"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// What was in the frame before must not show through.
			got := ClientFrame{Type: TypePing, RequestID: "old", Channel: "old", IncludeSenderMetadata: true, Data: []byte("old")}
			if err := Decode([]byte(tt.json), &got); err != nil {
				t.Fatalf("Decode(%s): %v", tt.json, err)
			}
			if !got.equal(tt.want) {
				t.Errorf("Decode(%s)\ngot  %+v\nwant %+v", tt.json, got, tt.want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	long := strings.Repeat("x", 129)
	tests := []struct {
		name, json string
		code       Code
		message    string
		requestID  string
	}{
		{"nothing", ``, MalformedMessage, "a frame must be one JSON object: broken JSON: it ends after 0 bytes: expected an object, beginning with '{'", ""},
		{"an array", `[{"type":"ping"}]`, MalformedMessage, "a frame must be one JSON object: broken JSON at byte 0: expected an object, beginning with '{'", ""},
		{"broken after a good requestId", `{"requestId":"r","type":"ping",}`, MalformedMessage, "a frame must be one JSON object: broken JSON at byte 31: expected a name in double quotes", ""},
		{"two frames in one", `{"type":"ping"}{"type":"ping"}`, MalformedMessage, "a frame must be one JSON object: broken JSON at byte 15: expected nothing after the object", ""},
		{"invalid UTF-8 inside data", "{\"type\":\"publish\",\"channel\":\"a\",\"data\":\"\xff\"}", MalformedMessage, "a frame must be one JSON object: broken JSON at byte 40: not valid UTF-8", ""},
		{"invalid UTF-8 in an unknown field", "{\"type\":\"ping\",\"x\":\"\xff\"}", MalformedMessage, "a frame must be one JSON object: broken JSON at byte 20: not valid UTF-8", ""},

		{"no type", `{}`, MalformedMessage, `type is missing; it must be a string, as in {"type":"ping"}`, ""},
		{"no type, requestId", `{"requestId":"r"}`, MalformedMessage, `type is missing; it must be a string, as in {"type":"ping"}`, "r"},
		{"type in upper case is another field", `{"Type":"ping"}`, MalformedMessage, `type is missing; it must be a string, as in {"type":"ping"}`, ""},
		{"type null", `{"type":null,"requestId":"r"}`, MalformedMessage, "type is null; it must be a string", "r"},
		{"type a number", `{"type":-1}`, MalformedMessage, "type is a number; it must be a string", ""},
		{"the last type counts", `{"type":"ping","type":["ping"]}`, MalformedMessage, "type is an array; it must be a string", ""},

		{"unknown type", `{"type":"shout","requestId":"r"}`, UnknownType, `type "shout" is unknown; it must be one of ["subscribe" "unsubscribe" "publish" "send" "ping" "refresh" "answer" "will" "group_ack"]`, "r"},
		{"empty type", `{"type":""}`, UnknownType, `type "" is unknown; it must be one of ["subscribe" "unsubscribe" "publish" "send" "ping" "refresh" "answer" "will" "group_ack"]`, ""},
		{"type in another case", `{"type":"Ping"}`, UnknownType, `type "Ping" is unknown; it must be one of ["subscribe" "unsubscribe" "publish" "send" "ping" "refresh" "answer" "will" "group_ack"]`, ""},
		{"overlong type is cut", `{"type":"` + strings.Repeat("é", 5000) + `"}`, UnknownType,
			`type "` + strings.Repeat("é", 40) + `" is unknown; it must be one of ["subscribe" "unsubscribe" "publish" "send" "ping" "refresh" "answer" "will" "group_ack"]`, ""},
		{"unknown type, bad requestId", `{"type":"shout","requestId":1}`, MalformedMessage, "requestId is a number; it must be a string of 1 to 128 bytes", ""},
		{"unknown type does not use channel", `{"type":"shout","channel":1}`, UnknownType, `type "shout" is unknown; it must be one of ["subscribe" "unsubscribe" "publish" "send" "ping" "refresh" "answer" "will" "group_ack"]`, ""},

		{"requestId null", `{"type":"subscribe","channel":"a","requestId":null}`, MalformedMessage, "requestId is null; it must be a string of 1 to 128 bytes", ""},
		{"requestId an object", `{"type":"publish","channel":"a","data":1,"requestId":{}}`, MalformedMessage, "requestId is an object; it must be a string of 1 to 128 bytes", ""},
		{"requestId empty", `{"type":"subscribe","channel":"a","requestId":""}`, MalformedMessage, "requestId is empty; it must be 1 to 128 bytes long, or left out", ""},
		{"requestId too long", `{"type":"subscribe","channel":"a","requestId":"` + long + `"}`, MalformedMessage, "requestId is 129 bytes long; at most 128 are allowed", ""},
		{"requestId too long in bytes", `{"type":"subscribe","channel":"a","requestId":"` + strings.Repeat("é", 65) + `"}`, MalformedMessage, "requestId is 130 bytes long; at most 128 are allowed", ""},
		{"the last requestId counts", `{"type":"subscribe","channel":"a","requestId":"r","requestId":true}`, MalformedMessage, "requestId is a boolean; it must be a string of 1 to 128 bytes", ""},
		{"requestId is judged before the rest", `{"type":"publish","channel":1,"requestId":1}`, MalformedMessage, "requestId is a number; it must be a string of 1 to 128 bytes", ""},

		{"channel null", `{"type":"subscribe","channel":null,"requestId":"r"}`, MalformedMessage, "channel is null; it must be a string", "r"},
		{"channel a number", `{"type":"unsubscribe","channel":5,"requestId":"r"}`, MalformedMessage, "channel is a number; it must be a string", "r"},
		{"channel an array", `{"type":"publish","channel":["a"],"requestId":"r"}`, MalformedMessage, "channel is an array; it must be a string", "r"},
		{"the last channel counts", `{"type":"subscribe","channel":"a","channel":false}`, MalformedMessage, "channel is a boolean; it must be a string", ""},
		{"option a string", `{"type":"subscribe","channel":"a","includeSenderMetadata":"true","requestId":"r"}`, MalformedMessage, "includeSenderMetadata is a string; it must be true or false", "r"},
		{"option null", `{"type":"subscribe","channel":"a","includeSenderMetadata":null}`, MalformedMessage, "includeSenderMetadata is null; it must be true or false", ""},
		{"option 1", `{"type":"subscribe","includeSenderMetadata":1}`, MalformedMessage, "includeSenderMetadata is a number; it must be true or false", ""},

		{"subscribe without channel", `{"type":"subscribe","requestId":"r"}`, InvalidChannel, "channel is missing", "r"},
		{"unsubscribe without channel", `{"type":"unsubscribe"}`, InvalidChannel, "channel is missing", ""},
		{"publish without channel", `{"type":"publish","data":1,"requestId":"r"}`, InvalidChannel, "channel is missing", "r"},
		{"publish without data", `{"type":"publish","channel":"a","requestId":"r"}`, MissingData, "data is missing; it may be any JSON value, null included", "r"},
		{"publish without data and channel", `{"type":"publish"}`, MissingData, "data is missing; it may be any JSON value, null included", ""},
		{"send to null", `{"type":"send","to":null,"data":1,"requestId":"r"}`, MalformedMessage, "to is null; it must be a string", "r"},
		{"send to a number", `{"type":"send","to":7,"data":1}`, MalformedMessage, "to is a number; it must be a string", ""},
		{"send without data", `{"type":"send","to":"p","requestId":"r"}`, MissingData, "data is missing; it may be any JSON value, null included", "r"},
		{"send without to", `{"type":"send","data":1,"requestId":"r"}`, InvalidPeerID, "to is missing", "r"},
		{"send without data and to", `{"type":"send"}`, MissingData, "data is missing; it may be any JSON value, null included", ""},
		{"a wrong to comes before missing data", `{"type":"send","to":[]}`, MalformedMessage, "to is an array; it must be a string", ""},
		{"refresh with a token that is a number", `{"type":"refresh","token":1,"requestId":"r"}`, MalformedMessage, "token is a number; it must be a string", "r"},
		{"refresh with null", `{"type":"refresh","token":null}`, MalformedMessage, "token is null; it must be a string", ""},
		{"refresh without token", `{"type":"refresh","requestId":"r"}`, InvalidToken, "token is missing", "r"},
		{"half a character as type", `{"type":"ping\ud800","requestId":"r"}`, MalformedMessage, "type " + ErrHalfCharacter.Error(), "r"},
		{"half a character in requestId", `{"type":"ping2","requestId":"\udfff"}`, MalformedMessage, "requestId " + ErrHalfCharacter.Error(), ""},
		{"half a character in channel", `{"type":"publish","channel":"a\ud800b","data":1,"requestId":"r"}`, InvalidChannel, "channel " + ErrHalfCharacter.Error(), "r"},
		{"half a character in a subscribe", `{"type":"subscribe","channel":"\ud83d\ud83d\ude00"}`, InvalidChannel, "channel " + ErrHalfCharacter.Error(), ""},
		{"half a character in an unsubscribe", `{"type":"unsubscribe","channel":"\ude00\ud83d"}`, InvalidChannel, "channel " + ErrHalfCharacter.Error(), ""},
		{"half a character in to", `{"type":"send","to":"\udc00","data":1,"requestId":"r"}`, InvalidPeerID, "to " + ErrHalfCharacter.Error(), "r"},
		{"half a character in token", `{"type":"refresh","token":"a.b.\ud800"}`, InvalidToken, "token " + ErrHalfCharacter.Error(), ""},
		{"data of 129 levels", `{"type":"publish","channel":"a","requestId":"r","data":` + strings.Repeat("[", 129) + strings.Repeat("]", 129) + `}`,
			MalformedMessage, "a frame must be one JSON object: broken JSON at byte 183: nested too deep, expected at most 128 levels", ""},

		{"a wrong channel comes before a wrong option", `{"type":"subscribe","channel":1,"includeSenderMetadata":1}`, MalformedMessage, "channel is a number; it must be a string", ""},
		{"a wrong option comes before a missing channel", `{"type":"subscribe","includeSenderMetadata":[]}`, MalformedMessage, "includeSenderMetadata is an array; it must be true or false", ""},
		{"commands a boolean", `{"type":"subscribe","channel":"a","commands":true,"requestId":"r"}`, MalformedMessage, `commands is a boolean; it must be "confirm", or left out`, "r"},
		{"commands null", `{"type":"subscribe","channel":"a","commands":null}`, MalformedMessage, `commands is null; it must be "confirm", or left out`, ""},
		{"commands another word", `{"type":"subscribe","channel":"a","commands":"Confirm"}`, MalformedMessage, `commands is "Confirm"; it must be "confirm", or left out`, ""},
		{"commands a digit", `{"type":"subscribe","channel":"a","commands":1}`, MalformedMessage, `commands is a number; it must be "confirm", or left out`, ""},
		{"a wrong option comes before wrong commands", `{"type":"subscribe","includeSenderMetadata":0,"commands":1}`, MalformedMessage, "includeSenderMetadata is a number; it must be true or false", ""},
		{"answer without command", `{"type":"answer","requestId":"r"}`, CommandNotFound, "command is missing", "r"},
		{"answer to a number", `{"type":"answer","command":1}`, MalformedMessage, "command is a number; it must be a string", ""},
		{"answer to null", `{"type":"answer","command":null}`, MalformedMessage, "command is null; it must be a string", ""},
		{"half a character in command", `{"type":"answer","command":"\ud800"}`, CommandNotFound, "command " + ErrHalfCharacter.Error(), ""},
		{"answer with an unknown status", `{"type":"answer","command":"c","status":"sent","requestId":"r"}`, MalformedMessage,
			`status "sent" is unknown; it must be one of ["received" "running" "succeeded" "failed" "rejected"]`, "r"},
		{"answer with an empty status", `{"type":"answer","command":"c","status":""}`, MalformedMessage,
			`status "" is unknown; it must be one of ["received" "running" "succeeded" "failed" "rejected"]`, ""},
		{"answer with a status in capitals", `{"type":"answer","command":"c","status":"FAILED"}`, MalformedMessage,
			`status "FAILED" is unknown; it must be one of ["received" "running" "succeeded" "failed" "rejected"]`, ""},
		{"answer with null for a status", `{"type":"answer","command":"c","status":null}`, MalformedMessage, "status is null; it must be a string", ""},
		{"answer with a number for a status", `{"type":"answer","command":"c","status":200}`, MalformedMessage, "status is a number; it must be a string", ""},
		{"answer over 16 KiB", `{"type":"answer","command":"c","requestId":"r","data":"` + strings.Repeat("x", 16<<10-1) + `"}`, MalformedMessage, "data is 16385 bytes long; an answer has at most 16384", "r"},
		{"a wrong status comes before a missing command", `{"type":"answer","status":1}`, MalformedMessage, "status is a number; it must be a string", ""},
		{"will without channel", `{"type":"will","data":1,"requestId":"r"}`, InvalidChannel, "channel is missing", "r"},
		{"will on a number", `{"type":"will","channel":1,"data":1,"requestId":"r"}`, MalformedMessage, "channel is a number; it must be a string, or null to take the will back", "r"},
		{"will on false", `{"type":"will","channel":false}`, MalformedMessage, "channel is a boolean; it must be a string, or null to take the will back", ""},
		{"half a character in a will's channel", `{"type":"will","channel":"\ud800","data":1}`, InvalidChannel, "channel " + ErrHalfCharacter.Error(), ""},
		{"will without data", `{"type":"will","channel":"a","requestId":"r"}`, MissingData, "data is missing; it may be any JSON value, null included", "r"},
		{"will without anything", `{"type":"will"}`, MissingData, "data is missing; it may be any JSON value, null included", ""},
		{"will over 4 KiB", `{"type":"will","channel":"a","requestId":"r","data":"` + strings.Repeat("x", 4<<10-1) + `"}`, MalformedMessage, "data is 4097 bytes long; a will has at most 4096", "r"},
		{"will with a delay that is a string", `{"type":"will","channel":"a","data":1,"delayMs":"5","requestId":"r"}`, MalformedMessage, "delayMs is a string; it must be a whole number of milliseconds", "r"},
		{"will with a delay that is null", `{"type":"will","channel":"a","data":1,"delayMs":null}`, MalformedMessage, "delayMs is null; it must be a whole number of milliseconds", ""},
		{"will with a negative delay", `{"type":"will","channel":"a","data":1,"delayMs":-1}`, MalformedMessage, "delayMs is -1; it must be a whole number of milliseconds from 0 to 86400000, in plain digits", ""},
		{"will with -0", `{"type":"will","channel":"a","data":1,"delayMs":-0}`, MalformedMessage, "delayMs is -0; it must be a whole number of milliseconds from 0 to 86400000, in plain digits", ""},
		{"will with over a day", `{"type":"will","channel":"a","data":1,"delayMs":86400001}`, MalformedMessage, "delayMs is 86400001; it must be a whole number of milliseconds from 0 to 86400000, in plain digits", ""},
		{"will with a fraction", `{"type":"will","channel":"a","data":1,"delayMs":1.5}`, MalformedMessage, "delayMs is 1.5; it must be a whole number of milliseconds from 0 to 86400000, in plain digits", ""},
		{"will with an exponent", `{"type":"will","channel":"a","data":1,"delayMs":1e3}`, MalformedMessage, "delayMs is 1e3; it must be a whole number of milliseconds from 0 to 86400000, in plain digits", ""},
		{"will with a delay beyond all numbers", `{"type":"will","channel":"a","data":1,"delayMs":` + strings.Repeat("9", 50) + `}`, MalformedMessage,
			"delayMs is " + strings.Repeat("9", 40) + "; it must be a whole number of milliseconds from 0 to 86400000, in plain digits", ""},
		{"a wrong delay comes before missing data", `{"type":"will","channel":"a","delayMs":[]}`, MalformedMessage, "delayMs is an array; it must be a whole number of milliseconds", ""},

		{"a wrong channel comes before missing data", `{"type":"publish","channel":null}`, MalformedMessage, "channel is null; it must be a string", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := ClientFrame{RequestID: "old", Channel: "old", Data: []byte("old")}
			err := Decode([]byte(tt.json), &f)
			if err == nil {
				t.Fatalf("Decode(%s) accepted it as %+v", tt.json, f)
			}
			if err.Code != tt.code || err.Message != tt.message {
				t.Errorf("Decode(%s)\ngot  %s: %s\nwant %s: %s", tt.json, err.Code, err.Message, tt.code, tt.message)
			}
			if f.RequestID != tt.requestID {
				t.Errorf("requestId %q, want %q", f.RequestID, tt.requestID)
			}
		})
	}
}

// What a frame as a whole may look like is decided by the scanner, with every type of frame.
func TestDecodeConformance(t *testing.T) {
	for _, c := range conformance {
		if c.whole {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			var f ClientFrame
			frame := `{"type":"publish","channel":"a","data":` + c.json + `}`
			err := Decode([]byte(frame), &f)
			if c.ok {
				if want := strings.Trim(c.json, " \t\r\n"); err != nil || string(f.Data) != want {
					t.Errorf("data %q, error %v, want %q", f.Data, err, want)
				}
			} else if err == nil || err.Code != MalformedMessage {
				t.Errorf("error %v, want %s", err, MalformedMessage)
			}
		})
	}
}

// Protocol §4.2: data is delivered byte for byte. Each of these comes back changed from a decoder that converts.
func TestDecodeKeepsDataVerbatim(t *testing.T) {
	for _, data := range []string{
		`1.0`, `-0`, `1e400`, `12345678901234567890`, `0.10`, `1E+2`,
		`"\u0041\/\ud800"`, `"<&>"`, "\"\u2028\"", `{ "b" : 1,	"a":2 , "a":3 }`, "[\n1 ,2\r]", `[[[]]]`,
	} {
		t.Run(data, func(t *testing.T) {
			var f ClientFrame
			frame := `{"type":"publish","channel":"a","data" : ` + data + ` ,"requestId":"r"}`
			if err := Decode([]byte(frame), &f); err != nil || string(f.Data) != data {
				t.Errorf("data %q, error %v, want %q", f.Data, err, data)
			}
		})
	}
}

// Threat: the strings of a frame outlive the read buffer, which the next frame overwrites.
func TestDecodeStringsDoNotAliasTheBuffer(t *testing.T) {
	b := []byte(`{"type":"publish","channel":"first","data":1,"requestId":"id-1"}`)
	var f ClientFrame
	if err := Decode(b, &f); err != nil {
		t.Fatal(err)
	}
	clear(b)
	if f.Channel != "first" || f.RequestID != "id-1" {
		t.Errorf("channel %q and requestId %q have changed with the buffer", f.Channel, f.RequestID)
	}
}

// Threat: secrets in error messages. Only the type of frame is ever quoted.
func TestDecodeErrorsDoNotQuoteValues(t *testing.T) {
	const secret = "s3cr3t"
	for _, frame := range []string{
		`{"type":"publish","channel":{"` + secret + `":"` + secret + `"},"data":"` + secret + `"}`,
		`{"type":"refresh","token":["` + secret + `"]}`,
		`{"type":"send","to":"` + secret + `"}`,
		`{"type":"publish","data":"` + secret + `"}`,
		`{"type":"ping","token":"` + secret + `"`,
		`{"token":"` + secret + `"}`,
		`{"type":"ping","token":"` + secret + `",}`,
		`{"type":"subscribe","requestId":["` + secret + `"]}`,
	} {
		var f ClientFrame
		err := Decode([]byte(frame), &f)
		if err == nil {
			t.Errorf("%s was accepted", frame)
		} else if strings.Contains(err.Message, secret) {
			t.Errorf("%s: the message quotes the secret: %s", frame, err.Message)
		}
	}
}

func TestDecodeAllocations(t *testing.T) {
	tests := []struct {
		frame string
		most  float64
	}{
		{`{"type":"ping"}`, 0},
		{`{"type":"subscribe","channel":"devices/camera-001/commands"}`, 1},
		{string(publishFrame), 2}, // requestId and channel
	}
	for _, tt := range tests {
		b := []byte(tt.frame)
		var f ClientFrame
		got := testing.AllocsPerRun(100, func() {
			if err := Decode(b, &f); err != nil {
				t.Fatal(err)
			}
		})
		if got > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", tt.frame, got, tt.most)
		}
	}
}

func TestFrameTypeString(t *testing.T) {
	for typ, want := range map[FrameType]string{
		0: "unknown", TypeSubscribe: "subscribe", TypeUnsubscribe: "unsubscribe",
		TypePublish: "publish", TypeSend: "send", TypePing: "ping", TypeRefresh: "refresh", TypeAnswer: "answer", TypeWill: "will", TypeGroupAck: "group_ack", TypeGroupAck + 1: "unknown", 255: "unknown",
	} {
		if got := fmt.Sprint(typ); got != want {
			t.Errorf("FrameType(%d) is %q, want %q", uint8(typ), got, want)
		}
	}
}

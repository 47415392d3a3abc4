package protocol

import "testing"

// The frames are those of protocol §4.1–4.3, to the byte.
func TestServerFrames(t *testing.T) {
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{"welcome",
			AppendWelcome(nil, Welcome{PeerID: "device-camera-001", ExpiresAt: 1767225600, ServerTime: 1767222000, MaxMessageSize: MaxFrameBytes, Metadata: []byte(`{}`)}),
			`{"type":"welcome","peerId":"device-camera-001","expiresAt":1767225600,"serverTime":1767222000,"maxMessageSize":65536,"metadata":{}}`},
		{"welcome with a publishable key",
			AppendWelcome(nil, Welcome{PeerID: "anon_0123456789abcdefABCDEF", ServerTime: 1767222000, MaxMessageSize: MaxFrameBytes}),
			`{"type":"welcome","peerId":"anon_0123456789abcdefABCDEF","expiresAt":null,"serverTime":1767222000,"maxMessageSize":65536}`},
		{"welcome to a peer whose id needs escaping",
			AppendWelcome(nil, Welcome{PeerID: `a"b\c`, ExpiresAt: 1, ServerTime: 2, MaxMessageSize: 3, Metadata: []byte(`{"k": 1.0}`)}),
			`{"type":"welcome","peerId":"a\"b\\c","expiresAt":1,"serverTime":2,"maxMessageSize":3,"metadata":{"k": 1.0}}`},
		{"ack", AppendAck(nil, "sub-1"), `{"type":"ack","requestId":"sub-1"}`},
		{"ack escapes the requestId", AppendAck(nil, "a\n\"<é"), `{"type":"ack","requestId":"a\n\"<é"}`},
		{"error",
			AppendError(nil, "pub-2", Errorf(ChannelNotAuthorized, "…")),
			`{"type":"error","requestId":"pub-2","code":"channel_not_authorized","message":"…"}`},
		{"error without requestId",
			AppendError(nil, "", Errorf(MalformedMessage, `type is missing; as in {"type":"ping"}`)),
			`{"type":"error","code":"malformed_message","message":"type is missing; as in {\"type\":\"ping\"}"}`},
		{"error without a message of its own",
			AppendError(nil, "p", &Error{Code: MissingData}),
			`{"type":"error","requestId":"p","code":"missing_data","message":"data is missing"}`},
		{"backend_error has its outcome", AppendError(nil, "p", Errorf(BackendError, "…")),
			`{"type":"error","requestId":"p","code":"backend_error","message":"…","outcome":"none"}`},
		{"backend_error whose outcome is not known", AppendError(nil, "", Unknownf("%d", 7)),
			`{"type":"error","code":"backend_error","message":"7","outcome":"unknown"}`},
		{"no other error has one", AppendError(nil, "", &Error{Code: InternalError, Outcome: OutcomeUnknown}),
			`{"type":"error","code":"internal_error","message":"something went wrong on the server"}`},
		{"message",
			AppendMessage(nil, "devices/camera-001/commands", "control-plane", []byte(`{}`), []byte(`{}`)),
			`{"type":"message","channel":"devices/camera-001/commands","from":"control-plane","fromMetadata":{},"data":{}}`},
		{"message that is remembered",
			AppendRemembered(nil, "a", "b", []byte(`{}`), []byte(`1`), 1<<64-1, false),
			`{"type":"message","channel":"a","from":"b","fromMetadata":{},"data":1,"offset":18446744073709551615}`},
		{"replayed message",
			AppendRemembered(nil, "a", "b", nil, []byte(`null`), 7, true),
			`{"type":"message","channel":"a","from":"b","data":null,"offset":7,"replayed":true}`},
		{"message without metadata",
			AppendMessage(nil, "a", "b", nil, []byte(`null`)),
			`{"type":"message","channel":"a","from":"b","data":null}`},
		{"message keeps data verbatim and escapes names",
			AppendMessage(nil, `a"b`, `c\d`, []byte(`{"m" : 1}`), []byte(`[1.0, 1e400,"\u0041<"]`)),
			`{"type":"message","channel":"a\"b","from":"c\\d","fromMetadata":{"m" : 1},"data":[1.0, 1e400,"\u0041<"]}`},
		{"direct", AppendDirect(nil, "device-7", []byte(`{"v":2}`), []byte(`{}`)),
			`{"type":"direct","from":"device-7","fromMetadata":{"v":2},"data":{}}`},
		{"direct without metadata", AppendDirect(nil, `c\d`, nil, []byte(`[1.0,null]`)),
			`{"type":"direct","from":"c\\d","data":[1.0,null]}`},
		{"ack of a refresh", AppendRefreshed(nil, "t-1", 1767225600, []string{"a", `b"*`}),
			`{"type":"ack","requestId":"t-1","expiresAt":1767225600,"unsubscribed":["a","b\"*"]}`},
		{"ack of a refresh that drops nothing", AppendRefreshed(nil, "t", 1, nil),
			`{"type":"ack","requestId":"t","expiresAt":1,"unsubscribed":[]}`},
		{"presence",
			AppendPresence(nil, "fleets/f1/commands", []PresencePeer{{"a", "{}"}}, nil),
			`{"type":"presence","channel":"fleets/f1/commands","joined":[{"peerId":"a","metadata":{}}],"left":[]}`},
		{"presence of several, escaped",
			AppendPresence(nil, `a"b`, []PresencePeer{{`p"`, `{"n": 1.0}`}, {"q", ""}}, []PresencePeer{{`r\`, ""}, {"s", `{}`}}),
			`{"type":"presence","channel":"a\"b","joined":[{"peerId":"p\"","metadata":{"n": 1.0}},{"peerId":"q"}],"left":[{"peerId":"r\\"},{"peerId":"s","metadata":{}}]}`},
		{"presence of nobody", AppendPresence(nil, "c", nil, nil), `{"type":"presence","channel":"c","joined":[],"left":[]}`},
		{"going_away", AppendGoingAway(nil, 1000), `{"type":"going_away","retryAfterMs":1000}`},
		{"pong", []byte(Pong), `{"type":"pong"}`},
		{"REST error body with an outcome", AppendErrorBody(nil, Unknownf("…")), `{"error":"backend_error","message":"…","outcome":"unknown"}`},
		{"REST error body",
			AppendErrorBody(nil, Errorf(ChannelNotAuthorized, "…")),
			`{"error":"channel_not_authorized","message":"…"}`},
		{"REST error body without a message of its own",
			AppendErrorBody(nil, &Error{Code: NotFound}),
			`{"error":"not_found","message":"there is nothing at this path"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if string(tt.got) != tt.want {
				t.Errorf("got  %s\nwant %s", tt.got, tt.want)
			}
		})
	}
}

func TestServerFramesAreAppended(t *testing.T) {
	e := Errorf(MissingData, "m")
	for name, got := range map[string][]byte{
		"welcome":    AppendWelcome([]byte("x"), Welcome{}),
		"ack":        AppendAck([]byte("x"), "r"),
		"error":      AppendError([]byte("x"), "r", e),
		"message":    AppendMessage([]byte("x"), "c", "f", nil, []byte("1")),
		"direct":     AppendDirect([]byte("x"), "f", nil, []byte("1")),
		"refreshed":  AppendRefreshed([]byte("x"), "r", 1, nil),
		"going_away": AppendGoingAway([]byte("x"), 1),
		"REST error": AppendErrorBody([]byte("x"), e),
	} {
		if string(got[:2]) != "x{" {
			t.Errorf("%s: %s does not begin with what was there before", name, got)
		}
	}
}

func TestAppendMessageAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 512)
	data := []byte(`{"kind":"motion","confidence":0.93}`)
	if got := testing.AllocsPerRun(100, func() {
		buf = AppendMessage(buf[:0], "devices/camera-001/events", "device-camera-001", nil, data)
	}); got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

package events

import (
	"strings"
	"testing"
	"unicode/utf8"
)

const jwt = "eyJhbGciOiJIUzI1NiIsImtpZCI6InNrXzEifQ.eyJzdWIiOiJjYW0tMSJ9.c2lnbmF0dXJl"

func TestShowFrame(t *testing.T) {
	for name, tt := range map[string]struct{ frame, want string }{
		"as it is":            {`{"type":"publish", "channel":"a","data":{"x": "é<"}}`, `{"type":"publish", "channel":"a","data":{"x": "é<"}}`},
		"a refresh":           {`{"type":"refresh","token":"` + jwt + `"}`, `{"type":"refresh","token":"[redacted]"}`},
		"its requestId":       {`{"token":"opaque","type":"refresh","requestId":"a\"b"}`, `{"type":"refresh","token":"[redacted]","requestId":"a\"b"}`},
		"in escapes":          {`{"type":"\u0072efresh","token":"\u0065yJ"}`, `{"type":"refresh","token":"[redacted]"}`},
		"a token twice":       {`{"type":"refresh","token":"a","token":"b"}`, `{"type":"refresh","token":"[redacted]"}`},
		"no JSON":             {`{"type":"refresh","token":"` + jwt + `",`, `{"type":"refresh","token":"[redacted]",`},
		"half a token":        {`eyJhbGciOiJI.eyJz`, `[redacted]`},
		"a credential":        {`{"type":"publish","channel":"a","data":"sk_live_1_secret_9f:x y"}`, `{"type":"publish","channel":"a","data":"sk_live_1[redacted] y"}`},
		"a token in data":     {`{"type":"send","to":"b","data":["` + jwt + `"]}`, `{"type":"send","to":"b","data":["[redacted]"]}`},
		"bytes that are none": {"\xff{", "\ufffd{"},
		"nothing":             {"", ""},
		"what is no token":    {`{"type":"ping","x":"eyJ"}`, `{"type":"ping","x":"eyJ"}`},
	} {
		if got, truncated := ShowFrame([]byte(tt.frame)); got != tt.want || truncated {
			t.Errorf("%s: %s, %v\nwant %s", name, got, truncated, tt.want)
		}
	}
	long := `{"type":"publish","data":"` + strings.Repeat("é", 5000) + jwt + `"}`
	if got, truncated := ShowFrame([]byte(long)); !truncated || len(got) > MaxFrameBytes || len(got) < MaxFrameBytes-1 || !utf8.ValidString(got) {
		t.Errorf("%d bytes, %v", len(got), truncated)
	}
	if got, _ := ShowFrame([]byte(strings.Repeat(" ", MaxFrameBytes-20) + jwt)); strings.Contains(got, "eyJ") {
		t.Errorf("what a cut leaves of a token is shown: %q", got[MaxFrameBytes-30:])
	}
}

// HOSTILE: no frame is too large or broken to show.
func FuzzShowFrame(f *testing.F) {
	f.Add(`{"type":"refresh","token":"sesame"}`)
	f.Add(`{"type":"publish","data":"` + jwt + `"}`)
	f.Fuzz(func(t *testing.T, frame string) {
		got, _ := ShowFrame([]byte(frame))
		if len(got) > max(MaxFrameBytes, 1024) || !utf8.ValidString(got) || strings.Contains(got, jwt) {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	})
}

package events

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"fleetwire/clients/go/protocol"
)

// redacted stands where a secret was.
const redacted = "[redacted]"

// secrets are tokens (JWTs), and credentials in their second spelling, in any text.
var secrets = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?|_secret_[^"\s]+`)

// ShowFrame is a frame as an event shows it: without tokens and credentials, valid UTF-8, and cut to
// MaxFrameBytes.
func ShowFrame(frame []byte) (shown string, truncated bool) {
	var f protocol.ClientFrame
	if err := protocol.Decode(frame, &f); f.Type == protocol.TypeRefresh || err != nil && f.Token != "" {
		shown = `{"type":"refresh","token":"` + redacted + `"`
		if f.RequestID != "" {
			shown = string(protocol.AppendString([]byte(shown+`,"requestId":`), f.RequestID))
		}
		return shown + "}", false
	}
	shown = secrets.ReplaceAllString(strings.ToValidUTF8(string(frame), "\ufffd"), redacted)
	if len(shown) <= MaxFrameBytes {
		return shown, false
	}
	end := MaxFrameBytes
	for !utf8.RuneStart(shown[end]) {
		end--
	}
	return shown[:end], true
}

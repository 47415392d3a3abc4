package publish

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
)

// channelFromPath is what the handler takes the channel of a request for.
func channelFromPath(escapedPath string) (string, error) {
	escaped, ok := Route.Match(escapedPath)
	if !ok {
		return "", api.NotFound(Route)
	}
	r := &http.Request{}
	r.SetPathValue("channel", escaped)
	return api.Channel(r)
}

func TestBrokenEscapes(t *testing.T) {
	for _, channel := range []string{"%", "a%", "a%2", "%zz", "100%/b", "%u00e9", "%%20"} {
		_, err := channelFromPath("/v1/channels/" + channel + "/publish")
		e, ok := errors.AsType[*protocol.Error](err)
		if !ok || e.Code != protocol.InvalidChannel || !strings.HasPrefix(e.Message, "the channel in the path has a broken escape") {
			t.Errorf("%s: %v, want invalid_channel", channel, err)
		}
	}
}

// What a caller escapes is what we read; and whatever comes, the channel is never more than its path.
func FuzzChannelFromPath(f *testing.F) {
	for _, s := range []string{"", "devices/cam-1/events", "a/publish", "publish", "/", "100%", "%2F", "a+b", "ü", "\xff", "a\x00b", "../..", "?x=/publish", "%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		escaped := url.PathEscape(s)
		for _, spelling := range []string{
			escaped,
			strings.ReplaceAll(escaped, "%2F", "%2f"),
			strings.ReplaceAll(escaped, "%2F", "/"), // by a front door
		} {
			got, err := channelFromPath("/v1/channels/" + spelling + "/publish")
			if err != nil || got != s {
				t.Fatalf("%q as %s: %q %v", s, spelling, got, err)
			}
		}
		// s itself as the middle of a path: decoded as net/url does, or refused.
		got, err := channelFromPath("/v1/channels/" + s + "/publish")
		want, broken := url.PathUnescape(s)
		if (err != nil) != (broken != nil) || err == nil && got != want {
			t.Fatalf("%q: %q %v, want %q %v", s, got, err, want, broken)
		}
		// s as a whole path: never a panic, and a channel only between prefix and suffix.
		if got, err := channelFromPath(s); err == nil && len(got) > len(s)-len("/v1/channels//publish") {
			t.Fatalf("%q: %q is longer than what it came from", s, got)
		}
	})
}

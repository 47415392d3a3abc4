package e2e

import (
	"net/url"
	"testing"
)

// consoleStream opens a stream of events as the page does.
func (n *node) consoleStream(t testing.TB, cookie, query string) *stream {
	t.Helper()
	r := consoleRequest(t, "GET", "http://"+n.addr+"/console/api/v1/events?"+query, cookie, "")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return follow(t, r)
}

// The page's streams show what its key may see, of its app alone, from all nodes. They are as many as
// a key may have, and end with the key and with the node.
func TestConsoleStreams(t *testing.T) {
	key := newKey("stream", "**").only("publish", "subscribe", "presence")
	narrow := newKey("narrowstream", "devices/a/**").only("subscribe", "presence")
	other := newKey("otherstream", "**")
	app, foreign := newApp("app_stream", key, narrow), newApp("app_otherstream", other)
	s := startTwoNodes(t, app, foreign)
	first, last := s.first(), s.last()
	cookie, narrowCookie := sessionOf(t, first.signIn(t, key.credential())), sessionOf(t, first.signIn(t, narrow.credential()))

	all := last.consoleStream(t, cookie, "")
	messages := last.consoleStream(t, narrowCookie, "channel="+url.QueryEscape("devices/a/*"))
	first.connect(t, other.token("foreign", nil)) // HOSTILE: not this app's
	camera := first.connect(t, key.token("cam-1", nil))
	all.expect("connect", `"peerId":"cam-1"`)
	camera.send(`{"type":"publish","channel":"devices/b/events","data":1}`) // HOSTILE: not this key's
	camera.send(`{"type":"publish","channel":"devices/a/events","data":2}`)
	messages.expect("message", `"channel":"devices/a/events"`, `"data":2`)

	refused := func(n *node, cookie, query string, status int, code, says string, headers ...string) {
		t.Helper()
		r := consoleRequest(t, "GET", "http://"+n.addr+"/console/api/v1/events?"+query, cookie, "")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		a, err := do(r)
		if err != nil {
			t.Fatal(err)
		}
		a.wantError(t, status, code, says)
	}
	refused(last, narrowCookie, "channel=**", 403, "channel_not_authorized", "does not cover")
	refused(last, narrowCookie, "peer=cam-1", 403, "channel_not_authorized", "may subscribe to **")
	refused(last, "", "", 401, "unauthorized", "not signed in")
	refused(last, cookie, "", 403, "action_not_permitted", "another origin", "Sec-Fetch-Site", "cross-site")
	for range 20 {
		first.consoleStream(t, cookie, "types=refusal")
	}
	refused(first, cookie, "", 429, "rate_limited", "has 20 streams")

	rotated := newKey("stream", "**")
	rotated.Secret = secretMark + "0000000000000000000000000000000000000000"
	s.apps.Replace(directory(t, newApp("app_stream", rotated, narrow), foreign))
	all.ends("key_revoked")
	refused(last, cookie, "", 401, "unauthorized", "not signed in")
	go last.stop()
	messages.ends("going_away")
}

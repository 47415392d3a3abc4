package node

import (
	"bufio"
	"cmp"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/auth"
)

// upgradeWith connects by these header lines, and gives the answer.
func (r *running) upgradeWith(target string, lines ...string) (*http.Response, *peer) {
	r.t.Helper()
	conn, in := r.raw("GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n")
	response, err := http.ReadResponse(in, nil)
	check(r.t, err)
	return response, &peer{t: r.t, conn: conn, in: in}
}

const (
	wsVersion = "Sec-WebSocket-Version: 13"
	wsKey     = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
)

// RFC 9110 §5.3: what is a list may come on several lines; §5.1: names have no case.
func TestHeadersInEveryLegalForm(t *testing.T) {
	r := start(t)
	token := r.token(keyID, "a")
	bearer := "Authorization: Bearer " + token
	for name, lines := range map[string][]string{
		"as usual":                         {"Connection: Upgrade", "Upgrade: websocket", wsVersion, wsKey, bearer},
		"Connection on two lines":          {"Connection: keep-alive", "Connection: Upgrade", "Upgrade: websocket", wsVersion, wsKey, bearer},
		"Connection on two, the other way": {"Connection: Upgrade", "Connection: keep-alive", "Upgrade: websocket", wsVersion, wsKey, bearer},
		"Connection as a list":             {"Connection: keep-alive ,\tupgrade", "Upgrade: websocket", wsVersion, wsKey, bearer},
		"Upgrade as a list":                {"Connection: Upgrade", "Upgrade: foo, websocket", wsVersion, wsKey, bearer},
		"Upgrade on two lines":             {"Connection: Upgrade", "Upgrade: foo/2", "Upgrade: websocket", wsVersion, wsKey, bearer},
		"names and values in any case":     {"CONNECTION: UPGRADE", "upgrade: WebSocket", strings.ToUpper(wsVersion), "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "authorization: bEARER " + token},
		"no blanks":                        {"Connection:Upgrade", "Upgrade:websocket", "Sec-WebSocket-Version:13", wsKey, "Authorization:Bearer " + token},
	} {
		t.Run(name, func(t *testing.T) {
			response, p := r.upgradeWith("/v1", lines...)
			if response.StatusCode != 101 {
				t.Fatalf("status %d", response.StatusCode)
			}
			p.wantText(`{"type":"welcome","peerId":"a"`)
			_ = p.conn.Close()
		})
	}
	t.Run("a slash behind /v1", func(t *testing.T) {
		_, p := r.upgradeWith("/v1/"+query(token), lines6455()...)
		p.wantText(`{"type":"welcome","peerId":"a"`)
	})
	t.Run("a whole URL", func(t *testing.T) {
		_, p := r.upgradeWith("http://localhost/v1"+query(token), lines6455()...)
		p.wantText(`{"type":"welcome","peerId":"a"`)
	})
}

func lines6455(more ...string) []string {
	return append([]string{"Connection: Upgrade", "Upgrade: websocket", wsVersion, wsKey}, more...)
}

// HOSTILE: upgrades that two readers could understand differently, or that are no
// handshake of RFC 6455 (§4.2.1).
func TestUpgradesThatAreRefused(t *testing.T) {
	r := start(t)
	token := r.token(keyID, "a")
	auth := "Authorization: Bearer " + token
	withKey := func(keys ...string) []string {
		lines := []string{"Connection: Upgrade", "Upgrade: websocket", wsVersion, auth}
		for _, key := range keys {
			lines = append(lines, "Sec-WebSocket-Key: "+key)
		}
		return lines
	}
	const good, keyFault = "dGhlIHNhbXBsZSBub25jZQ==", "the Sec-WebSocket-Key must be 16 random bytes in base64"
	for name, tt := range map[string]struct {
		query, version string // "": none, HTTP/1.1
		lines          []string
		body           string
		says           string
	}{
		"two Authorization headers":           {"", "", lines6455(auth, "Authorization: Bearer other"), "", "two Authorization headers"},
		"the same Authorization twice":        {"", "", lines6455(auth, "authorization: Bearer "+token), "", "two Authorization headers"},
		"a body, which would pass for frames": {"", "", lines6455(auth, "Content-Length: 6"), "\x81\x80\x00\x00\x00\x00", "has no body"},
		"a body in chunks":                    {"", "", lines6455(auth, "Transfer-Encoding: chunked"), "0\r\n\r\n", "has no body"},
		"two tokens in the query":             {query(token) + "&token=other", "", lines6455(), "", "two token parameters"},
		"the same token twice":                {query(token) + "&" + query(token)[1:], "", lines6455(), "", "two token parameters"},
		"an empty token and one":              {"?token=&" + query(token)[1:], "", lines6455(), "", "two token parameters"},
		"two tokens, one name escaped":        {query(token) + "&%74oken=other", "", lines6455(), "", "two token parameters"},
		"two publishable keys":                {"?key=pk_live_demo&key=pk_none", "", lines6455(), "", "two key parameters"},
		"two versions":                        {"", "", lines6455(auth, "Sec-WebSocket-Version: 8"), "", "two Sec-WebSocket-Version headers"},
		"two nonces":                          {"", "", withKey(good, "AAAAAAAAAAAAAAAAAAAAAA=="), "", "two Sec-WebSocket-Key headers"},
		"the same nonce twice":                {"", "", withKey(good, good), "", "two Sec-WebSocket-Key headers"},
		"a nonce of 15 bytes":                 {"", "", withKey("dGhlIHNhbXBsZSBub25j"), "", keyFault},
		"a nonce of 17 bytes":                 {"", "", withKey("dGhlIHNhbXBsZSBub25jZSE="), "", keyFault},
		"a nonce without padding":             {"", "", withKey("dGhlIHNhbXBsZSBub25jZQ"), "", keyFault},
		"a nonce in base64url":                {"", "", withKey("__hlIHNhbXBsZSBub25jZQ=="), "", keyFault},
		"a nonce that is a word":              {"", "", withKey("x"), "", keyFault},
		"two nonces on one line":              {"", "", withKey(good + ", " + good), "", keyFault},
		"HTTP/1.0":                            {"", "HTTP/1.0", lines6455(auth), "", "takes HTTP/1.1, got HTTP/1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, in := r.raw("GET /v1" + tt.query + " " + cmp.Or(tt.version, "HTTP/1.1") + "\r\nHost: localhost\r\n" + strings.Join(tt.lines, "\r\n") + "\r\n\r\n" + tt.body)
			defer conn.Close()
			response, err := http.ReadResponse(in, nil)
			check(t, err)
			body, err := io.ReadAll(response.Body)
			check(t, err)
			if response.StatusCode != 400 || !strings.Contains(string(body), tt.says) {
				t.Errorf("%d %s", response.StatusCode, body)
			}
			wantErrorBody(t, string(body), "invalid_request")
		})
	}
}

// Protocol §4.1: the first subprotocol of those offered is chosen; without an offer none.
func TestSubprotocols(t *testing.T) {
	r := start(t)
	target := "/v1" + query(r.token(keyID, "a"))
	for _, tt := range []struct {
		offered []string
		chosen  string
	}{
		{nil, ""},
		{[]string{"mqtt"}, "mqtt"},
		{[]string{"fleetwire.v1, json"}, "fleetwire.v1"},
		{[]string{"a", "b"}, "a"},
		{[]string{" a ,b"}, "a"},
		{[]string{"no token, b"}, ""},
		{[]string{""}, ""},
		{[]string{`"a"`}, ""},
	} {
		var lines []string
		for _, o := range tt.offered {
			lines = append(lines, "Sec-WebSocket-Protocol: "+o)
		}
		response, p := r.upgradeWith(target, lines6455(lines...)...)
		if got := response.Header.Values("Sec-WebSocket-Protocol"); response.StatusCode != 101 || len(got) > 1 || strings.Join(got, "") != tt.chosen {
			t.Errorf("offered %q: %d, chosen %q, want %q", tt.offered, response.StatusCode, got, tt.chosen)
		}
		p.wantText(`{"type":"welcome"`)
		_ = p.conn.Close()
	}
	t.Run("not with a refusal", func(t *testing.T) {
		response, p := r.upgradeWith("/v1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Protocol: a")
		if got := response.Header.Get("Sec-WebSocket-Protocol"); response.StatusCode != 426 || got != "" {
			t.Errorf("%d, chosen %q", response.StatusCode, got)
		}
		_ = p.conn.Close()
	})
}

// Protocol §3: a token that claims all it may connects, by either way.
func TestTheLargestTokenConnects(t *testing.T) {
	r := start(t)
	object := func(size int) []byte { return []byte(`{"a":"` + strings.Repeat("x", size-len(`{"a":""}`)) + `"}`) }
	long := mustCompile(t, "devices/"+strings.Repeat(`"`, 248))
	token := r.token(keyID, strings.Repeat(`"`, protocol.MaxPeerIDBytes), func(q *auth.TokenRequest) {
		q.Channels = slices.Repeat([]*channel.Pattern{long}, protocol.MaxTokenChannels)
		q.Metadata, q.PeerMetadata = object(protocol.MaxMetadataBytes), object(protocol.MaxPeerMetadataBytes)
	})
	if len(token) < 80<<10 {
		t.Fatalf("the token is %d bytes long; this is not the largest", len(token))
	}
	for name, dial := range map[string]func() (*peer, error){
		"in the query": func() (*peer, error) { return r.dial(query(token), nil) },
		"as a header":  func() (*peer, error) { return r.dial("", bearer(token)) },
	} {
		p, err := dial()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p.wantText(`{"type":"welcome","peerId":"\"`)
		p.alive()
	}
}

// HOSTILE: bad tokens that name a key must not use up what honest devices behind the
// same address have of that key's app, nor borrow a looser app's limit.
func TestBadTokensCountApart(t *testing.T) {
	r := start(t)
	connects := func(query string) int {
		t.Helper()
		status, _, _ := r.request("GET", "http://"+r.Addr()+"/v1"+query, upgrade())
		return status
	}
	forged := func(key string) string {
		token := r.token(key, "a")
		return "?token=" + token[:len(token)-4] + "AAAA"
	}
	notUTF8 := "?token=eyJhbGciOiJIUzI1NiIsImtpZCI6InNrX2xpdmVfZGVtbyIsIngiOiL_In0.e30.AAAA" // its header has a byte that is not UTF-8
	for n := range 20 {
		for _, bad := range []string{forged("sk_live_small"), forged(keyID), notUTF8} {
			if status := connects(bad); status != 101 {
				t.Fatalf("bad token %d: status %d", n, status)
			}
		}
	}
	// Whatever key they name, they have counted together: the 61st is over.
	for _, bad := range []string{forged("sk_live_small"), forged(keyID), notUTF8, "?key=pk_live_none", ""} {
		if status := connects(bad); status != 429 {
			t.Errorf("a bad credential beyond the limit (%.20s): status %d, want 429", bad, status)
		}
	}
	// app_small allows 3 a minute, and none is used up.
	for n := 1; n <= 4; n++ {
		want := map[bool]int{false: 101, true: 429}[n > 3]
		if status := connects("?token=" + r.token("sk_live_small", "a")); status != want {
			t.Errorf("good token %d: status %d, want %d", n, status, want)
		}
	}
	if status := connects("?key=pk_live_demo"); status != 101 {
		t.Errorf("a publishable key: status %d", status)
	}
}

// A body that nobody wants is neither waited for nor taken for the next request.
func TestUnwantedBodies(t *testing.T) {
	r := start(t) // without a control plane
	for name, request := range map[string]string{
		"announced, and not sent": "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
		"one byte, and not sent":  "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n",
		"half sent":               "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
		"in chunks":               "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
		"asked for":               "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n",
		"a request in it":         "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nGET /v1 HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, in := r.raw(request)
			defer conn.Close()
			wantStatus(t, in, 404, "not_found")
			if rest, err := io.ReadAll(in); len(rest) > 0 || isTimeout(err) {
				t.Errorf("then %q %v, want the end of the stream", rest, err)
			}
		})
	}
}

func wantStatus(t *testing.T, in *bufio.Reader, status int, code string) {
	t.Helper()
	response, err := http.ReadResponse(in, nil)
	check(t, err)
	body, err := io.ReadAll(response.Body)
	check(t, err)
	if response.StatusCode != status {
		t.Errorf("status %d, want %d", response.StatusCode, status)
	}
	wantErrorBody(t, string(body), code)
}

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Every row of protocol §5's error table that a single request can bring about:
// status, code, headers and the body's exact shape. A subscriber of everything
// sees nothing of any of them. (503 is in outage_test.go.)
func TestRESTErrors(t *testing.T) {
	key := newKey("rest", "devices/**", "_system/**").only(everyAction...)
	mute := newKey("mute", "devices/**").only("subscribe")
	ear := newKey("ear", "**")
	paused := newKey("paused", "**")
	suspended := newApp("app_paused", paused)
	suspended.Suspended = true
	docs := []*appDoc{newApp("app_rest", key, mute, ear, &keyDoc{ID: "pk_live_rest", Patterns: []string{"**"}, Actions: everyAction}), suspended}

	const tokens, publish = "/v1/tokens", "/v1/channels/devices%2Fa/publish"
	at := func(channel string) string { return "/v1/channels/" + channel + "/publish" }
	good := key.credential()
	json := func(n int) string { return `{"data":"` + strings.Repeat("x", n-len(`{"data":""}`)) + `"}` }

	cases := []struct {
		name, method, path, credential, body string
		headers                              []string
		status                               int
		code, says                           string
	}{
		{"body is no JSON", "POST", tokens, good, `peerId=p`, nil, 400, "invalid_request", "JSON object"},
		{"no body", "POST", tokens, good, ``, nil, 400, "invalid_request", "JSON object"},
		{"body is an array", "POST", publish, good, `[1]`, nil, 400, "invalid_request", "JSON object"},
		{"body is cut off", "POST", publish, good, `{"data":1`, nil, 400, "invalid_request", ""},
		{"body is not UTF-8", "POST", publish, good, "{\"data\":\"\xff\"}", nil, 400, "invalid_request", "UTF-8"},
		{"unknown field", "POST", publish, good, `{"data":1,"form":"x"}`, nil, 400, "invalid_request", "form"},
		{"field given twice", "POST", publish, good, `{"data":1,"data":2}`, nil, 400, "invalid_request", "data"},
		{"from is a number", "POST", publish, good, `{"data":1,"from":7}`, nil, 400, "invalid_request", "from"},
		{"from is null", "POST", publish, good, `{"data":1,"from":null}`, nil, 400, "invalid_request", "from"},
		{"peerMetadata is a string", "POST", publish, good, `{"data":1,"peerMetadata":"x"}`, nil, 400, "invalid_request", "peerMetadata"},
		{"peerMetadata over 4 KiB", "POST", publish, good, `{"data":1,"peerMetadata":{"a":"` + strings.Repeat("m", 4<<10) + `"}}`, nil, 400, "invalid_request", "peerMetadata"},
		{"token without peerId", "POST", tokens, good, `{}`, nil, 400, "invalid_request", "peerId"},
		{"peerId is a number", "POST", tokens, good, `{"peerId":7}`, nil, 400, "invalid_request", "peerId"},
		{"channels is a string", "POST", tokens, good, `{"peerId":"p","channels":"devices/a"}`, nil, 400, "invalid_request", "channels"},
		{"channels holds a number", "POST", tokens, good, `{"peerId":"p","channels":["devices/a",7]}`, nil, 400, "invalid_request", "channels[1]"},
		{"101 channels", "POST", tokens, good, `{"peerId":"p","channels":["` + strings.Join(repeated("devices/a", 101), `","`) + `"]}`, nil, 400, "invalid_request", "101"},
		{"17 permissions", "POST", tokens, good, `{"peerId":"p","permissions":["` + strings.Join(repeated("publish", 17), `","`) + `"]}`, nil, 400, "invalid_request", "17"},
		{"expiresInSec is 0", "POST", tokens, good, `{"peerId":"p","expiresInSec":0}`, nil, 400, "invalid_request", "expiresInSec"},
		{"expiresInSec is over a day", "POST", tokens, good, `{"peerId":"p","expiresInSec":86401}`, nil, 400, "invalid_request", "86400"},
		{"expiresInSec is a fraction", "POST", tokens, good, `{"peerId":"p","expiresInSec":1.5}`, nil, 400, "invalid_request", "expiresInSec"},
		{"expiresInSec is a string", "POST", tokens, good, `{"peerId":"p","expiresInSec":"60"}`, nil, 400, "invalid_request", "expiresInSec"},
		{"metadata over 8 KiB", "POST", tokens, good, `{"peerId":"p","metadata":{"a":"` + strings.Repeat("m", 8<<10) + `"}}`, nil, 400, "invalid_request", "metadata"},

		{"channel with a control character", "POST", at("devices%2F%07"), good, `{"data":1}`, nil, 400, "invalid_channel", "U+0007"},
		{"channel with a line break", "POST", at("devices%0A"), good, `{"data":1}`, nil, 400, "invalid_channel", "U+000A"},
		{"channel of 257 bytes", "POST", at(strings.Repeat("d", 257)), good, `{"data":1}`, nil, 400, "invalid_channel", "257"},
		{"channel is a pattern", "POST", at("devices%2F*"), good, `{"data":1}`, nil, 400, "invalid_channel", "*"},
		{"channel climbs up, encoded", "POST", at("devices%2F%2E%2E%2Fx"), good, `{"data":1}`, nil, 400, "invalid_channel", ".."},
		{"channel climbs up, decoded", "POST", at("devices/../x"), good, `{"data":1}`, nil, 400, "invalid_channel", ".."},
		{"channel is not UTF-8", "POST", at("devices%2F%FF"), good, `{"data":1}`, nil, 400, "invalid_channel", "UTF-8"},
		{"channel is empty", "POST", at(""), good, `{"data":1}`, nil, 400, "invalid_channel", "empty"},
		{"token for a channel with a control character", "POST", tokens, good, `{"peerId":"p","channels":["devices/\u0007"]}`, nil, 400, "invalid_channel", "channels[0]"},

		{"from is empty", "POST", publish, good, `{"data":1,"from":""}`, nil, 400, "invalid_peer_id", "from"},
		{"from of 129 bytes", "POST", publish, good, `{"data":1,"from":"` + strings.Repeat("f", 129) + `"}`, nil, 400, "invalid_peer_id", "128"},
		{"from beyond ASCII", "POST", publish, good, `{"data":1,"from":"sérver"}`, nil, 400, "invalid_peer_id", "from"},
		{"peerId with a line break", "POST", tokens, good, `{"peerId":"a\nb"}`, nil, 400, "invalid_peer_id", "peerId"},

		{"reserved channel", "POST", at("_system%2Fa"), good, `{"data":1}`, nil, 400, "channel_reserved", "_system/"},
		{"token for a reserved channel", "POST", tokens, good, `{"peerId":"p","channels":["_system/**"]}`, nil, 400, "channel_reserved", "channels[0]"},
		{"no data", "POST", publish, good, `{"from":"x"}`, nil, 400, "missing_data", "null"},

		{"channel outside the key", "POST", at("fleets%2Ff1"), good, `{"data":1}`, nil, 403, "channel_not_authorized", "fleets/f1"},
		{"token for channels outside the key", "POST", tokens, good, `{"peerId":"p","channels":["devices/a","**"]}`, nil, 403, "channel_not_authorized", "channels[1]"},
		{"publish without the action", "POST", publish, mute.credential(), `{"data":1}`, nil, 403, "action_not_permitted", "publish"},
		{"token with an action the key lacks", "POST", tokens, mute.credential(), `{"peerId":"p","permissions":["subscribe","publish"]}`, nil, 403, "action_not_permitted", "permissions[1]"},
		{"token with an action there is not", "POST", tokens, good, `{"peerId":"p","permissions":["admin"]}`, nil, 403, "action_not_permitted", "admin"},
		{"suspended app", "POST", publish, paused.credential(), `{"data":1}`, nil, 403, "account_suspended", "app_paused"},

		{"no such path", "POST", "/v1/nothing", good, `{}`, nil, 404, "not_found", ""},
		{"the root", "GET", "/", "", ``, nil, 404, "not_found", ""},
		{"tokens with two slashes", "POST", "/v1/tokens//", good, `{"peerId":"p"}`, nil, 404, "not_found", ""},
		{"channels without a verb", "GET", "/v1/channels/devices%2Fa", good, ``, nil, 404, "not_found", ""},
		{"peers of no channel", "GET", "/v1/channels//peers", good, ``, nil, 400, "invalid_channel", "empty"},
		{"peers of a pattern", "GET", "/v1/channels/devices%2F*/peers", good, ``, nil, 400, "invalid_channel", "*"},
		{"peers with an unknown query", "GET", "/v1/channels/devices%2Fa/peers?page=1", good, ``, nil, 400, "invalid_request", "page"},
		{"peers with no limit", "GET", "/v1/channels/devices%2Fa/peers?limit=0", good, ``, nil, 400, "invalid_request", "limit"},
		{"peers with another's cursor", "GET", "/v1/channels/devices%2Fa/peers?cursor=AA", good, ``, nil, 400, "invalid_request", "cursor"},
		{"peers of a reserved channel", "GET", "/v1/channels/_system%2Fa/peers", good, ``, nil, 400, "channel_reserved", "_system/"},
		{"peers without a credential", "GET", "/v1/channels/devices%2Fa/peers", "", ``, nil, 401, "unauthorized", ""},
		{"peers without the action", "GET", "/v1/channels/devices%2Fa/peers", mute.credential(), ``, nil, 403, "action_not_permitted", "presence"},
		{"peers outside the key", "GET", "/v1/channels/fleets%2Ff1/peers", good, ``, nil, 403, "channel_not_authorized", "fleets/f1"},
		{"peers in a suspended app", "GET", "/v1/channels/devices%2Fa/peers", paused.credential(), ``, nil, 403, "account_suspended", "app_paused"},
		{"POST peers", "POST", "/v1/channels/devices%2Fa/peers", good, `{}`, nil, 405, "method_not_allowed", "GET, HEAD"},
		{"disconnect nobody", "DELETE", "/v1/peers/", good, ``, nil, 400, "invalid_peer_id", "1 to 128"},
		{"disconnect 129 bytes", "DELETE", "/v1/peers/" + strings.Repeat("p", 129), good, ``, nil, 400, "invalid_peer_id", "1 to 128"},
		{"disconnect a control character", "DELETE", "/v1/peers/a%07", good, ``, nil, 400, "invalid_peer_id", "printable"},
		{"disconnect beyond ASCII", "DELETE", "/v1/peers/cam%C3%A9ra", good, ``, nil, 400, "invalid_peer_id", "ASCII"},
		{"disconnect with revoke=1", "DELETE", "/v1/peers/camera?revoke=1", good, ``, nil, 400, "invalid_request", "revoke must be true or false"},
		{"disconnect with revoke twice", "DELETE", "/v1/peers/camera?revoke=true&revoke=false", good, ``, nil, 400, "invalid_request", "once"},
		{"disconnect with a typo", "DELETE", "/v1/peers/camera?revok=true", good, ``, nil, 400, "invalid_request", "revok"},
		{"disconnect without a credential", "DELETE", "/v1/peers/camera", "", ``, nil, 401, "unauthorized", ""},
		{"disconnect with a publishable key", "DELETE", "/v1/peers/camera", "pk_live_x", ``, nil, 401, "unauthorized", ""},
		{"disconnect in a suspended app", "DELETE", "/v1/peers/camera", paused.credential(), ``, nil, 403, "account_suspended", "app_paused"},
		{"POST a disconnect", "POST", "/v1/peers/camera", good, `{}`, nil, 405, "method_not_allowed", "GET, HEAD, DELETE"},

		{"a broken escape in a channel", "GET", "/v1/channels/100%/peers", good, ``, nil, 400, "invalid_channel", "%25"},
		{"a broken escape in a channel, publishing", "POST", "/v1/channels/a%zz/publish", good, `{"data":1}`, nil, 400, "invalid_channel", "%25"},
		{"a broken escape in a peer", "DELETE", "/v1/peers/50%", good, ``, nil, 400, "invalid_peer_id", "%25"},
		{"a broken escape elsewhere", "GET", "/v1/usage%zz", good, ``, nil, 404, "not_found", ""},
		{"a broken escape without a credential", "GET", "/v1/channels/100%/peers", "", ``, nil, 401, "unauthorized", ""},
		{"a method of our own making", "FOO", tokens, good, ``, nil, 405, "method_not_allowed", "POST"},
		{"TRACE", "TRACE", publish, good, ``, nil, 405, "method_not_allowed", "POST"},
		{"GET tokens", "GET", tokens, good, ``, nil, 405, "method_not_allowed", "POST"},
		{"PUT publish", "PUT", publish, good, `{"data":1}`, nil, 405, "method_not_allowed", "POST"},
		{"DELETE publish without a credential", "DELETE", publish, "", ``, nil, 405, "method_not_allowed", "POST"},
		{"POST to the socket", "POST", "/v1", good, `{}`, nil, 405, "method_not_allowed", "GET, HEAD"},
		{"GET the socket without an upgrade", "GET", "/v1", good, ``, nil, 426, "invalid_request", "WebSocket"},

		{"body of 32 KiB and 1", "POST", publish, good, json(32<<10 + 1), nil, 413, "invalid_request", "32768"},
		{"body of 200 KiB", "POST", publish, good, json(200 << 10), nil, 413, "invalid_request", "32768"},
		{"form", "POST", publish, good, `{"data":1}`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "invalid_request", "application/json"},
		{"JSON in another charset", "POST", publish, good, `{"data":1}`, []string{"Content-Type", "application/json; charset=latin1"}, 415, "invalid_request", "UTF-8"},
		{"compressed", "POST", publish, good, `{"data":1}`, []string{"Content-Encoding", "gzip"}, 415, "invalid_request", "Content-Encoding"},
		{"XML", "POST", tokens, good, `<peerId/>`, []string{"Content-Type", "text/xml"}, 415, "invalid_request", "application/json"},
	}

	onEachRedis(t, docs, func(t *testing.T, s *system) {
		bystander := s.last().connect(t, ear.token("bystander", nil)).subscribe("**")
		for i, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				a, err := s.first().call(c.method, c.path, c.credential, c.body, c.headers...)
				if err != nil {
					t.Fatal(err)
				}
				a.wantError(t, c.status, c.code, c.says)
				if allow := a.header.Get("Allow"); (c.status == 405) != (allow != "") || !strings.Contains(c.says, allow) {
					t.Errorf("Allow: %q", allow)
				}
				marker := fmt.Sprintf(`{"after":%d}`, i)
				s.first().publish(t, key, "devices/marker", marker)
				bystander.t = t
				bystander.expectMessage("devices/marker", "server", marker)
			})
		}
	})
}

// A body whose length nobody announced is bounded all the same.
func TestChunkedBody(t *testing.T) {
	key := newKey("chunked", "**")
	s := startedOnce(t, key)
	for size, status := range map[int]int{32 << 10: 200, 32<<10 + 1: 413, 200 << 10: 413} {
		body := io.MultiReader(strings.NewReader(`{"data":"`), strings.NewReader(strings.Repeat("x", size-len(`{"data":""}`))), strings.NewReader(`"}`))
		r, err := http.NewRequest("POST", "http://"+s.first().addr+"/v1/channels/a/publish", body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+key.credential())
		a, err := do(r)
		if err != nil {
			t.Errorf("%d bytes: %v", size, err)
			continue
		}
		if a.status != status {
			t.Errorf("%d bytes: %d %s, want %d", size, a.status, a.body, status)
		}
	}
}

// A body too large to be worth receiving is refused by the length that its
// header announces, before any of it has come.
func TestAnnouncedBody(t *testing.T) {
	key := newKey("announced", "**")
	s := startedOnce(t, key)
	for _, length := range []string{"300000", "2097152", "1099511627776"} {
		d, status := s.first().rawUpgrade(t, "POST /v1/channels/a/publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
			"Authorization: Bearer "+key.credential()+"\r\nContent-Length: "+length+"\r\n\r\n{")
		if status != 413 {
			t.Errorf("%s bytes announced: status %d, want 413", length, status)
		}
		d.conn.Close()
	}
}

// One and the same 401 for whatever is wrong with a credential (protocol §1),
// and 200 for both spellings of a right one.
func TestRESTCredentials(t *testing.T) {
	key := newKey("spelt", "**")
	s := startEmbedded(t, newApp("app_spelt", key, &keyDoc{ID: "pk_live_spelt", Patterns: []string{"**"}, Actions: everyAction}))
	call := func(t *testing.T, authorization string) answer {
		t.Helper()
		a, err := s.first().call("POST", "/v1/tokens", "", `{"peerId":"p"}`, "Authorization", authorization)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	none := call(t, "")
	for name, authorization := range map[string]string{
		"none":                       "",
		"Basic":                      "Basic " + key.credential(),
		"no scheme":                  key.credential(),
		"nothing behind Bearer":      "Bearer ",
		"id alone":                   "Bearer " + key.ID,
		"id and colon":               "Bearer " + key.ID + ":",
		"id and _secret_":            "Bearer " + key.ID + "_secret_",
		"secret alone":               "Bearer " + key.Secret,
		"wrong secret":               "Bearer " + key.ID + ":" + secretMark + "-wrong",
		"secret with more behind it": "Bearer " + key.credential() + "0",
		"secret cut by one":          "Bearer " + key.credential()[:len(key.credential())-1],
		"unknown key":                "Bearer sk_live_unknown:" + key.Secret,
		"id in capitals":             "Bearer " + strings.ToUpper(key.ID) + ":" + key.Secret,
		"publishable key":            "Bearer pk_live_spelt",
		"publishable key as both":    "Bearer pk_live_spelt:pk_live_spelt",
		"publishable key, no secret": "Bearer pk_live_spelt:",
		"a token":                    "Bearer " + key.token("p", nil),
	} {
		t.Run(name, func(t *testing.T) {
			a := call(t, authorization)
			a.wantError(t, 401, "unauthorized")
			if a.body != none.body {
				t.Errorf("the body tells it from others: %s", a.body)
			}
			if got := a.header.Get("WWW-Authenticate"); got != "Bearer" {
				t.Errorf("WWW-Authenticate: %q", got)
			}
		})
	}
	for _, good := range []string{"Bearer " + key.ID + ":" + key.Secret, "Bearer " + key.ID + "_secret_" + key.Secret, "bearer " + key.credential()} {
		if a := call(t, good); a.status != 200 {
			t.Errorf("a right credential gets %d %s", a.status, a.body)
		}
	}
}

// Requests over a key's rate are refused with 429 and the time to wait, those too
// that something else is wrong with; another key of the same app is not held up.
// Both nodes count together, and what was refused costs no message.
func TestRESTRate(t *testing.T) {
	key, other := newKey("eager", "**"), newKey("other", "**")
	app := newApp("app_rate", key, other)
	app.Limits.RequestsASec, app.Limits.RequestsBurst = 1, 5
	onEachRedis(t, []*appDoc{app}, func(t *testing.T, s *system) {
		requests := []struct {
			path, body string
			status     int // within the rate
		}{
			{"/v1/tokens", `{"peerId":"p"}`, 200},
			{"/v1/channels/a/publish", `{"data":1}`, 200},
			{"/v1/channels/a/publish", `{}`, 400},
		}
		passed, published, refused := 0, 0, 0
		for i := range 30 {
			request := requests[i%len(requests)]
			a, err := s.nodes[i%len(s.nodes)].call("POST", request.path, key.credential(), request.body)
			if err != nil {
				t.Fatal(err)
			}
			if a.status == request.status {
				passed++
				if i%len(requests) == 1 {
					published++
				}
				continue
			}
			refused++
			a.wantError(t, 429, "rate_limited", key.ID)
			if wait, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || wait != 1 {
				t.Errorf("Retry-After: %q, want 1", a.header.Get("Retry-After"))
			}
		}
		if passed < 5 || refused == 0 {
			t.Errorf("%d passed and %d were refused of 30; the burst is 5", passed, refused)
		}
		a, err := s.first().call("GET", "/v1/usage", other.credential(), "")
		if want := fmt.Sprintf(`"messagesUsed":%d,`, published); err != nil || a.status != 200 || !strings.Contains(a.body, want) {
			t.Errorf("%d %s (%v), want %s", a.status, a.body, err, want)
		}
		s.first().publish(t, other, "a", "1")
	})
}

// Connects over the address's rate are refused before the upgrade, across both
// nodes; who is connected stays so, and another app's peers may still come.
func TestConnectRate(t *testing.T) {
	key, other := newKey("crowd", "**"), newKey("other", "**")
	app := newApp("app_crowd", key)
	app.Limits.ConnectsAMin = 6
	onEachRedis(t, []*appDoc{app, newApp("app_other", other)}, func(t *testing.T, s *system) {
		var in []*socket
		for i := range 6 {
			in = append(in, s.nodes[i%len(s.nodes)].connect(t, key.token("camera", nil)))
		}
		for _, n := range s.nodes {
			a, err := n.call("GET", "/v1?token="+key.token("camera", nil), "", "", "Connection", "Upgrade", "Upgrade", "websocket",
				"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "MDEyMzQ1Njc4OWFiY2RlZg==")
			if err != nil {
				t.Fatal(err)
			}
			a.wantError(t, 429, "rate_limited", "6")
			if wait, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || wait < 1 || wait > 60 {
				t.Errorf("Retry-After: %q, want 1 to 60", a.header.Get("Retry-After"))
			}
		}
		s.first().connect(t, other.token("camera", nil)).alive()
		for _, d := range in {
			d.alive()
		}
	})
}

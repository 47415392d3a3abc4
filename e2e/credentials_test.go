package e2e

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// Every credential that opens no connection, with the code and the reason that
// its owner can read after the upgrade (protocol §3, §4.5). A connection that
// was there before notices nothing.
func TestRefusedCredentials(t *testing.T) {
	key := newKey("good", "devices/**")
	public := &keyDoc{ID: "pk_live_public", Patterns: []string{"public/**"}, Actions: []string{"subscribe"}}
	paused := newKey("paused", "**")
	suspended := newApp("app_paused", paused, &keyDoc{ID: "pk_live_paused", Patterns: []string{"**"}, Actions: []string{"subscribe"}})
	suspended.Suspended = true

	hour := time.Now().Add(time.Hour).Unix()
	header := func(alg, kid string) map[string]any {
		return map[string]any{"alg": alg, "typ": "JWT", "kid": kid}
	}
	ok := claims{"sub": "camera", "exp": hour}
	with := func(name string, value any) string { return "token=" + key.token("camera", claims{name: value}) }
	without := func(name string) string {
		c := claims{"sub": "camera", "exp": hour}
		delete(c, name)
		return "token=" + signed(header("HS256", key.ID), c, key.Secret)
	}
	parts := strings.Split(key.token("camera", nil), ".")

	cases := []struct {
		name, query string
		code        int
		says        string
	}{
		{"no credential", "", 4001, "token="},
		{"empty token", "token=", 4001, ""},
		{"not a JWT", "token=abc", 4001, "JWT"},
		{"alg none", "token=" + signed(header("none", key.ID), ok, ""), 4001, ""},
		{"alg none with the good signature", "token=" + segment(header("none", key.ID)) + "." + parts[1] + "." + parts[2], 4001, "HS256"},
		{"alg None", "token=" + signed(header("None", key.ID), ok, ""), 4001, ""},
		{"alg HS512, well signed", "token=" + signed(header("HS512", key.ID), ok, key.Secret), 4001, "HS256"},
		{"no alg", "token=" + signed(map[string]any{"kid": key.ID}, ok, ""), 4001, ""},
		{"no kid", "token=" + signed(map[string]any{"alg": "HS256"}, ok, key.Secret), 4001, "kid"},
		{"unknown kid", "token=" + signed(header("HS256", "sk_live_foreign"), ok, key.Secret), 4001, "kid"},
		{"another app's kid, our secret", "token=" + signed(header("HS256", paused.ID), ok, key.Secret), 4001, "signature"},
		{"kid of a publishable key, signed with nothing", "token=" + signed(header("HS256", public.ID), ok, ""), 4001, "publishable"},
		{"wrong secret", "token=" + signed(header("HS256", key.ID), ok, secretMark+"-wrong"), 4001, "signature"},
		{"payload of another token", "token=" + parts[0] + "." + segment(claims{"sub": "admin", "exp": hour}) + "." + parts[2], 4001, "signature"},
		{"signature cut", "token=" + parts[0] + "." + parts[1] + "." + parts[2][:20], 4001, ""},
		{"signature gone", "token=" + parts[0] + "." + parts[1] + ".", 4001, ""},
		{"payload is an array", "token=" + signed(header("HS256", key.ID), []int{1}, key.Secret), 4001, "payload"},
		{"over 96 KiB", with("metadata", map[string]any{"fill": strings.Repeat("f", 75_000)}), 4001, "98304"},

		{"no sub", without("sub"), 4001, "sub"},
		{"no exp", without("exp"), 4001, "exp"},
		{"sub is a number", with("sub", 7), 4001, "sub"},
		{"sub is empty", with("sub", ""), 4001, "sub"},
		{"sub of 129 bytes", with("sub", strings.Repeat("p", 129)), 4001, "sub"},
		{"sub beyond ASCII", with("sub", "caméra"), 4001, "sub"},
		{"sub with a line break", with("sub", "a\nb"), 4001, "sub"},
		{"exp is a string", with("exp", "tomorrow"), 4001, "exp"},
		{"exp is null", with("exp", nil), 4001, "exp"},
		{"exp in milliseconds", with("exp", hour*1000), 4001, "exp"},
		{"iat two minutes ahead", with("iat", time.Now().Add(2*time.Minute).Unix()), 4001, "iat"},
		{"nbf two minutes ahead", with("nbf", time.Now().Add(2*time.Minute).Unix()), 4001, "nbf"},
		{"101 channels", with("channels", repeated("devices/a", 101)), 4001, "101"},
		{"17 permissions", with("permissions", repeated("publish", 17)), 4001, "17"},
		{"channels is a string", with("channels", "devices/a"), 4001, "channels"},
		{"channels is null", with("channels", nil), 4001, "channels"},
		{"permissions holds a number", with("permissions", []any{1}), 4001, "permissions"},
		{"a channel of 257 bytes", with("channels", []string{"devices/" + strings.Repeat("a", 249)}), 4001, "channels"},
		{"metadata over 8 KiB", with("metadata", map[string]string{"a": strings.Repeat("m", 8<<10)}), 4001, "metadata"},
		{"peerMetadata over 4 KiB", with("peerMetadata", map[string]string{"a": strings.Repeat("m", 4<<10)}), 4001, "peerMetadata"},
		{"metadata is an array", with("metadata", []int{1}), 4001, "metadata"},

		{"expired", with("exp", time.Now().Add(-time.Hour).Unix()), 4002, ""},
		{"expired a second ago", with("exp", time.Now().Unix()-1), 4002, ""},

		{"a channel outside the key", with("channels", []string{"devices/camera/**", "fleets/f1/**"}), 4003, "fleets/f1/**"},
		{"a wildcard wider than the key", with("channels", []string{"**"}), 4003, "**"},

		{"suspended app", "token=" + paused.token("camera", nil), 4012, ""},
		{"suspended app's publishable key", "key=pk_live_paused", 4012, ""},

		{"unknown key", "key=pk_live_unknown", 4001, "key"},
		{"a secret key's id as key", "key=" + key.ID, 4001, "key"},
		{"a whole secret credential as key", "key=" + key.ID + ":" + key.Secret, 4001, "key"},
		{"a secret credential as token", "token=" + queryEscape(key.credential()), 4001, "JWT"},
		{"publishable key as token", "token=" + public.ID, 4001, "JWT"},
		{"a bad token beside a good key", "token=abc&key=" + public.ID, 4001, ""},
	}
	s := startEmbedded(t, newApp("app_good", key, public), suspended)
	bystander := s.first().connect(t, key.token("bystander", nil)).subscribe("devices/**")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { s.first().refused(t, c.query, c.code, c.says) })
	}
	t.Run("token in the header", func(t *testing.T) {
		bad, err := s.first().dial(t, "", http.Header{"Authorization": {"Bearer " + key.token("camera", nil) + "x"}})
		if err != nil {
			t.Fatal(err)
		}
		bad.expectClose(4001)
	})
	bystander.alive()
	s.first().publish(t, key, "devices/a", "1")
	bystander.expectMessage("devices/a", "server", "1")
}

func repeated(s string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = s
	}
	return list
}

// What the welcome says of a token (protocol §4.1), wherever the token came.
func TestWelcome(t *testing.T) {
	key := newKey("welcome", "devices/**")
	s := startEmbedded(t, newApp("app_welcome", key))
	exp := time.Now().Add(30 * time.Minute).Unix()

	check := func(t *testing.T, d *socket, frame, metadata string) {
		t.Helper()
		shape := regexp.MustCompile(`^\{"type":"welcome","peerId":"camera 001/~","expiresAt":[0-9]{10},"serverTime":[0-9]{10},"maxMessageSize":65536` + regexp.QuoteMeta(metadata) + `\}$`)
		if !shape.MatchString(frame) {
			t.Errorf("the welcome is %s", frame)
		}
		d.alive()
	}
	take := func(t *testing.T, query string, h http.Header) (*socket, string) {
		t.Helper()
		d, err := s.first().dial(t, query, h)
		if err != nil {
			t.Fatal(err)
		}
		return d, d.next()
	}
	token := key.token("camera 001/~", claims{"exp": exp, "iat": time.Now().Add(50 * time.Second).Unix(),
		"metadata": map[string]any{"site": "<north> & co"}, "peerMetadata": map[string]any{"model": "x"}})
	const metadata = `,"metadata":{"site":"<north> & co"}`

	t.Run("token in the query", func(t *testing.T) {
		d, frame := take(t, "token="+token, nil)
		check(t, d, frame, strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(metadata, "<", `\u003c`), ">", `\u003e`), "&", `\u0026`))
	})
	t.Run("token in the header", func(t *testing.T) {
		d, frame := take(t, "", http.Header{"Authorization": {"bearer " + key.token("camera 001/~", nil)}})
		check(t, d, frame, "")
	})
	t.Run("the query wins", func(t *testing.T) {
		d, frame := take(t, "token="+key.token("camera 001/~", claims{"metadata": map[string]any{}}), http.Header{"Authorization": {"Bearer x"}})
		check(t, d, frame, `,"metadata":{}`)
	})
	t.Run("times", func(t *testing.T) {
		d := s.first().connect(t, token)
		if *d.welcome.ExpiresAt != exp {
			t.Errorf("expiresAt %d, want %d", *d.welcome.ExpiresAt, exp)
		}
		if off := time.Now().Unix() - d.welcome.ServerTime; off < 0 || off > 5 {
			t.Errorf("serverTime is %d s off", off)
		}
	})
	t.Run("the largest claims there may be", func(t *testing.T) {
		object := func(n int) map[string]string { return map[string]string{"a": strings.Repeat("m", n-len(`{"a":""}`))} }
		d := s.first().connect(t, key.token(strings.Repeat("p", 128), claims{"metadata": object(8 << 10), "peerMetadata": object(4 << 10)}))
		if len(d.welcome.Metadata) != 8<<10 {
			t.Errorf("%d bytes of metadata, want %d", len(d.welcome.Metadata), 8<<10)
		}
	})
}

// A publishable key opens a connection with its own scope and nothing else
// (protocol §1): REST refuses it with the 401 that any wrong credential gets.
func TestPublishableKey(t *testing.T) {
	secret := newKey("whole", "**")
	public := &keyDoc{ID: "pk_live_1234", Patterns: []string{"public/**"}, Actions: []string{"subscribe"}}
	s := startEmbedded(t, newApp("app_public", secret, public))

	peers := map[string]bool{}
	for range 3 {
		d, err := s.first().dial(t, "key="+public.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		frame := d.next()
		m := regexp.MustCompile(`^\{"type":"welcome","peerId":"(anon_[0-9A-Za-z]{22})","expiresAt":null,"serverTime":[0-9]{10},"maxMessageSize":65536\}$`).FindStringSubmatch(frame)
		if m == nil {
			t.Fatalf("the welcome is %s", frame)
		}
		peers[m[1]] = true
		d.subscribe("public/news", "public/**")
		d.expectError(d.request(`"type":"subscribe","channel":"devices/a"`), "channel_not_authorized")
		d.expectError(d.request(`"type":"subscribe","channel":"**"`), "channel_not_authorized")
		d.expectError(d.request(`"type":"publish","channel":"public/news","data":1`), "action_not_permitted")
		s.first().publish(t, secret, "public/news", `"hello"`)
		d.expectMessage("public/news", "server", `"hello"`)
		d.leave()
	}
	if len(peers) != 3 {
		t.Errorf("the peers' ids are not all different: %v", peers)
	}

	unknown, err := s.first().call("POST", "/v1/tokens", "sk_live_nobody:x", `{"peerId":"p"}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, credential := range []string{public.ID, public.ID + ":", public.ID + ":" + public.ID, public.ID + "_secret_", public.ID + "_secret_x"} {
		for _, call := range [][2]string{
			{"POST", "/v1/tokens"}, {"POST", "/v1/channels/public%2Fnews/publish"},
			{"GET", "/v1/usage"}, {"GET", "/v1/usage/channels"}, {"GET", "/v1/usage/peers"},
			{"GET", "/v1/channels/public%2Fnews/peers"}, {"DELETE", "/v1/peers/somebody"},
		} {
			a, err := s.first().call(call[0], call[1], credential, `{"peerId":"p"}`)
			if err != nil {
				t.Fatal(err)
			}
			a.wantError(t, 401, "unauthorized")
			if a.body != unknown.body || a.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%q is told from an unknown key: %s %v", credential, a.body, a.header)
			}
		}
	}
}

// A client that sends its first frames right behind its upgrade request, before
// it has seen the response, loses none of them.
func TestFramesBehindTheUpgrade(t *testing.T) {
	key := newKey("early", "**")
	s := startEmbedded(t, newApp("app_early", key))
	frames := []string{`{"type":"subscribe","channel":"a","requestId":"1"}`, `{"type":"ping"}`}
	request := "GET /v1?token=" + key.token("camera", nil) + " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef")) + "\r\n\r\n"
	for _, f := range frames {
		request += string(ws.MustCompileFrame(ws.MaskFrameInPlace(ws.NewTextFrame([]byte(f)))))
	}
	d, status := s.first().rawUpgrade(t, request)
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", status)
	}
	if frame := d.next(); !strings.HasPrefix(frame, `{"type":"welcome","peerId":"camera"`) {
		t.Errorf("the first frame is %s", frame)
	}
	// The ack waits for Redis, the pong for nothing.
	d.expect(`{"type":"pong"}`)
	d.expect(`{"type":"ack","requestId":"1"}`)
}

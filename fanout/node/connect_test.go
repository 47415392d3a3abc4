package node

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/wstest"
)

func TestCredentials(t *testing.T) {
	r := start(t)
	token := r.token(keyID, "camera-001", func(q *auth.TokenRequest) { q.Metadata = []byte(`{"site":"north"}`) })
	welcome := regexp.MustCompile(`^\{"type":"welcome","peerId":"camera-001","expiresAt":\d+,"serverTime":\d+,"maxMessageSize":65536,"metadata":\{"site":"north"\}\}$`)
	for name, tt := range map[string]struct {
		query  string
		header http.Header
	}{
		"query":                          {query(token), nil},
		"query among others":             {"?v=1&token=" + token + "&x=%20", nil},
		"Authorization":                  {"", bearer(token)},
		"Authorization in small letters": {"", http.Header{"Authorization": {"bearer   " + token}}},
		"the query's counts, if both":    {query(token), bearer("nonsense")},
		"an Authorization of another sort beside the query": {query(token), http.Header{"Authorization": {"Basic dTpw"}}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := r.dial(tt.query, tt.header)
			check(t, err)
			if _, got := p.read(); !welcome.MatchString(got) {
				t.Errorf("got %s", got)
			}
			p.alive()
		})
	}
	t.Run("publishable key", func(t *testing.T) {
		p, err := r.dial("?key=pk_live_demo", nil)
		check(t, err)
		if _, got := p.read(); !regexp.MustCompile(`^\{"type":"welcome","peerId":"anon_[0-9A-Za-z]{22}","expiresAt":null,"serverTime":\d+,"maxMessageSize":65536\}$`).MatchString(got) {
			t.Errorf("got %s", got)
		}
		p.send(`{"type":"subscribe","channel":"public/news","requestId":"r"}`)
		p.wantText(`{"type":"ack","requestId":"r"}`)
	})
}

// A token may be long: metadata of 8 KiB makes it 12 KiB and more.
func TestLongTokenInTheURL(t *testing.T) {
	r := start(t)
	metadata := []byte(`{"fill":"` + strings.Repeat("m", 8<<10-20) + `"}`)
	token := r.token(keyID, "camera-001", func(q *auth.TokenRequest) {
		q.Metadata, q.PeerMetadata = metadata, []byte(`{"fill":"`+strings.Repeat("p", 1<<10)+`"}`)
	})
	if len(token) < 12<<10 {
		t.Fatalf("the token has %d bytes only", len(token))
	}
	for _, header := range []http.Header{nil, {"User-Agent": {strings.Repeat("u", 2000)}, "Cookie": {strings.Repeat("c", 4000)}}} {
		p, err := r.dial(query(token), header)
		check(t, err)
		if got := p.wantText(`{"type":"welcome"`); !strings.HasSuffix(got, `"metadata":`+string(metadata)+`}`) {
			t.Error("the metadata did not come back")
		}
		p.alive()
	}
}

// Protocol §4.5: what is refused after the upgrade is told by a close code.
func TestRefusedConnects(t *testing.T) {
	r := start(t)
	good := r.token(keyID, "camera-001")
	head, rest, _ := strings.Cut(good, ".")
	payload, _, _ := strings.Cut(rest, ".")
	soon := r.token(keyID, "camera-001", func(q *auth.TokenRequest) { q.TTL = time.Second })
	expired := start(t, func(o *Options) { o.Now = func() time.Time { return time.Now().Add(time.Minute) } })

	// A key of the same name may have had more patterns when this was signed.
	wide, err := apps.Parse([]byte(strings.Replace(document, `["devices/**","fleets/**"]`, `["**"]`, 1)))
	check(t, err)
	key, _ := wide.Key(keyID)
	tooWide, _, err := auth.Mint(key, auth.TokenRequest{Peer: "a", Channels: []*channel.Pattern{mustCompile(t, "devices/a"), mustCompile(t, "secrets/**")}}, time.Now())
	check(t, err)

	for _, tt := range []struct {
		name   string
		r      *running
		query  string
		header http.Header
		code   int
		reason string // "" is any
	}{
		{"no credential", r, "", nil, 4001, "no credential: connect with ?token=<JWT> or ?key=<pk_…>"},
		{"an empty token", r, "?token=", nil, 4001, ""},
		{"no token", r, "?token=nonsense", nil, 4001, ""},
		{"a token without a signature", r, query(head + "." + payload + "."), nil, 4001, ""},
		{"a token with a wrong signature", r, query(good[:len(good)-4] + "AAAA"), nil, 4001, ""},
		{"alg none", r, query("eyJhbGciOiJub25lIiwia2lkIjoic2tfbGl2ZV9kZW1vIn0." + payload + "."), nil, 4001, ""},
		{"an unknown kid", r, query("eyJhbGciOiJIUzI1NiIsImtpZCI6InNrX25vbmUifQ." + payload + ".AAAA"), nil, 4001, ""},
		{"a token of 17 KiB", r, query(strings.Repeat("t", 17<<10)), nil, 4001, ""},
		{"bad Authorization", r, "", bearer("nonsense"), 4001, ""},
		{"Authorization of another sort", r, "", http.Header{"Authorization": {"Basic dTpw"}}, 4001, ""},
		{"an unknown publishable key", r, "?key=pk_none", nil, 4001, ""},
		{"a secret key's id", r, "?key=" + keyID, nil, 4001, ""},
		{"a secret credential as key", r, "?key=" + keyID + ":" + secret, nil, 4001, ""},
		{"a secret credential as token", r, "?token=" + keyID + ":" + secret, nil, 4001, ""},
		{"a secret credential in Authorization", r, "", bearer(keyID + ":" + secret), 4001, ""},
		{"expired", expired, query(soon), nil, 4002, "token expired"},
		{"a channel that the key does not cover", r, query(tooWide), nil, 4003, "the key does not cover secrets/**"},
		{"a suspended app", r, query(r.token("sk_live_paused", "a")), nil, 4012, "the app is suspended"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := tt.r.dial(tt.query, tt.header)
			check(t, err)
			p.t = t
			p.wantClose(tt.code, tt.reason)
		})
	}
	for _, r := range []*running{r, expired} {
		check(t, r.wait())
		log := r.log.String()
		for _, hush := range []string{secret, good, soon, tooWide, payload, "dTpw"} {
			if strings.Contains(log, hush) {
				t.Errorf("the log has a credential in it: %s", hush)
			}
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, "connection refused") && (strings.Contains(line, `reason=""`) || !strings.Contains(line, "code=40") || !strings.Contains(line, "address=127.0.0.1")) {
				t.Errorf("a refusal without its reason, code or address: %s", line)
			}
		}
	}
	if n := strings.Count(r.log.String(), "connection refused"); n != 17 {
		t.Errorf("%d refusals are logged, want 17:\n%s", n, r.log)
	}
}

// Protocol §4.5, 4010; a connection that ends makes room for the next.
func TestConnectionLimit(t *testing.T) {
	r := start(t)
	first, second := r.connect("sk_live_few", "a"), r.connect("sk_live_few", "b")
	third, err := r.dial(query(r.token("sk_live_few", "c")), nil)
	check(t, err)
	third.wantClose(4010, "the app has its 2 connections")
	r.connect(keyID, "of another app").alive()

	check(t, first.conn.Close())
	eventually(t, "room for another", func() bool {
		p, err := r.dial(query(r.token("sk_live_few", "c")), nil)
		check(t, err)
		if op, got := p.read(); op == ws.OpText {
			p.alive()
			return true
		} else if op != ws.OpClose {
			t.Fatalf("got frame %x %q", op, got)
		}
		_ = p.conn.Close()
		return false
	})
	second.alive()
}

// Protocol §6: per address and app, before the upgrade.
func TestConnectLimit(t *testing.T) {
	r := start(t, func(o *Options) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	try := func(key, forwardedFor string) (int, http.Header, string) {
		t.Helper()
		header := upgrade("X-Forwarded-For", forwardedFor)
		return r.request("GET", "http://"+r.Addr()+"/v1?token="+r.token(key, "a"), header)
	}
	over := func(key, forwardedFor string) bool {
		t.Helper()
		status, header, body := try(key, forwardedFor)
		if status == http.StatusSwitchingProtocols {
			return false
		}
		if status != 429 {
			t.Fatalf("status %d %s", status, body)
		}
		wantErrorBody(t, body, "rate_limited")
		if seconds, err := strconv.Atoi(header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 60 {
			t.Errorf("Retry-After %q, want 1 to 60 seconds", header.Get("Retry-After"))
		}
		return true
	}
	for n := 1; n <= 5; n++ { // app_small allows 3
		if got := over("sk_live_small", "198.51.100.1"); got != (n > 3) {
			t.Fatalf("connect %d: over the limit: %v", n, got)
		}
	}
	if over("sk_live_small", "198.51.100.2") {
		t.Error("another address is over the limit")
	}
	if over(keyID, "198.51.100.1") {
		t.Error("the same address is over another app's limit")
	}
	// HOSTILE: addresses made up in front of the one that the proxy wrote.
	if !over("sk_live_small", "203.0.113.5, 198.51.100.1") {
		t.Error("a made-up address passes")
	}
	// HOSTILE: a subscriber's /64 has addresses for a new one at each connect.
	for n := 1; n <= 5; n++ {
		if got := over("sk_live_small", "2001:db8:1:2::"+strconv.Itoa(n)); got != (n > 3) {
			t.Fatalf("connect %d out of one /64: over the limit: %v", n, got)
		}
	}
	if over("sk_live_small", "2001:db8:1:3::1") {
		t.Error("another /64 is over the limit")
	}
	// Credentials that name no app count together, with the default limit.
	for n := 1; n <= 61; n++ {
		status, _, body := r.request("GET", "http://"+r.Addr()+"/v1?token=nonsense"+strconv.Itoa(n), upgrade("X-Forwarded-For", "198.51.100.9"))
		if want := map[bool]int{false: 101, true: 429}[n > 60]; status != want {
			t.Fatalf("connect %d: status %d %s, want %d", n, status, body, want)
		}
	}
}

// What a peer sends right behind its upgrade request, in the same segment.
func TestEarlyFrames(t *testing.T) {
	r := start(t)
	masked := func(payload string) string {
		return string(ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(payload)))))
	}
	publish := masked(`{"type":"publish","channel":"devices/a","data":"` + strings.Repeat("x", 10_000) + `","requestId":"p"}`)
	for name, tt := range map[string]struct{ early, later string }{
		"whole frames":             {masked(`{"type":"subscribe","channel":"devices/b","requestId":"s"}`) + publish, ""},
		"the last one cut":         {masked(`{"type":"subscribe","channel":"devices/b","requestId":"s"}`) + publish[:5000], publish[5000:]},
		"one byte":                 {masked(`{"type":"subscribe","channel":"devices/b","requestId":"s"}`)[:1], masked(`{"type":"subscribe","channel":"devices/b","requestId":"s"}`)[1:] + publish},
		"everything a moment late": {"", masked(`{"type":"subscribe","channel":"devices/b","requestId":"s"}`) + publish},
	} {
		t.Run(name, func(t *testing.T) {
			conn, in := r.raw(rawUpgrade(query(r.token(keyID, "a"))) + tt.early)
			response, err := http.ReadResponse(in, nil)
			check(t, err)
			if response.StatusCode != 101 {
				t.Fatalf("status %d", response.StatusCode)
			}
			p := &peer{t: t, conn: conn, in: in}
			p.wantText(`{"type":"welcome"`)
			_, err = io.WriteString(conn, tt.later)
			check(t, err)
			got := map[string]bool{}
			for range 2 {
				got[p.wantText(`{"type":"ack"`)] = true
			}
			if !got[`{"type":"ack","requestId":"s"}`] || !got[`{"type":"ack","requestId":"p"}`] {
				t.Errorf("got %v", got)
			}
		})
	}
	t.Run("to one that is refused", func(t *testing.T) {
		conn, in := r.raw(rawUpgrade("?token=nonsense") + masked(`{"type":"ping"}`) + publish)
		_, err := http.ReadResponse(in, nil)
		check(t, err)
		(&peer{t: t, conn: conn, in: in}).wantClose(4001, "")
	})
}

// Issue: sockets stay open when Redis goes away; new ones close with 1013.
func TestWithoutRedis(t *testing.T) {
	r := start(t)
	old := r.connect(keyID, "old")
	old.send(`{"type":"subscribe","channel":"devices/a","requestId":"s"}`)
	old.wantText(`{"type":"ack"`)
	token := r.token(keyID, "new")

	back := redistest.Close(t, r.redis)
	for range 3 { // the first of them finds out
		p, err := r.dial(query(token), nil)
		check(t, err)
		p.wantClose(1013, "try again later")
	}
	if status, _, body := r.request("GET", "http://"+r.OpsAddr()+"/readyz", nil); status != 503 || !strings.Contains(body, "redis does not answer") {
		t.Errorf("/readyz: %d %q", status, body)
	}
	if status, _, _ := r.request("GET", "http://"+r.OpsAddr()+"/healthz", nil); status != 200 {
		t.Errorf("/healthz: %d", status)
	}
	old.alive()
	old.send(`{"type":"publish","channel":"devices/b","data":1,"requestId":"p"}`)
	if got := old.wantText(`{"type":"error","requestId":"p","code":"backend_error"`); strings.Contains(got, "127.0.0.1") {
		t.Errorf("the error tells of the inside: %s", got)
	}
	p, err := r.dial("?token=nonsense", nil) // what is wrong for ever is said first
	check(t, err)
	p.wantClose(4001, "")

	back()
	r.awaitReady()
	r.connect(keyID, "new").send(`{"type":"publish","channel":"devices/a","data":"back"}`)
	old.wantText(`{"type":"message","channel":"devices/a","from":"new","data":"back"}`)
}

// One node, all the way: to whom a message goes, and what of it.
func TestDelivery(t *testing.T) {
	r := start(t)
	camera := func() *peer {
		p, err := r.dial(query(r.token(keyID, "camera", func(q *auth.TokenRequest) { q.PeerMetadata = []byte(`{"site":"north"}`) })), nil)
		check(t, err)
		p.wantText(`{"type":"welcome"`)
		return p
	}
	sender, second, ingester := camera(), camera(), r.connect(keyID, "ingester")
	subscribe := func(p *peer, name, more string) {
		t.Helper()
		p.send(`{"type":"subscribe","channel":"` + name + `"` + more + `,"requestId":"s"}`)
		p.wantText(`{"type":"ack","requestId":"s"}`)
	}
	subscribe(sender, "devices/camera/events", "")
	subscribe(second, "devices/camera/events", "")
	subscribe(ingester, "devices/*/events", `,"includeSenderMetadata":true`)
	subscribe(ingester, "devices/camera/events", "")
	for _, data := range []string{`1.0`, `1e400`, `12345678901234567890`, `null`, `{ "a" : "\u00e9" }`} {
		sender.send(`{"type":"publish","channel":"devices/camera/events","data":` + data + `,"requestId":"p"}`)
		sender.wantText(`{"type":"ack","requestId":"p"}`)
		second.wantText(`{"type":"message","channel":"devices/camera/events","from":"camera","data":` + data + `}`)
		ingester.wantText(`{"type":"message","channel":"devices/camera/events","from":"camera","fromMetadata":{"site":"north"},"data":` + data + `}`)
	}
	for _, p := range []*peer{sender, second, ingester} {
		p.alive() // and nothing else has come
	}
	for frame, code := range map[string]string{
		`{"type":"publish","channel":"devices/*/events","data":1,"requestId":"p"}`: "invalid_channel",
		`{"type":"publish","channel":"_system/x","data":1,"requestId":"p"}`:        "channel_reserved",
		`{"type":"publish","channel":"public/x","data":1,"requestId":"p"}`:         "channel_not_authorized",
		`{"type":"publish","channel":"devices/x","requestId":"p"}`:                 "missing_data",
	} {
		sender.send(frame)
		sender.wantText(`{"type":"error","requestId":"p","code":"` + code + `"`)
	}
}

// Protocol §6, as the node applies it to one app.
func TestQuotaAndRate(t *testing.T) {
	r := start(t)
	p := r.connect("sk_live_small", "a")
	for _, want := range []string{`{"type":"ack","requestId":"p"}`, `{"type":"ack","requestId":"p"}`, `{"type":"error","requestId":"p","code":"over_message_quota"`, `{"type":"error","requestId":"p","code":"over_message_quota"`} {
		p.send(`{"type":"publish","channel":"c","data":1,"requestId":"p"}`)
		p.wantText(want)
	}
	ping := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(`{"type":"ping"}`))))
	_, err := p.conn.Write(bytes.Repeat(ping, 50))
	check(t, err)
	for b, _ := p.in.Peek(1); len(b) > 0 && b[0] != 0x88; b, _ = p.in.Peek(1) {
		_, err := wstest.ReadFrame(p.in)
		check(t, err)
	}
	p.wantClose(4011, "over 1 frames per second (burst 5)")
}

// The node pings by itself: group after group has its turn, each second one.
func TestNodePings(t *testing.T) {
	r := prepare(t)
	r.sessions.last = uint64(keepAliveGroups) + 1 // the next is in the third group
	r.run()
	r.awaitReady()
	p := r.connect(keyID, "a")
	check(t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	f, err := wstest.ReadFrame(p.in)
	check(t, err)
	if f.Header.OpCode != ws.OpPing || len(f.Payload) > 0 {
		t.Errorf("got frame %x %q, want a ping", f.Header.OpCode, f.Payload)
	}
}

package node

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/embedded"
	"fleetwire/pkg/logtest"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/wstest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// fasthttp's own: the time of day for its Date headers, kept by the process, and
		// the sweeper of a stopped server, which notices that when it next wakes up.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// patience is far more than anything takes; only a test that fails waits for it.
const patience = 20 * time.Second

const (
	keyID  = "sk_live_demo"
	secret = "5ec4e7000000000000000000000000000000000000000001"
)

// document has an app without much of a limit, one with every limit at 2, and a
// suspended one.
const document = `{"apps":[
 {"id":"app_demo","limits":{"connectsPerAddressPerMin":100000},
  "keys":[{"id":"` + keyID + `","secret":"` + secret + `","channelPatterns":["devices/**","fleets/**"],"actions":["publish","subscribe"]},
          {"id":"pk_live_demo","channelPatterns":["public/**"],"actions":["subscribe"]}]},
 {"id":"app_small","plan":{"name":"s","maxConcurrentConnections":2,"maxMessagesPerPeriod":2,"overagesAllowed":false,"overagesEnabled":false},
  "limits":{"connectsPerAddressPerMin":3,"connectionMessagesPerSec":1,"connectionMessagesBurst":5},
  "keys":[{"id":"sk_live_small","secret":"5ec4e7000000000000000000000000000000000000000002","channelPatterns":["**"],"actions":["publish","subscribe"]}]},
 {"id":"app_few","plan":{"name":"s","maxConcurrentConnections":2,"maxMessagesPerPeriod":100,"overagesAllowed":false,"overagesEnabled":false},
  "limits":{"connectsPerAddressPerMin":100000},
  "keys":[{"id":"sk_live_few","secret":"5ec4e7000000000000000000000000000000000000000003","channelPatterns":["**"],"actions":["publish","subscribe"]}]},
 {"id":"app_paused","suspended":true,"limits":{"connectsPerAddressPerMin":100000},
  "keys":[{"id":"sk_live_paused","secret":"5ec4e7000000000000000000000000000000000000000004","channelPatterns":["**"],"actions":["publish"]}]}]}`

// running is a node on an embedded Redis that serves.
type running struct {
	*Node
	t     testing.TB
	redis *embedded.Redis
	log   *logtest.Buffer
	stop  func()
	ended chan error
}

// start runs a node until the test ends.
func start(t testing.TB, changes ...func(*Options)) *running {
	t.Helper()
	r := prepare(t, changes...)
	r.run()
	r.awaitReady()
	return r
}

func prepare(t testing.TB, changes ...func(*Options)) *running {
	t.Helper()
	dir, err := apps.Parse([]byte(document))
	check(t, err)
	m, rdb := redistest.Embedded(t)
	r := &running{t: t, redis: m, log: &logtest.Buffer{}, ended: make(chan error, 1)}
	opt := Options{
		Listen: "127.0.0.1:0", Ops: "127.0.0.1:0", Apps: apps.NewStore(dir), Redis: rdb,
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, change := range changes {
		change(&opt)
	}
	r.Node, err = New(opt)
	check(t, err)
	return r
}

func (r *running) run() {
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.ended <- r.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if r.stop != nil {
			check(r.t, r.wait())
		}
	})
}

// wait returns what Run did, when it has.
func (r *running) wait() error {
	r.t.Helper()
	r.stop()
	r.stop = nil
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		stacks := make([]byte, 1<<20)
		r.t.Fatalf("the node does not stop\n%s", stacks[:runtime.Stack(stacks, true)])
		return nil
	}
}

func (r *running) awaitReady() {
	r.t.Helper()
	eventually(r.t, "ready", r.Ready)
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not %s within %v", what, patience)
		}
	}
}

// token is one of the key's for peer, changed before it is signed.
func (r *running) token(key, peer string, changes ...func(*auth.TokenRequest)) string {
	r.t.Helper()
	k, ok := r.opt.Apps.Current().Key(key)
	if !ok {
		r.t.Fatalf("no key %s", key)
	}
	request := auth.TokenRequest{Peer: peer}
	for _, change := range changes {
		change(&request)
	}
	token, _, err := auth.Mint(k, request, time.Now())
	check(r.t, err)
	return token
}

// peer is a WebSocket connection to the node.
type peer struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

// dial upgrades with this query, and these headers.
func (r *running) dial(query string, header http.Header) (*peer, error) {
	dialer := ws.Dialer{Timeout: patience, Header: ws.HandshakeHeaderHTTP(header)}
	conn, early, _, err := dialer.Dial(context.Background(), "ws://"+r.Addr()+"/v1"+query)
	if err != nil {
		return nil, err
	}
	p := &peer{t: r.t, conn: conn, in: early}
	if early == nil {
		p.in = bufio.NewReader(conn)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return p, nil
}

// connect dials with a good token, and reads the welcome.
func (r *running) connect(key, name string) *peer {
	r.t.Helper()
	p, err := r.dial("?token="+r.token(key, name), nil)
	check(r.t, err)
	p.wantText(`{"type":"welcome","peerId":"` + name + `"`)
	return p
}

func (p *peer) send(frames ...string) {
	p.t.Helper()
	for _, f := range frames {
		check(p.t, wsutil.WriteClientText(p.conn, []byte(f)))
	}
}

// read returns the next frame that is no ping: those come when it is their turn.
func (p *peer) read() (ws.OpCode, string) {
	p.t.Helper()
	for {
		check(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
		f, err := wstest.ReadFrame(p.in)
		if err != nil {
			p.t.Fatalf("reading a frame: %v", err)
		}
		if f.Header.OpCode != ws.OpPing {
			return f.Header.OpCode, string(f.Payload)
		}
	}
}

// wantText wants a text frame that begins so.
func (p *peer) wantText(begins string) string {
	p.t.Helper()
	op, got := p.read()
	if op != ws.OpText || !strings.HasPrefix(got, begins) {
		p.t.Fatalf("got frame %x %s\nwant text %s…", op, got, begins)
	}
	return got
}

// wantClose wants a close frame and then the end. reason "" is any.
func (p *peer) wantClose(code int, reason string) {
	p.t.Helper()
	op, got := p.read()
	if op != ws.OpClose || len(got) < 2 || int(binary.BigEndian.Uint16([]byte(got))) != code || reason != "" && got[2:] != reason {
		p.t.Fatalf("got frame %x %d %q, want close %d %q", op, []byte(got[:min(2, len(got))]), got, code, reason)
	}
	_ = p.conn.(*net.TCPConn).CloseWrite()
	if _, err := p.in.ReadByte(); !errors.Is(err, io.EOF) {
		p.t.Fatalf("got %v, want the end of the stream", err)
	}
}

func (p *peer) alive() {
	p.t.Helper()
	p.send(`{"type":"ping"}`)
	p.wantText(`{"type":"pong"}`)
}

// request makes a plain HTTP request.
func (r *running) request(method, target string, header http.Header) (status int, h http.Header, body string) {
	r.t.Helper()
	request, err := http.NewRequest(method, target, nil)
	check(r.t, err)
	for name, values := range header {
		request.Header[name] = values
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Do(request)
	check(r.t, err)
	defer response.Body.Close()
	if response.StatusCode == http.StatusSwitchingProtocols {
		return response.StatusCode, response.Header, ""
	}
	text, err := io.ReadAll(response.Body)
	check(r.t, err)
	return response.StatusCode, response.Header, string(text)
}

func wantErrorBody(t testing.TB, body, code string) {
	t.Helper()
	var e struct{ Error, Message string }
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error != code || e.Message == "" {
		t.Errorf("body %s, want the error %s", body, code)
	}
}

// upgrade is the upgrade request's header.
func upgrade(extra ...string) http.Header {
	h := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	for i := 0; i < len(extra); i += 2 {
		h.Set(extra[i], extra[i+1])
	}
	return h
}

// raw writes bytes to the node.
func (r *running) raw(text string) (*net.TCPConn, *bufio.Reader) {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.Addr())
	check(r.t, err)
	r.t.Cleanup(func() { _ = conn.Close() })
	check(r.t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, text)
	check(r.t, err)
	return conn.(*net.TCPConn), bufio.NewReader(conn)
}

func rawUpgrade(query string) string {
	return "GET /v1" + query + " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func query(token string) string { return "?token=" + url.QueryEscape(token) }

func mustCompile(t testing.TB, s string) *channel.Pattern {
	t.Helper()
	p, err := channel.Compile(s)
	check(t, err)
	return p
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

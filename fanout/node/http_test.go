package node

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/door"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/wstest"
)

func TestWhatIsNoUpgrade(t *testing.T) {
	r := start(t)
	without := func(name string) http.Header { h := upgrade(); h.Del(name); return h }
	for _, tt := range []struct {
		name, method, path string
		header             http.Header
		status             int
		code               string
		answer             map[string]string
	}{
		{"a plain GET", "GET", "/v1", nil, 426, "invalid_request", map[string]string{"Upgrade": "websocket"}},
		{"a plain GET with a token", "GET", "/v1?token=x", nil, 426, "invalid_request", map[string]string{"Upgrade": "websocket"}},
		{"an upgrade to something else", "GET", "/v1", upgrade("Upgrade", "h2c"), 426, "invalid_request", nil},
		{"no Connection: Upgrade", "GET", "/v1", without("Connection"), 426, "invalid_request", nil},
		{"no key", "GET", "/v1", without("Sec-Websocket-Key"), 426, "invalid_request", nil},
		{"no version", "GET", "/v1", without("Sec-Websocket-Version"), 426, "invalid_request", nil},
		{"an old version", "GET", "/v1", upgrade("Sec-WebSocket-Version", "8"), 426, "invalid_request", map[string]string{"Sec-Websocket-Version": "13"}},
		{"POST", "POST", "/v1", nil, 405, "method_not_allowed", map[string]string{"Allow": "GET, HEAD"}},
		{"POST with an upgrade", "POST", "/v1", upgrade(), 405, "method_not_allowed", map[string]string{"Allow": "GET, HEAD"}},
		{"PUT", "PUT", "/v1", nil, 405, "method_not_allowed", map[string]string{"Allow": "GET, HEAD"}},
		{"OPTIONS", "OPTIONS", "/v1", nil, 405, "method_not_allowed", nil},
		{"the root", "GET", "/", nil, 404, "not_found", nil},
		{"two slashes behind", "GET", "/v1//", upgrade(), 404, "not_found", nil},
		{"capitals", "GET", "/V1", upgrade(), 404, "not_found", nil},
		{"REST without a control plane", "POST", "/v1/tokens", nil, 404, "not_found", nil},
		{"operations are elsewhere", "GET", "/metrics", nil, 404, "not_found", nil},
		{"health is elsewhere", "GET", "/healthz", nil, 404, "not_found", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, header, body := r.request(tt.method, "http://"+r.Addr()+tt.path, tt.header)
			if status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			wantErrorBody(t, body, tt.code)
			if got := header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type %q", got)
			}
			for name, want := range tt.answer {
				if got := header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestControlPlaneHasEverythingElse(t *testing.T) {
	r := prepare(t)
	r.MountControlPlane(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/v1/boom" {
			panic("a bug: 0xdecaf")
		}
		body, _ := io.ReadAll(request.Body)
		_, _ = io.WriteString(w, request.Method+" "+request.URL.EscapedPath()+" "+string(body))
	}))
	r.run()
	r.awaitReady()
	for _, tt := range []struct{ method, path, want string }{
		{"POST", "/v1/tokens", "POST /v1/tokens "},
		{"POST", "/v1/channels/devices%2Fa%20b/publish", "POST /v1/channels/devices%2Fa%20b/publish "},
		{"DELETE", "/v1/peers/a", "DELETE /v1/peers/a "},
		{"GET", "/", "GET / "},
	} {
		if status, _, body := r.request(tt.method, "http://"+r.Addr()+tt.path, nil); status != 200 || body != tt.want {
			t.Errorf("%s %s: %d %q, want %q", tt.method, tt.path, status, body, tt.want)
		}
	}
	status, _, body := r.request("GET", "http://"+r.Addr()+"/v1", nil) // but this is the node's
	if status != 426 {
		t.Errorf("GET /v1: %d %s", status, body)
	}
	status, _, body = r.request("GET", "http://"+r.Addr()+"/v1/boom", nil)
	if status != 500 || strings.Contains(body, "0xdecaf") {
		t.Errorf("a panic: %d %s", status, body)
	}
	wantErrorBody(t, body, "internal_error")
	if log := r.log.String(); !strings.Contains(log, "a request panicked") || !strings.Contains(log, "0xdecaf") {
		t.Errorf("the log lacks the panic:\n%s", log)
	}
	r.connect(keyID, "device-1").alive()
}

// HOSTILE: requests that would fill the node's memory.
func TestTooMuchOfARequest(t *testing.T) {
	r := start(t)
	for name, tt := range map[string]struct {
		request string
		status  string
		code    string
	}{
		"a body of 300 KB":   {"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("x", 300_000), "404", "not_found"},
		"a body of 1 TB":     {"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n", "404", "not_found"},
		"a header of 200 KB": {"GET /v1 HTTP/1.1\r\nHost: x\r\nX-Fill: " + strings.Repeat("x", 200_000), "431", "invalid_request"},
		"a URL of 200 KB":    {"GET /v1?token=" + strings.Repeat("x", 200_000), "414", "invalid_request"},
		"no HTTP":            {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400", "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", r.Addr())
			check(t, err)
			defer conn.Close()
			check(t, conn.SetDeadline(time.Now().Add(patience)))
			go func() { _, _ = io.WriteString(conn, tt.request) }() // it may be refused half-way
			answer, _ := io.ReadAll(conn)                           // a reset may follow it
			head, body, _ := strings.Cut(string(answer), "\r\n\r\n")
			if !strings.HasPrefix(head, "HTTP/1.1 "+tt.status) {
				t.Fatalf("got %q, want %s", head, tt.status)
			}
			wantErrorBody(t, body, tt.code)
		})
	}
}

// A client that sends a body which nobody wants, and only then reads, reads the answer.
func TestAnUnwantedBodySentWhole(t *testing.T) {
	r := start(t)
	const size = 2 << 20
	for range 10 {
		conn, in := r.raw("POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n" + strings.Repeat("x", size))
		response, err := http.ReadResponse(in, nil)
		check(t, err)
		body, err := io.ReadAll(response.Body)
		check(t, err)
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("status %d %s", response.StatusCode, body)
		}
		wantErrorBody(t, string(body), "not_found")
		if _, err := in.ReadByte(); err != io.EOF {
			t.Errorf("after the answer: %v, want the end of the stream", err)
		}
		_ = conn.Close()
	}
}

// HOSTILE: a body that never ends must not keep the node for longer than it takes
// to answer.
func TestAnEndlessBodyIsCutOff(t *testing.T) {
	r := start(t)
	conn, in := r.raw("POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n")
	sent := make(chan int, 1)
	go func() {
		total := 0
		for fill := make([]byte, 64<<10); ; {
			n, err := conn.Write(fill)
			if total += n; err != nil {
				sent <- total
				return
			}
		}
	}()
	_, _ = io.ReadAll(in) // the answer, or a reset
	if got := <-sent; got > 32<<20 {
		t.Errorf("%d bytes were received", got)
	}
}

// HOSTILE: connections that are opened and never come to the point, each of them
// a descriptor and a goroutine.
func TestSlowRequestsAreCutOff(t *testing.T) {
	r := prepare(t)
	server := r.door.Server()
	if server.ReadTimeout <= 0 || server.ReadTimeout > 30*time.Second || server.IdleTimeout <= 0 || server.WriteTimeout <= 0 {
		t.Errorf("timeouts: read %v, idle %v, write %v", server.ReadTimeout, server.IdleTimeout, server.WriteTimeout)
	}
	const timeout = time.Second // far more than a client needs to send what it has, also on a busy machine
	server.ReadTimeout, server.IdleTimeout = timeout, timeout
	var served []string
	r.MountControlPlane(counting(&served))
	r.run()
	r.awaitReady()
	var all sync.WaitGroup
	for name, begin := range map[string]string{
		"not a byte":            "",
		"one byte":              "G",
		"half a header":         "GET /v1 HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
		"half a body":           "POST /v1/tokens HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + keyID + ":" + secret + "\r\nContent-Length: 100\r\n\r\n{",
		"half a chunk":          "POST /v1/tokens HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + keyID + ":" + secret + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
		"nothing after a reply": "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		_, in := r.raw(begin)
		all.Go(func() {
			answer, err := io.ReadAll(in)
			if isTimeout(err) {
				t.Errorf("%s: the connection stays open", name)
			}
			if strings.HasPrefix(name, "half") && !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
				t.Errorf("%s: answered %q, want 408", name, answer)
			}
		})
	}
	// What came to the point in time has time again.
	p := r.connect(keyID, "device-1")
	check(t, p.conn.SetReadDeadline(time.Now().Add(timeout+timeout/2)))
	for {
		if _, err := p.in.Peek(1); isTimeout(err) {
			break
		}
		// The node may tell it that Redis is slow.
		if f, err := wstest.ReadFrame(p.in); err != nil || f.Header.OpCode != ws.OpText {
			t.Fatalf("a WebSocket was cut off: %+v %v", f.Header, err)
		}
	}
	p.alive()
	all.Wait()
	if len(served) > 1 { // the one that was whole
		t.Errorf("served %q", served)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer taken.Close()
	r := prepare(t)
	defer func() { _ = r.listener.Close(); _ = r.opsListener.Close() }()
	for _, tt := range []struct{ listen, ops, option string }{
		{taken.Addr().String(), "", "listen"}, {"127.0.0.1:0", taken.Addr().String(), "ops"}, {"nonsense", "", "listen"}, {"127.0.0.1:99999", "", "listen"},
	} {
		opt := r.opt
		opt.Listen, opt.Ops = tt.listen, tt.ops
		_, err := New(opt)
		var listenError *ListenError
		if !errors.As(err, &listenError) || listenError.Option != tt.option {
			t.Errorf("error %v, want a ListenError of %s", err, tt.option)
			continue
		}
		// One clear line that names the flag.
		if text := err.Error(); !strings.HasPrefix(text, "-"+tt.option+": ") || strings.Contains(text, "\n") {
			t.Errorf("error %q does not begin with -%s", text, tt.option)
		}
		if errors.Unwrap(err) == nil {
			t.Error("the error has lost its cause")
		}
	}
}

// HOSTILE: an upgrade that makes the node panic. Nobody owns the socket then, so
// it must be closed, and the node must be able to stop.
func TestPanicInAnUpgrade(t *testing.T) {
	r := prepare(t, func(o *Options) {
		o.Now = func() time.Time {
			if strings.Contains(string(debug.Stack()), "session.New(") {
				panic("a bug: 0xdecaf")
			}
			return time.Now()
		}
	})
	r.run()
	r.awaitReady()
	_, in := r.raw(rawUpgrade(query(r.token(keyID, "device-1"))))
	if rest, err := io.ReadAll(in); len(rest) > 0 || isTimeout(err) {
		t.Errorf("got %q, error %v; want the end of the stream and no more", rest, err)
	}
	check(t, r.wait())
	if log := r.log.String(); !strings.Contains(log, "an upgrade panicked") || !strings.Contains(log, "0xdecaf") {
		t.Errorf("the log lacks the panic:\n%s", log)
	}
}

// failing stands before what a connect asks, and panics the first time that the step is.
type failing struct {
	door.Limiter
	door.Connections
	door.Metrics
	live func() bool
	step string
	once sync.Once
}

func (f *failing) begin(step string) {
	if step == f.step {
		f.once.Do(func() { panic("a bug: 0xdecaf") })
	}
}

func (f *failing) AllowConnect(ctx context.Context, app, address string, perMinute int) (bool, time.Duration, error) {
	f.begin("address limit")
	return f.Limiter.AllowConnect(ctx, app, address, perMinute)
}

func (f *failing) Live() bool {
	f.begin("register")
	return f.live()
}

func (f *failing) Acquire(a quota.Applicant) {
	f.begin("concurrency")
	f.Connections.Acquire(a)
}

func (f *failing) Connected() {
	f.begin("welcome")
	f.Metrics.Connected()
}

// A step of a connect that panics, on whichever goroutine, costs that connection alone,
// and its peer hears no more than that something failed.
func TestPanicInAStepOfAConnect(t *testing.T) {
	for _, step := range []string{"address limit", "register", "concurrency", "welcome"} {
		t.Run(step, func(t *testing.T) {
			r := prepare(t)
			d := r.door
			f := &failing{Limiter: d.Limiter, Connections: d.Connections, Metrics: d.Metrics, live: d.Live, step: step}
			d.Limiter, d.Connections, d.Metrics, d.Live = f, f, f, f.Live
			r.run()
			r.awaitReady()
			if step == "address limit" { // before the upgrade
				status, _, body := r.request("GET", "http://"+r.Addr()+"/v1"+query(r.token("sk_live_few", "device-1")), upgrade())
				wantErrorBody(t, body, "internal_error")
				if status != 500 || strings.Contains(body, "0xdecaf") {
					t.Errorf("%d %s", status, body)
				}
			} else {
				p, err := r.dial(query(r.token("sk_live_few", "device-1")), nil)
				check(t, err)
				p.wantClose(1011, protocol.CloseInternalError.Reason())
			}
			if !strings.Contains(r.log.String(), "0xdecaf") {
				t.Error("the log lacks the panic")
			}
			r.connect("sk_live_few", "device-2").alive() // of two connections that the app may have
			r.connect("sk_live_few", "device-3").alive()
		})
	}
}

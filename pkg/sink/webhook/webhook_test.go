package webhook

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/sink"
	"fleetwire/pkg/sink/sinktest"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// open makes a target that may reach loopback.
func open(t *testing.T, url string, change func(*Options)) *Target {
	t.Helper()
	opt := Options{URL: url, Secrets: []string{secret}, Networks: loopback}
	if change != nil {
		change(&opt)
	}
	target, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	return target
}

// serve starts an endpoint.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestDeliverPostsWhatIsSigned(t *testing.T) {
	at := time.Unix(1767222001, 0)
	for _, cloudEvents := range []bool{false, true} {
		t.Run(fmt.Sprint(cloudEvents), func(t *testing.T) {
			batch := sinktest.Messages(3)
			endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				var events []json.RawMessage
				if err := json.Unmarshal(body, &events); err != nil || len(events) != 3 {
					t.Errorf("%s: %v", body, err)
				}
				for i := range events {
					if want := sink.Payload(&batch[i], cloudEvents); string(events[i]) != string(want) {
						t.Errorf("got  %s\nwant %s", events[i], want)
					}
				}
				wantType := map[bool]string{false: "application/json", true: "application/cloudevents-batch+json"}[cloudEvents]
				keys := [][]byte{}
				for _, s := range []string{secret, "whsec_" + strings.Repeat("AAAA", 8)} {
					key, _ := apps.WebhookKey(s)
					keys = append(keys, key)
				}
				for name, want := range map[string]string{
					"Content-Type": wantType, "User-Agent": "Fleetwire-Webhook", "Webhook-Id": ID(batch), "Webhook-Timestamp": "1767222001",
					"Webhook-Signature": sign(keys, ID(batch), "1767222001", body), "Accept-Encoding": "",
				} {
					if got := r.Header.Get(name); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				if r.Method != http.MethodPost || r.URL.String() != "/in?a=b" {
					t.Errorf("%s %s", r.Method, r.URL)
				}
				w.WriteHeader(http.StatusNoContent)
			})
			target := open(t, endpoint.URL+"/in?a=b", func(o *Options) {
				o.CloudEvents, o.Secrets = cloudEvents, append(o.Secrets, "whsec_"+strings.Repeat("AAAA", 8))
			})
			target.now = func() time.Time { return at }
			if err := sinktest.Deliver(t, target, batch); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	status, after := 200, ""
	endpoint := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte("an answer that is nobody's business"))
	})
	target := open(t, endpoint.URL, nil)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	target.now = func() time.Time { return now }
	for status = range map[int]bool{200: true, 201: true, 202: true, 299: true} {
		if err := sinktest.Deliver(t, target, sinktest.Messages(2)); err != nil {
			t.Errorf("%d: %v", status, err)
		}
	}
	for status = range map[int]bool{400: true, 406: true, 413: true, 422: true, 500: true, 501: true, 599: true} {
		sinktest.Refused(t, sinktest.Deliver(t, target, sinktest.Messages(2)), fmt.Sprint("the endpoint answered ", status))
	}
	for status = range map[int]bool{301: true, 302: true, 307: true, 308: true, 401: true, 403: true, 404: true, 405: true, 407: true, 408: true, 429: true, 502: true, 503: true, 504: true} {
		if u := sinktest.Unavailable(t, sinktest.Deliver(t, target, sinktest.Messages(2)), fmt.Sprint("the endpoint answered ", status)); u.RetryAfter != 0 {
			t.Errorf("%d: retry after %s", status, u.RetryAfter)
		}
	}
	if status = 410; sinktest.Deliver(t, target, sinktest.Messages(1)) != sink.ErrGone {
		t.Error("410 is not gone")
	}
	for after = range map[string]bool{"120": true, "Fri, 02 Jan 2026 03:06:05 GMT": true} {
		for status = range map[int]bool{429: true, 503: true} {
			if u := sinktest.Unavailable(t, sinktest.Deliver(t, target, sinktest.Messages(1)), ""); u.RetryAfter != 2*time.Minute {
				t.Errorf("%d, %s: retry after %s", status, after, u.RetryAfter)
			}
		}
		status = 502
		if u := sinktest.Unavailable(t, sinktest.Deliver(t, target, sinktest.Messages(1)), ""); u.RetryAfter != 0 {
			t.Errorf("502, %s: retry after %s", after, u.RetryAfter)
		}
	}
	status = 503
	for after = range map[string]bool{"-1": true, "soon": true, "Fri, 02 Jan 2026 03:04:05 GMT": true, "99999999999999999999": true} {
		if u := sinktest.Unavailable(t, sinktest.Deliver(t, target, sinktest.Messages(1)), ""); u.RetryAfter != 0 {
			t.Errorf("%s: retry after %s", after, u.RetryAfter)
		}
	}
}

func TestRedirects(t *testing.T) {
	var posted []string
	mux := http.NewServeMux()
	mux.HandleFunc("/end", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posted = append(posted, r.Method+r.Header.Get("Webhook-Id")+string(body)+r.Header.Get("Referer"))
	})
	for _, status := range []int{301, 302, 303, 307, 308} {
		mux.Handle(fmt.Sprint("/", status), http.RedirectHandler("/end", status))
	}
	for i := range 4 {
		mux.Handle(fmt.Sprint("/chain", i), http.RedirectHandler(fmt.Sprint("/chain", i-1), http.StatusTemporaryRedirect))
	}
	mux.Handle("/chain-1", http.RedirectHandler("/end", http.StatusTemporaryRedirect))
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request to another network") })
	mux.Handle("/away", http.RedirectHandler(strings.Replace(elsewhere.URL, "127.0.0.1", "127.0.0.2", 1), http.StatusTemporaryRedirect))
	endpoint := serve(t, mux.ServeHTTP)

	for _, status := range []int{301, 302, 303, 307, 308} {
		sinktest.Unavailable(t, sinktest.Deliver(t, open(t, fmt.Sprint(endpoint.URL, "/", status), nil), sinktest.Messages(1)), "set followRedirects")
	}
	follow := func(o *Options) {
		o.FollowRedirects, o.Networks = true, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}
	for _, status := range []int{301, 302, 303} {
		sinktest.Unavailable(t, sinktest.Deliver(t, open(t, fmt.Sprint(endpoint.URL, "/", status), follow), sinktest.Messages(1)), "only 307 and 308 are followed")
	}
	if posted != nil {
		t.Fatalf("followed: %v", posted)
	}
	batch := sinktest.Messages(2)
	target := open(t, endpoint.URL, follow)
	for _, path := range []string{"/307", "/308", "/chain1"} {
		if err := sinktest.Deliver(t, open(t, endpoint.URL+path, follow), batch); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	want := "POST" + ID(batch) + string(target.body(batch))
	if len(posted) != 3 || posted[0] != want || posted[1] != want || posted[2] != want {
		t.Errorf("got %v, want three times %s", posted, want)
	}
	sinktest.Unavailable(t, sinktest.Deliver(t, open(t, endpoint.URL+"/chain2", follow), batch), "at most 3 times")
	sinktest.Unavailable(t, sinktest.Deliver(t, open(t, endpoint.URL+"/away", follow), batch), "the address 127.0.0.2")
}

// An endpoint could lead to another host each time.
func TestConnectionsToOtherHostsAreNotKept(t *testing.T) {
	closes := map[string]bool{}
	end := func(_ http.ResponseWriter, r *http.Request) { closes[r.URL.Path] = r.Close }
	other := serve(t, end)
	mux := http.NewServeMux()
	mux.HandleFunc("/end", end)
	mux.Handle("/here", http.RedirectHandler("/end", http.StatusTemporaryRedirect))
	mux.Handle("/there", http.RedirectHandler(other.URL+"/other", http.StatusTemporaryRedirect))
	endpoint := serve(t, mux.ServeHTTP)
	for _, path := range []string{"/here", "/there"} {
		target := open(t, endpoint.URL+path, func(o *Options) { o.FollowRedirects = true })
		if err := sinktest.Deliver(t, target, sinktest.Messages(1)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if want := map[string]bool{"/end": false, "/other": true}; !maps.Equal(closes, want) {
		t.Errorf("closed: %v, want %v", closes, want)
	}
}

func TestAddressesAreRefusedWhenDialling(t *testing.T) {
	endpoint := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request") })
	secure := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request") }))
	defer secure.Close()
	elsewhere := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, url := range []string{endpoint.URL, strings.Replace(endpoint.URL, "127.0.0.1", "localhost", 1), secure.URL, strings.Replace(secure.URL, "127.0.0.1", "localhost", 1)} {
		target := open(t, url, func(o *Options) { o.Networks = elsewhere })
		sinktest.Unavailable(t, sinktest.Deliver(t, target, sinktest.Messages(1)), "-sink-networks")
	}
}

func TestNoProxy(t *testing.T) {
	target := open(t, "https://hooks.example.com", nil)
	if target.transport.plain.Proxy != nil || target.transport.secure.Proxy != nil {
		t.Error("a proxy would dial instead")
	}
}

func TestTLS(t *testing.T) {
	endpoint := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("the request came by %s", r.Proto)
		}
	}))
	endpoint.EnableHTTP2 = true
	endpoint.Config.ErrorLog = log.New(io.Discard, "", 0)
	endpoint.StartTLS()
	defer endpoint.Close()
	unknown := open(t, endpoint.URL+"/token-5ec4e7", nil)
	if u := sinktest.Unavailable(t, sinktest.Deliver(t, unknown, sinktest.Messages(1)), "certificate signed by unknown authority"); strings.Contains(u.Reason, "5ec4e7") {
		t.Errorf("it shows the URL: %s", u.Reason)
	}
	known := open(t, endpoint.URL, nil)
	known.transport.secure.TLSClientConfig.RootCAs = x509.NewCertPool()
	known.transport.secure.TLSClientConfig.RootCAs.AddCert(endpoint.Certificate())
	if err := sinktest.Deliver(t, known, sinktest.Messages(1)); err != nil {
		t.Error(err)
	}

	// A redirect does not lead from https:// to where http:// must not go.
	plain := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request without TLS") })
	away := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusPermanentRedirect))
	defer away.Close()
	followed := open(t, away.URL, func(o *Options) { o.FollowRedirects = true })
	followed.transport.secure.TLSClientConfig.RootCAs = x509.NewCertPool()
	followed.transport.secure.TLSClientConfig.RootCAs.AddCert(away.Certificate())
	followed.transport.plain.DialContext = newTransport(nil).plain.DialContext
	sinktest.Unavailable(t, sinktest.Deliver(t, followed, sinktest.Messages(1)), "http:// is only for networks in -sink-networks")
}

func TestEndpointsThatDoNotAnswer(t *testing.T) {
	let := make(chan struct{})
	hangs := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-r.Context().Done():
		case <-let:
		}
	})
	defer close(let)
	closed := serve(t, func(http.ResponseWriter, *http.Request) {})
	closed.Close()
	astray := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "https://crm.example.com/%zz?from=token-5ec4e7")
		w.WriteHeader(http.StatusFound)
	})
	target := open(t, hangs.URL+"/token-5ec4e7", nil)
	target.timeout = 50 * time.Millisecond
	for _, err := range []error{
		sinktest.Unavailable(t, sinktest.Deliver(t, target, sinktest.Messages(1)), "did not answer within 50ms"),
		func() error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return sinktest.Unavailable(t, target.Deliver(ctx, sinktest.Messages(1))[0], "the delivery ended before")
		}(),
		sinktest.Unavailable(t, sinktest.Deliver(t, open(t, closed.URL+"/token-5ec4e7", nil), sinktest.Messages(1)), "connection refused"),
		sinktest.Unavailable(t, target.unreachable(t.Context(), &url.Error{Op: "Post", URL: target.url, Err: &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host"}}}), "the endpoint's name cannot be resolved: no such host"),
		sinktest.Unavailable(t, sinktest.Deliver(t, open(t, astray.URL, nil), sinktest.Messages(1)), "the endpoint redirects to something that is not a URL"),
	} {
		if strings.Contains(err.Error(), "5ec4e7") {
			t.Errorf("it shows the URL: %v", err)
		}
	}
	cut := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	sinktest.Unavailable(t, sinktest.Deliver(t, open(t, cut.URL, nil), sinktest.Messages(1)), "the endpoint cannot be reached")
}

// An endpoint that says that it switches protocols owns the connection: only closing ends reading it.
func TestAnEndpointThatSwitchesProtocolsHoldsNoDelivery(t *testing.T) {
	let := make(chan struct{})
	defer close(let)
	switches := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: nothing\r\n\r\n")
		<-let
	})
	sinktest.Refused(t, sinktest.Deliver(t, open(t, switches.URL, nil), sinktest.Messages(1)), "the endpoint answered 101")
}

// An endpoint that never answers in TLS must not keep a connection for each try.
func TestHandshakesEnd(t *testing.T) {
	target := open(t, "https://127.0.0.1", nil)
	if got := target.transport.secure.TLSHandshakeTimeout; got != timeout {
		t.Fatalf("a handshake may take %s", got)
	}
	target.transport.secure.TLSHandshakeTimeout = 100 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	target.url = "https://" + listener.Addr().String()
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			accepted <- conn
		}
	}()
	target.timeout = 50 * time.Millisecond
	sinktest.Unavailable(t, sinktest.Deliver(t, target, sinktest.Messages(1)), "did not answer within")
	conn := <-accepted
	defer conn.Close()
	if _, err := io.Copy(io.Discard, conn); err != nil { // it ends when the target closes the connection
		t.Error(err)
	}
}

// An endpoint can send as long an answer as it likes.
func TestAnswersAreNotReadToTheirEnd(t *testing.T) {
	ended := make(chan struct{})
	endless := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	if err := sinktest.Deliver(t, open(t, endless.URL, nil), sinktest.Messages(1)); err != nil {
		t.Error(err)
	}
	<-ended
}

func TestDeliveriesShareConnections(t *testing.T) {
	var mu sync.Mutex
	peers := map[string]bool{}
	endpoint := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		peers[r.RemoteAddr] = true
	})
	target := open(t, endpoint.URL, nil)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20 {
				if err := target.Deliver(t.Context(), sinktest.Messages(1))[0]; err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if len(peers) > 8 {
		t.Errorf("%d connections for 4 workers", len(peers))
	}
}

func TestNewErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		opt  Options
		want string
	}{
		"no URL":     {Options{Secrets: []string{secret}}, "url: it is not the URL of a webhook"},
		"scheme":     {Options{URL: "ftp://5ec4e7.example.com", Secrets: []string{secret}}, "url: it is not the URL of a webhook"},
		"no host":    {Options{URL: "https:///5ec4e7", Secrets: []string{secret}}, "url: it is not the URL of a webhook"},
		"password":   {Options{URL: "https://u:5ec4e7@hooks.example.com", Secrets: []string{secret}}, "url: it has a user name or a password"},
		"no secret":  {Options{URL: "https://hooks.example.com"}, "secrets: there is none"},
		"bad secret": {Options{URL: "https://hooks.example.com", Secrets: []string{secret, "5ec4e7"}}, "secrets[1]: it does not begin with whsec_"},
	} {
		if _, err := New(tt.opt); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "5ec4e7") {
			t.Errorf("%s: error %v, want one with %q and no secret", name, err, tt.want)
		}
	}
}

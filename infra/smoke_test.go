package infra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"fleetwire/localdev/stack"
	"fleetwire/pkg/apps"
)

// smoke runs scripts/smoke and returns what it prints.
func smoke(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("SKIPPED: needs curl (apt-get install curl)")
	}
	out, err := exec.Command("../scripts/smoke", args...).CombinedOutput()
	return string(out), err
}

// service starts all of Fleetwire, and returns its URL and a secret credential.
func service(t *testing.T) (base, credential string) {
	t.Helper()
	id, secret := apps.GenerateKeyPair()
	directory, err := apps.Parse(fmt.Appendf(nil, `{"apps":[{"id":"app_smoke",
		"plan":{"name":"dev","maxConcurrentConnections":10,"maxMessagesPerPeriod":1000},
		"keys":[{"id":%q,"secret":%q,"channelPatterns":["devices/**"],"actions":["publish","subscribe","presence"]},
			{"id":"sk_live_unseeing","secret":%q,"channelPatterns":["devices/**"],"actions":["publish","subscribe"]}]}]}`, id, secret, secret))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := stack.New(ctx, stack.Options{Listen: "127.0.0.1:0", Apps: apps.NewStore(directory), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return "http://" + s.Node.Addr(), id + "_secret_" + secret
}

func TestSmoke(t *testing.T) {
	base, credential := service(t)
	out, err := smoke(t, base, credential)
	if err != nil || !strings.Contains(out, "ok    the device is in the channel\n") ||
		!strings.Contains(out, "ok    its socket is closed with 4020\nall is well at "+base) {
		t.Errorf("%v\n%s", err, out)
	}
	_, secret, _ := strings.Cut(credential, "_secret_")
	if strings.Contains(out, secret) {
		t.Errorf("the secret is printed:\n%s", out)
	}
	out, err = smoke(t, base, "sk_live_unseeing:"+secret)
	if err != nil || !strings.Contains(out, "it lacks presence") || !strings.Contains(out, "all is well at "+base) {
		t.Errorf("with a key that lacks presence: %v\n%s", err, out)
	}
}

// What may be wrong with a deployment is said, and ends the script with 1.
func TestSmokeFails(t *testing.T) {
	base, credential := service(t)
	origin, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(origin)
	tests := []struct {
		name  string
		serve http.HandlerFunc
		says  string
	}{
		{"a lost publish rule", func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/publish") {
				r.URL.Path, r.URL.RawPath = "/lost", ""
			}
			proxy.ServeHTTP(w, r)
		}, "FAIL  a publish to nobody is taken, with its slashes encoded: status 404"},
		{"paths encoded once more", func(w http.ResponseWriter, r *http.Request) {
			r.URL.Path, r.URL.RawPath = r.URL.EscapedPath(), ""
			proxy.ServeHTTP(w, r)
		}, "FAIL  a publish to nobody is taken, with its slashes encoded"},
		{"sockets that lead to a function", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1" {
				r.URL.Path = "/v1/tokens"
			}
			proxy.ServeHTTP(w, r)
		}, "FAIL  GET /v1 without an upgrade: status 405, want 426"},
		{"upgrades that get lost", func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Upgrade")
			proxy.ServeHTTP(w, r)
		}, "FAIL  a socket opens with it, and is welcomed"},
		{"a lost rule for the peers", func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/v1/peers/") {
				r.URL.Path, r.URL.RawPath = "/lost", ""
			}
			proxy.ServeHTTP(w, r)
		}, "FAIL  the device is disconnected: status 404"},
		{"no Redis", func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && r.Header.Get("Authorization") == "Bearer "+credential {
				http.Error(w, `{"error":"backend_error","message":"Redis"}`, http.StatusServiceUnavailable)
				return
			}
			proxy.ServeHTTP(w, r)
		}, `status 503, want 200; it said: {"error":"backend_error"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			front := httptest.NewServer(tt.serve)
			defer front.Close()
			out, err := smoke(t, front.URL, credential)
			if exit := (&exec.ExitError{}); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out, tt.says) {
				t.Errorf("%v\n%s\nwant %q", err, out, tt.says)
			}
		})
	}
	for name, args := range map[string][]string{
		"no arguments": {}, "no scheme": {"realtime.example.com", credential}, "an id without its secret": {base, "sk_live_1"},
	} {
		out, err := smoke(t, args...)
		if exit := (&exec.ExitError{}); !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(out, "usage: scripts/smoke BASE_URL SECRET_KEY") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

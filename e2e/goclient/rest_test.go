package goclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

func TestREST(t *testing.T) {
	s := newService(t, "")
	ctx := background(t)
	backend := s.rest()

	t.Run("channels arrive as they were named", func(t *testing.T) {
		got := s.as(t, "ingester").listen("devices/**", client.WithSenderMetadata())
		// What a path or a query could take for its own.
		for _, name := range []string{"devices/camera-001/commands", "devices/a b?#%2F+&=;:@é", `devices/\*`, "devices//x/", "devices/publish/peers"} {
			heard, err := backend.Publish(ctx, name, json.RawMessage(`{ "n": 1.0 }`))
			if err != nil || heard != 0 {
				t.Fatalf("%s: %d subscribers by name, %v", name, heard, err)
			}
			if m := next(t, got); m.Channel != name || m.From != "server" || m.SenderMetadata != nil || string(m.Data) != `{ "n": 1.0 }` {
				t.Errorf("%s: message %+v", name, m)
			}
		}
		_, err := backend.Publish(ctx, "devices/a", nil, client.From("control plane"), client.WithMetadata(map[string]int{"shift": 2}))
		if err != nil {
			t.Fatal(err)
		}
		if m := next(t, got); m.From != "control plane" || string(m.SenderMetadata) != `{"shift":2}` || string(m.Data) != "null" {
			t.Errorf("message %+v", m)
		}
	})

	t.Run("subscribers are counted", func(t *testing.T) {
		for n := range 3 {
			s.as(t, fmt.Sprint("camera-", n)).listen("fleets/f1/commands")
		}
		if heard, err := backend.Publish(ctx, "fleets/f1/commands", "reboot"); heard != 3 || err != nil {
			t.Errorf("%d subscribers, %v; want 3", heard, err)
		}
	})

	t.Run("tokens", func(t *testing.T) {
		before := time.Now().Truncate(time.Second)
		token, expiresAt, err := backend.MintToken(ctx, client.TokenRequest{
			Peer: "camera-001", Channels: []string{"devices/camera-001/**"}, Permissions: []string{"subscribe"},
			TTL: time.Minute, Metadata: map[string]string{"fleet": "f1"},
		})
		if err != nil || expiresAt.Before(before.Add(time.Minute)) || expiresAt.After(time.Now().Add(time.Minute)) {
			t.Fatalf("expires at %v, %v", expiresAt, err)
		}
		camera := connect(t, client.Options{URL: s.url, Token: client.StaticToken(token)})
		w := camera.until(client.Connected).Welcome
		if w.PeerID != "camera-001" || !w.ExpiresAt.Equal(expiresAt) || string(w.Metadata) != `{"fleet":"f1"}` {
			t.Errorf("welcome %+v", w)
		}
		if err := camera.Publish(ctx, "devices/camera-001/x", 1); client.CodeOf(err) != protocol.ActionNotPermitted {
			t.Errorf("publish without permission: %v", err)
		}
		// No channels is none, not all of the key's.
		none := connect(t, client.Options{URL: s.url, Token: backend.Tokens(client.TokenRequest{Peer: "a", Channels: []string{}})})
		if err := none.Publish(ctx, "devices/a", 1); client.CodeOf(err) != protocol.ChannelNotAuthorized {
			t.Errorf("publish without channels: %v", err)
		}
	})

	t.Run("refusals", func(t *testing.T) {
		publish := func(r *client.REST, channel string, data any, opts ...client.PublishOption) error {
			_, err := r.Publish(ctx, channel, data, opts...)
			return err
		}
		plain := &client.REST{BaseURL: s.url, SecretKey: "sk_live_plain:" + secret}
		mintBy := func(r *client.REST, req client.TokenRequest) error {
			token, _, err := r.MintToken(ctx, req)
			if token != "" {
				t.Errorf("%+v: there is a token", req)
			}
			return err
		}
		mint := func(req client.TokenRequest) error { return mintBy(backend, req) }
		for _, tt := range []struct {
			name   string
			err    error
			code   protocol.Code
			status int
		}{
			{"a wrong secret", publish(&client.REST{BaseURL: s.url, SecretKey: keyID + ":canary"}, "devices/a", 1), protocol.Unauthorized, 401},
			{"a publishable key", publish(&client.REST{BaseURL: s.url, SecretKey: publishable}, "devices/a", 1), protocol.Unauthorized, 401},
			{"a suspended app", publish(&client.REST{BaseURL: s.url, SecretKey: "sk_live_off:" + secret}, "devices/a", 1), protocol.AccountSuspended, 403},
			{"a channel that is not the key's", publish(backend, "other/a", 1), protocol.ChannelNotAuthorized, 403},
			{"a reserved channel", publish(backend, "_system/a", 1), protocol.ChannelReserved, 400},
			{"a bad sender", publish(backend, "devices/a", 1, client.From("")), protocol.InvalidPeerID, 400},
			{"metadata that is no object", publish(backend, "devices/a", 1, client.WithMetadata(1)), protocol.InvalidRequest, 400},
			{"no channel", publish(backend, "", 1), protocol.InvalidChannel, 0},
			{"a pattern", publish(backend, "devices/*", 1), protocol.InvalidChannel, 0},
			{"a level ..", publish(backend, "devices/../a", 1), protocol.InvalidChannel, 0},
			{"a bad peer", mint(client.TokenRequest{Peer: "é"}), protocol.InvalidPeerID, 400},
			{"a pattern that the key does not cover", mint(client.TokenRequest{Peer: "a", Channels: []string{"**"}}), protocol.ChannelNotAuthorized, 403},
			{"a permission that the key lacks", mintBy(plain, client.TokenRequest{Peer: "a", Permissions: []string{"presence"}}), protocol.ActionNotPermitted, 403},
			{"a life of two days", mint(client.TokenRequest{Peer: "a", TTL: 48 * time.Hour}), protocol.InvalidRequest, 400},
		} {
			t.Run(tt.name, func(t *testing.T) {
				refused, ok := errors.AsType[*client.Error](tt.err)
				if !ok || refused.Code != tt.code || refused.Status != tt.status {
					t.Errorf("%v, want %s with status %d", tt.err, tt.code, tt.status)
				}
				if strings.Contains(fmt.Sprint(tt.err), "canary") {
					t.Errorf("the error tells the secret: %v", tt.err)
				}
			})
		}
		for name, err := range map[string]error{
			"a life of half a second": mint(client.TokenRequest{Peer: "a", TTL: time.Second / 2}),
			"no JSON":                 publish(backend, "devices/a", json.RawMessage("{")),
			"metadata without JSON":   publish(backend, "devices/a", 1, client.WithMetadata(func() {})),
			"a wrong URL":             publish(&client.REST{BaseURL: "host"}, "devices/a", 1),
		} {
			if err == nil || client.CodeOf(err) != "" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := publish(backend, "devices/a", strings.Repeat("x", protocol.MaxBodyBytes)); !errors.Is(err, client.ErrTooLarge) {
			t.Errorf("too large: %v", err)
		}
		// A token may claim more than a publish may carry.
		full := client.TokenRequest{Peer: "a", Channels: slices.Repeat([]string{"devices/" + strings.Repeat(`"`, 248)}, protocol.MaxTokenChannels)}
		if _, _, err := backend.MintToken(ctx, full); err != nil {
			t.Errorf("a token with 100 patterns of 256 bytes: %v", err)
		}
	})

	t.Run("too many requests", func(t *testing.T) {
		poor := &client.REST{BaseURL: s.url, SecretKey: "sk_live_poor:" + secret}
		codes := map[protocol.Code]bool{}
		for n := 0; n < 20 && len(codes) < 2; n++ {
			_, err := poor.Publish(ctx, "c", n)
			if err == nil {
				continue
			}
			refused, ok := errors.AsType[*client.Error](err)
			if !ok || refused.Status != http.StatusTooManyRequests || refused.RetryAfter < time.Second {
				t.Fatalf("%v, want a 429 with a Retry-After", err)
			}
			codes[refused.Code] = true
		}
		if !codes[protocol.OverMessageQuota] || !codes[protocol.RateLimited] {
			t.Errorf("refused with %v, want the quota's code and the rate limit's", codes)
		}
	})
}

// An answer without a token is not the service's: a device could do nothing with it.
func TestNoTokenInTheAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	defer server.Close()
	token, _, err := (&client.REST{BaseURL: server.URL, SecretKey: secretKey, HTTPClient: server.Client()}).MintToken(background(t), client.TokenRequest{Peer: "a"})
	if token != "" || !errors.Is(err, client.ErrNotService) {
		t.Errorf("%q, %v; want ErrNotService", token, err)
	}
}

// What answers may not be the service: a proxy, a captive portal, a thief.
func TestRESTAgainstOthers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"a page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "not the service's JSON"},
		{"an error page", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) }, "HTTP 502: an answer that is not the service's"},
		{"an endless answer", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, strings.Repeat(" ", 1<<16))
			}
		}, "not the service's JSON"},
		{"an endless error", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, strings.Repeat(" ", 1<<16))
			}
		}, "HTTP 500"},
		{"a cut answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"subscribers":`)
		}, "unexpected EOF"},
		{"a date in Retry-After", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			http.Error(w, `{"error":"rate_limited","message":"slow down"}`, http.StatusTooManyRequests)
		}, "HTTP 429: rate_limited: slow down (try again in 59m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.answer)
			defer server.Close()
			// What is no publish is not sent again.
			_, err := (&client.REST{BaseURL: server.URL, SecretKey: secretKey, HTTPClient: server.Client()}).Disconnect(background(t), "a", false)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want %q", err, tt.want)
			}
		})
	}

	t.Run("a redirect gets no secret key", func(t *testing.T) {
		thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			t.Errorf("a request came, with %q", r.Header.Get("Authorization"))
		}))
		defer thief.Close()
		server := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
		defer server.Close()
		defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		_, err := (&client.REST{BaseURL: server.URL, SecretKey: secretKey}).Publish(background(t), "devices/a", 1)
		if refused, ok := errors.AsType[*client.Error](err); !ok || refused.Status != http.StatusTemporaryRedirect {
			t.Errorf("the error is %v", err)
		}
	})

	t.Run("ctx ends", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the caller is gone
			<-r.Context().Done()
		}))
		defer server.Close()
		ctx, cancel := context.WithCancel(context.Background())
		hanging := make(chan error, 1)
		go func() {
			_, err := (&client.REST{BaseURL: server.URL, SecretKey: secretKey, HTTPClient: server.Client()}).Publish(ctx, "devices/a", 1)
			hanging <- err
		}()
		cancel()
		if err := <-hanging; !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
	})
}

// Members reads all pages, and repeats each cursor as it came.
func TestMembersReadsAllPages(t *testing.T) {
	asked := make(chan string, 10)
	pages := map[string]string{
		"":      `{"channel":"c","peers":[{"peerId":"a","metadata":{"n":1}},{"peerId":"b"}],"cursor":"a+b/="}`,
		"a+b/=": `{"channel":"c","peers":[],"cursor":"more"}`,
		"more":  `{"channel":"c","peers":[{"peerId":"c"}],"cursor":null}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		_, _ = io.WriteString(w, pages[r.URL.Query().Get("cursor")])
	}))
	defer server.Close()
	backend := &client.REST{BaseURL: server.URL, SecretKey: "sk:x"}
	members, err := backend.Members(background(t), "c")
	names := ""
	for _, m := range members {
		names += m.Peer + string(m.Metadata) + " "
	}
	if err != nil || names != `a{"n":1} b c ` || len(asked) != 3 {
		t.Errorf("%q after %d requests, %v", names, len(asked), err)
	}
}

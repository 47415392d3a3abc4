package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/quota"
)

var _ api.RateLimiter = (*quota.RateLimiter)(nil)

var things = api.Route{Method: http.MethodPost, Path: "/v1/things/{thing}/do", Function: "things"}

const target = "/v1/things/a/do"

// handler serves things with fn, which stands for any function.
func handler(t *testing.T, fn api.HandlerFunc) (http.Handler, *apitest.Limiter, *apitest.Log) {
	t.Helper()
	config, log := apitest.Config(t)
	return api.New(config, things, fn), config.Limiter.(*apitest.Limiter), log
}

func unreachable(t *testing.T) api.HandlerFunc {
	return func(http.ResponseWriter, *http.Request, *apps.Key) error {
		t.Error("the handler was reached")
		return nil
	}
}

func whoami(w http.ResponseWriter, _ *http.Request, key *apps.Key) error {
	return api.WriteJSON(w, map[string]string{"key": key.ID, "app": key.App.ID})
}

func TestRefusalsBeforeTheHandler(t *testing.T) {
	bearer := func(credential string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+credential) }
	}
	tests := []struct {
		name    string
		method  string
		target  string
		request func(*http.Request)
		limiter apitest.Limiter
		status  int
		body    string
		header  [2]string
	}{
		{
			name: "another path", method: "POST", target: "/v1/things/a/undo",
			status: 404, body: `{"error":"not_found","message":"nothing is served at this path; there is POST /v1/things/{thing}/do"}`,
		},
		{
			name: "another path and method and no credential", method: "GET", target: "/",
			request: func(r *http.Request) { r.Header.Del("Authorization") },
			status:  404, body: `{"error":"not_found","message":"nothing is served at this path; there is POST /v1/things/{thing}/do"}`,
		},
		{
			name: "GET", method: "GET", target: target,
			status: 405, body: `{"error":"method_not_allowed","message":"/v1/things/{thing}/do takes POST only"}`,
			header: [2]string{"Allow", "POST"},
		},
		{
			name: "another method without a credential", method: "DELETE", target: target,
			request: func(r *http.Request) { r.Header.Del("Authorization") },
			status:  405, body: `{"error":"method_not_allowed","message":"/v1/things/{thing}/do takes POST only"}`,
			header: [2]string{"Allow", "POST"},
		},
		{
			name: "suspended app", method: "POST", target: target,
			request: bearer(apitest.PausedID + ":" + apitest.Paused),
			status:  403, body: `{"error":"account_suspended","message":"app app_paused is suspended; its keys work again when an operator lifts that"}`,
		},
		{
			name: "suspended app over its rate", method: "POST", target: target,
			request: bearer(apitest.PausedID + ":" + apitest.Paused), limiter: apitest.Limiter{Refuse: true},
			status: 403, body: `{"error":"account_suspended","message":"app app_paused is suspended; its keys work again when an operator lifts that"}`,
		},
		{
			name: "over the rate", method: "POST", target: target,
			limiter: apitest.Limiter{Refuse: true, Wait: 1001 * time.Millisecond},
			status:  429, body: `{"error":"rate_limited","message":"key sk_live_full is over 7 requests per second (burst 9); wait as long as Retry-After says"}`,
			header: [2]string{"Retry-After", "2"},
		},
		{
			name: "the limiter cannot tell", method: "POST", target: target,
			limiter: apitest.Limiter{Err: errors.New("dial tcp 10.0.0.7: refused")},
			status:  503, body: `{"error":"backend_error","message":"the rate limit could not be checked, so nothing was done; try again","outcome":"none"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, limiter, log := handler(t, unreachable(t))
			*limiter = tt.limiter
			r := apitest.Request(tt.method, tt.target, `{}`)
			if tt.request != nil {
				tt.request(r)
			}
			w := apitest.Do(h, r)
			apitest.Want(t, w, tt.status, tt.body)
			if name := tt.header[0]; name != "" && w.Header().Get(name) != tt.header[1] {
				t.Errorf("%s: %q, want %q", name, w.Header().Get(name), tt.header[1])
			}
			if strings.Contains(log.String(), apitest.SecretTip) {
				t.Errorf("a secret is in the log: %s", log)
			}
			if tt.limiter.Err != nil && !strings.Contains(log.String(), "10.0.0.7") {
				t.Errorf("the limiter's error is not in the log: %q", log)
			}
		})
	}
}

func TestCredentialSpellings(t *testing.T) {
	for _, credential := range []string{
		apitest.KeyID + ":" + apitest.Secret,
		apitest.KeyID + "_secret_" + apitest.Secret,
	} {
		h, limiter, _ := handler(t, whoami)
		r := apitest.Request("POST", target, "")
		r.Header.Set("Authorization", "Bearer "+credential)
		apitest.Want(t, apitest.Do(h, r), 200, `{"app":"app_demo","key":"sk_live_full"}`)
		if limiter.Asked[apitest.KeyID] != 1 {
			t.Errorf("the limiter was asked %v, want once for %s", limiter.Asked, apitest.KeyID)
		}
	}
}

// Who guesses at credentials must not learn from the answer which half was right.
func TestUnauthorizedAnswersAreAllTheSame(t *testing.T) {
	h, limiter, log := handler(t, unreachable(t))
	answer := func(authorization string) string {
		r := apitest.Request("POST", target, `{}`)
		r.Header.Del("Authorization")
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		w := apitest.Do(h, r)
		return fmt.Sprint(w.Code, w.Header(), w.Body)
	}
	first := answer("")
	for _, want := range []string{"401", "Www-Authenticate:[Bearer]", "Cache-Control:[no-store]", `{"error":"unauthorized",`} {
		if !strings.Contains(first, want) {
			t.Errorf("without a credential: %s; want %s in it", first, want)
		}
	}
	for name, authorization := range map[string]string{
		"nothing after Bearer":                "Bearer ",
		"another scheme":                      "Basic " + apitest.KeyID + ":" + apitest.Secret,
		"no scheme":                           apitest.KeyID + ":" + apitest.Secret,
		"unknown key":                         "Bearer sk_live_nobody:" + apitest.Secret,
		"wrong secret":                        "Bearer " + apitest.KeyID + ":" + apitest.Narrow,
		"wrong secret, second form":           "Bearer " + apitest.KeyID + "_secret_" + apitest.Narrow,
		"key id without its secret":           "Bearer " + apitest.KeyID,
		"key id with an empty secret":         "Bearer " + apitest.KeyID + ":",
		"publishable key":                     "Bearer " + apitest.PublicID,
		"publishable key with empty secret":   "Bearer " + apitest.PublicID + ":",
		"publishable key, someone's secret":   "Bearer " + apitest.PublicID + ":" + apitest.Secret,
		"a part of the secret":                "Bearer " + apitest.KeyID + ":" + apitest.Secret[:40],
		"the secret and more":                 "Bearer " + apitest.KeyID + ":" + apitest.Secret + "0",
		"wrong secret of a suspended app":     "Bearer " + apitest.PausedID + ":" + apitest.Secret,
		"colon wins over the second spelling": "Bearer " + apitest.KeyID + "_secret_" + apitest.Secret + ":x",
	} {
		if got := answer(authorization); got != first {
			t.Errorf("%s:\n %s\nwant what no credential gets:\n %s", name, got, first)
		}
	}
	if len(limiter.Asked) != 0 {
		t.Errorf("the limiter was asked for strangers: %v", limiter.Asked)
	}
	if log.String() != "" {
		t.Errorf("strangers can fill the log: %s", log)
	}
}

func TestWhatHandlersReturn(t *testing.T) {
	const internal = `{"error":"internal_error","message":"something went wrong on our side; it was logged"}`
	quotaError := protocol.Errorf(protocol.OverMessageQuota, "all used up")
	tests := []struct {
		name   string
		err    error
		panics any
		status int
		body   string
		logged string // "" nothing may be logged
	}{
		{name: "a protocol error", err: quotaError, status: 429, body: `{"error":"over_message_quota","message":"all used up"}`},
		{name: "a wrapped protocol error", err: fmt.Errorf("at node 7: %w", quotaError), status: 429, body: `{"error":"over_message_quota","message":"all used up"}`},
		{
			name: "a protocol error with its cause", err: fmt.Errorf("%w: %w", protocol.Errorf(protocol.BackendError, "try again"), errors.New("READONLY at 10.0.0.7")),
			status: 503, body: `{"error":"backend_error","message":"try again","outcome":"none"}`, logged: "10.0.0.7",
		},
		{name: "quotes in a message", err: protocol.Errorf(protocol.InvalidChannel, "<\"\x01>"), status: 400, body: `{"error":"invalid_channel","message":"<\"\u0001>"}`},
		{name: "another error", err: errors.New("dial tcp 10.0.0.7: refused"), status: 500, body: internal, logged: "10.0.0.7"},
		{name: "a panic", panics: "index 10.0.0.7 out of range", status: 500, body: internal, logged: "handler_test.go"}, // the stack
		{name: "a panic with a protocol error", panics: quotaError, status: 500, body: internal, logged: "all used up"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, _, log := handler(t, func(http.ResponseWriter, *http.Request, *apps.Key) error {
				if tt.panics != nil {
					panic(tt.panics)
				}
				return tt.err
			})
			apitest.Want(t, apitest.Do(h, apitest.Request("POST", target+"?token=eyJ", "")), tt.status, tt.body)
			switch {
			case tt.logged == "" && log.String() != "":
				t.Errorf("logged: %s", log)
			case !strings.Contains(log.String(), tt.logged):
				t.Errorf("%q is not in the log: %s", tt.logged, log)
			case strings.Contains(log.String(), "eyJ") || strings.Contains(log.String(), apitest.SecretTip):
				t.Errorf("a credential is in the log: %s", log)
			}
		})
	}
}

// net/http's own panic must reach net/http, which then drops the connection in silence.
func TestAbortPassesThrough(t *testing.T) {
	h, _, log := handler(t, func(http.ResponseWriter, *http.Request, *apps.Key) error { panic(http.ErrAbortHandler) })
	defer func() {
		if v := recover(); v != http.ErrAbortHandler {
			t.Errorf("recovered %v, want http.ErrAbortHandler", v)
		}
		if log.String() != "" {
			t.Errorf("logged: %s", log)
		}
	}()
	apitest.Do(h, apitest.Request("POST", target, ""))
}

func TestNewNeedsAppsAndLimiter(t *testing.T) {
	whole, _ := apitest.Config(t)
	for name, config := range map[string]api.Config{
		"no apps":    {Limiter: whole.Limiter},
		"no limiter": {Apps: whole.Apps},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: New did not panic", name)
				}
			}()
			api.New(config, things, whoami)
		}()
	}
}

func TestConfigTime(t *testing.T) {
	if got := (api.Config{Now: func() time.Time { return apitest.Now }}).Time(); got != apitest.Now {
		t.Errorf("with a clock: %v, want %v", got, apitest.Now)
	}
	before := time.Now()
	if got := (api.Config{}).Time(); got.Before(before) || got.After(time.Now()) {
		t.Errorf("without a clock: %v, want the time of day", got)
	}
}

func TestSetRetryAfter(t *testing.T) {
	for wait, want := range map[time.Duration]string{
		-time.Second:            "1",
		0:                       "1",
		time.Nanosecond:         "1",
		time.Second:             "1",
		time.Second + 1:         "2",
		1500 * time.Millisecond: "2",
		31 * 24 * time.Hour:     "2678400",
		1<<63 - 1:               "9223372037",
	} {
		w := httptest.NewRecorder()
		api.SetRetryAfter(w, wait)
		if got := w.Header().Get("Retry-After"); got != want {
			t.Errorf("%v: %s, want %s", wait, got, want)
		}
	}
}

func TestWriteJSON(t *testing.T) {
	w := httptest.NewRecorder()
	if err := api.WriteJSON(w, map[string]string{"channel": "a<b>&ü/\"c"}); err != nil {
		t.Fatal(err)
	}
	apitest.Want(t, w, 200, `{"channel":"a<b>&ü/\"c"}`)

	h, _, log := handler(t, func(w http.ResponseWriter, _ *http.Request, _ *apps.Key) error {
		return api.WriteJSON(w, make(chan int))
	})
	apitest.Want(t, apitest.Do(h, apitest.Request("POST", target, "")), 500,
		`{"error":"internal_error","message":"something went wrong on our side; it was logged"}`)
	if !strings.Contains(log.String(), "unsupported type: chan int") {
		t.Errorf("the log does not say why: %s", log)
	}
}

func TestRouteMatch(t *testing.T) {
	channels := api.Route{Method: "POST", Path: "/v1/channels/{channel}/publish"}
	peers := api.Route{Method: "DELETE", Path: "/v1/peers/{peer}"}
	tokens := api.Route{Method: "POST", Path: "/v1/tokens"}
	tests := []struct {
		route api.Route
		path  string
		param string
		ok    bool
	}{
		{tokens, "/v1/tokens", "", true},
		{tokens, "/v1/tokens/", "", true}, // a slash behind a fixed word
		{tokens, "/v1/tokens//", "", false},
		{tokens, "//v1/tokens", "", false},
		{tokens, "/v1/Tokens", "", false},
		{tokens, "", "", false},
		{tokens, "*", "", false},
		{peers, "/v1/peers/a%2Fb", "a%2Fb", true},
		{peers, "/v1/peers/", "", true},
		{peers, "/v1/peers", "", false},
		{channels, "/v1/channels/a/publish", "a", true},
		{channels, "/v1/channels/a%2Fb/publish", "a%2Fb", true},
		{channels, "/v1/channels/a/b/publish", "a/b", true},
		{channels, "/v1/channels/a//b/publish", "a//b", true},
		{channels, "/v1/channels/a/../b/publish", "a/../b", true},
		{channels, "/v1/channels/a/publish/publish", "a/publish", true},
		{channels, "/v1/channels//publish", "", true},
		{channels, "/v1/channels/publish", "", false},
		{channels, "/v1/channels/a/publish/", "a", true},
		{channels, "/v1/channels/a//publish/", "a/", true},
		{channels, "/v1/channels/a/publish//", "", false},
		{channels, "/v1/channels/publish/", "", false},
		{peers, "/v1/peers/a/", "a/", true}, // behind a parameter it belongs to that
		{channels, "/v1/channels/a/publishing", "", false},
		{channels, "/v1/channels/a/republish", "", false},
		{channels, "/v1/channels/a", "", false},
		{channels, "/v1/channel/a/publish", "", false},
		{channels, "/x/v1/channels/a/publish", "", false},
		{channels, "//v1/channels/a/publish", "", false},
	}
	for _, tt := range tests {
		param, ok := tt.route.Match(tt.path)
		if param != tt.param || ok != tt.ok {
			t.Errorf("%s matches %q: %q %v, want %q %v", tt.route, tt.path, param, ok, tt.param, tt.ok)
		}
	}
}

package peers

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/presence"
)

func TestList(t *testing.T) {
	type member = presence.Member
	for _, test := range []struct {
		name, target string
		members      []member
		channel      string // asked for
		body         string
	}{
		{"nobody", "/v1/channels/devices%2Fa/peers", nil, "devices/a", `{"channel":"devices/a","peers":[]}`},
		{"several, metadata as it is", "/v1/channels/devices%2Fa/peers", []member{{Peer: "a", Metadata: `{"n":1.0,"s":"<"}`}, {Peer: `b"`}}, "devices/a",
			`{"channel":"devices/a","peers":[{"peerId":"a","metadata":{"n":1.0,"s":"<"}},{"peerId":"b\""}]}`},
		{"slashes that a front door decoded", "/v1/channels/devices/a/peers", nil, "devices/a", `{"channel":"devices/a","peers":[]}`},
		{"escapes in lower case, and a plus", "/v1/channels/devices%2fa%2525+%C3%BC/peers", nil, "devices/a%25+ü", `{"channel":"devices/a%25+ü","peers":[]}`},
		{"a channel that ends like the route", "/v1/channels/devices/peers/peers", nil, "devices/peers", `{"channel":"devices/peers","peers":[]}`},
		{"a channel with publish in it", "/v1/channels/devices/publish/peers", nil, "devices/publish", `{"channel":"devices/publish","peers":[]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, log := apitest.Config(t)
			var asked string
			h := NewList(config, func(_ context.Context, app, name string) ([]presence.Member, error) {
				asked = app + " " + name
				return test.members, nil
			})
			apitest.Want(t, apitest.Do(h, apitest.Request("GET", test.target, "")), 200, test.body)
			if asked != "app_demo "+test.channel {
				t.Errorf("asked for %q", asked)
			}
			if log.String() != "" {
				t.Errorf("logged: %s", log)
			}
		})
	}
}

func TestListRefuses(t *testing.T) {
	narrow := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+apitest.NarrowID+":"+apitest.Narrow) }
	for _, test := range []struct {
		name, target string
		change       func(*http.Request)
		status       int
		body         string // how it begins
	}{
		{"no channel", "/v1/channels//peers", nil, 400, `{"error":"invalid_channel"`},
		{"a pattern", "/v1/channels/devices%2F*/peers", nil, 400, `{"error":"invalid_channel"`},
		{"a level that folds", "/v1/channels/devices%2F..%2Fa/peers", nil, 400, `{"error":"invalid_channel"`},
		{"a query", "/v1/channels/devices%2Fa/peers?limit=5", nil, 400, `{"error":"invalid_request","message":"there are no query parameters here"}`},
		{"reserved", "/v1/channels/_system%2Fa/peers", nil, 400, `{"error":"channel_reserved"`},
		{"reserved comes before the action", "/v1/channels/_system%2Fa/peers", narrow, 400, `{"error":"channel_reserved"`},
		{"the action comes before the channel", "/v1/channels/devices%2Fa/peers", narrow, 403, `{"error":"action_not_permitted"`},
		{"without the action", "/v1/channels/a%2Fb/peers", narrow, 403, `{"error":"action_not_permitted"`},
		{"beside the key's patterns", "/v1/channels/public%2Fa/peers", nil, 403, `{"error":"channel_not_authorized"`},
		{"a publishable key", "/v1/channels/public%2Fa/peers", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+apitest.PublicID) }, 401, `{"error":"unauthorized"`},
		{"a suspended app", "/v1/channels/a/peers", func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+apitest.PausedID+":"+apitest.Paused)
		}, 403, `{"error":"account_suspended"`},
		{"another method", "/v1/channels/devices%2Fa/peers", func(r *http.Request) { r.Method = "DELETE" }, 405, `{"error":"method_not_allowed"`},
		{"another path", "/v1/channels/devices%2Fa/peer", nil, 404, `{"error":"not_found"`},
		{"no channel segment", "/v1/channels/peers", nil, 404, `{"error":"not_found"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, _ := apitest.Config(t)
			h := NewList(config, func(context.Context, string, string) ([]presence.Member, error) {
				t.Error("it was asked for all the same")
				return nil, nil
			})
			r := apitest.Request("GET", test.target, "")
			if test.change != nil {
				test.change(r)
			}
			w := apitest.Do(h, r)
			if w.Code != test.status || !strings.HasPrefix(w.Body.String(), test.body) {
				t.Errorf("%d %s\nwant %d %s…", w.Code, w.Body, test.status, test.body)
			}
		})
	}
}

func TestListWithoutRedis(t *testing.T) {
	config, log := apitest.Config(t)
	h := NewList(config, func(context.Context, string, string) ([]presence.Member, error) {
		return nil, errors.New("connection reset")
	})
	apitest.Want(t, apitest.Do(h, apitest.Request("GET", "/v1/channels/devices%2Fa/peers", "")), 503,
		`{"error":"backend_error","message":"who is in the channel could not be read; try again","outcome":"none"}`)
	if !strings.Contains(log.String(), "connection reset") {
		t.Errorf("the log does not say why: %s", log)
	}
}
